#include "tests/ptx/device.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

#include "core/error.h"
#include "tests/ptx/loader.h"
#include "tests/ptx/warp.h"

namespace ftt::ptx {
namespace {

// Where a profile of all that ran goes: see docs/kernels.md.
const char* ProfilePath() { return std::getenv("FTT_PTX_PROFILE"); }

std::string Readable(const std::string& name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  std::string result = status == 0 ? text : name;
  std::free(text);
  return result;
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  FTT_CHECK(in.good(), "cannot read {}", path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace

Device::~Device() {
  if (ProfilePath() == nullptr) return;
  std::ofstream out(ProfilePath());
  out << Profile(kernels_);
  if (!out.flush()) std::fprintf(stderr, "cannot write %s\n", ProfilePath());
}

Kernel& Device::Find(const std::string& name) {
  const auto found = kernels_.find(name);
  if (found != kernels_.end()) return found->second;
  if (texts_.empty()) {
    std::istringstream paths(paths_);
    for (std::string path; std::getline(paths, path, ':');) texts_.push_back(ReadFile(path));
  }
  for (const std::string& text : texts_) {
    if (text.find(".entry " + name + "(") == std::string::npos) continue;
    Program program = Load(text, name);
    Kernel& kernel = kernels_[name];
    kernel.program = std::move(program);
    return kernel;
  }
  Fail("no PTX of {} in {}", Readable(name), paths_);
}

void Device::Launch(Kernel* kernel, const LaunchSize& size,
                    const std::vector<uint8_t>& parameters) {
  ++kernel->launches;
  Run(kernel->program, size, parameters, ProfilePath() == nullptr ? nullptr : &kernel->counts);
}

std::string Profile(const std::map<std::string, Kernel>& kernels) {
  std::string text =
      "executed: instructions of PTX that warps issued; lanes: of 32, on average; passes: through\n"
      "the banks of shared memory, or sectors of 32 bytes of global memory; fewest: what the "
      "bytes\n"
      "need\n";
  for (const auto& [name, kernel] : kernels) {
    if (kernel.counts.empty()) continue;
    struct Line {
      Count shared, global;
      int64_t executed = 0, lanes = 0;
    };
    std::map<std::pair<int, int>, Line> lines;
    Line total;
    for (size_t i = 0; i < kernel.counts.size(); ++i) {
      const Instruction& in = kernel.program.code[i];
      const Count& count = kernel.counts[i];
      for (Line* line : {&lines[{in.source.file, in.source.line}], &total}) {
        line->executed += count.executed;
        line->lanes += count.lanes;
        Count& access = in.space == Space::kShared ? line->shared : line->global;
        access.passes += count.passes;
        access.fewest += count.fewest;
      }
    }
    std::vector<std::pair<SourceLine, Line>> order;
    for (const auto& [at, line] : lines) order.push_back({{at.first, at.second}, line});
    std::sort(order.begin(), order.end(),
              [](const auto& a, const auto& b) { return a.second.executed > b.second.executed; });
    const auto row = [](const std::string& where, const Line& line) {
      return fmt::format(
          "{:>12} {:>5.1f} {:>10} {:>10} {:>10} {:>10}  {}\n", line.executed,
          line.executed == 0 ? 0.0
                             : static_cast<double>(line.lanes) / static_cast<double>(line.executed),
          line.shared.passes, line.shared.fewest, line.global.passes, line.global.fewest, where);
    };
    text +=
        fmt::format("\n{}\n{} launches\n{:>12} {:>5} {:>10} {:>10} {:>10} {:>10}\n", Readable(name),
                    kernel.launches, "executed", "lanes", "passes", "fewest", "sectors", "fewest");
    text += row("all", total);
    for (const auto& [at, line] : order)
      if (line.executed > 0) text += row(Describe(kernel.program, at), line);
  }
  return text;
}

Allocations& DeviceAllocations() {
  static Allocations all;
  return all;
}

void* Allocations::Allocate(size_t bytes) {
  constexpr size_t kAlignment = 256;
  void* at = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (at == nullptr) return nullptr;
  const Range range{reinterpret_cast<uintptr_t>(at), bytes};
  ranges_.insert(std::upper_bound(ranges_.begin(), ranges_.end(), range,
                                  [](const Range& a, const Range& b) { return a.from < b.from; }),
                 range);
  return at;
}

bool Allocations::Free(void* at) {
  const auto from = reinterpret_cast<uintptr_t>(at);
  const auto found = std::find_if(ranges_.begin(), ranges_.end(),
                                  [from](const Range& range) { return range.from == from; });
  if (found == ranges_.end()) return false;
  ranges_.erase(found);
  std::free(at);
  return true;
}

Range Allocations::Find(uintptr_t at) const {
  const auto behind =
      std::upper_bound(ranges_.begin(), ranges_.end(), at,
                       [](uintptr_t value, const Range& range) { return value < range.from; });
  return behind == ranges_.begin() ? Range{} : *(behind - 1);
}

}  // namespace ftt::ptx
