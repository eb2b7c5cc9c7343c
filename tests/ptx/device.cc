#include "tests/ptx/device.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>
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
  out << Profile(kernels_, Entries());
  if (!out.flush()) std::fprintf(stderr, "cannot write %s\n", ProfilePath());
}

void Device::Read() {
  std::istringstream paths(paths_);
  if (!texts_.empty()) return;
  for (std::string path; std::getline(paths, path, ':');) texts_.push_back(ReadFile(path));
}

std::vector<std::string> Device::Entries() {
  Read();
  const std::string_view word = ".entry ";
  std::vector<std::string> names;
  for (const std::string& text : texts_)
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at)) {
      at += word.size();
      names.push_back(text.substr(at, text.find('(', at) - at));
    }
  return names;
}

Kernel& Device::Find(const std::string& name) {
  const auto found = kernels_.find(name);
  if (found != kernels_.end()) return found->second;
  Read();
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

namespace {

struct LineCount {
  Count shared, global;
  int64_t executed = 0, lanes = 0;
  void Add(const Instruction& in, const Count& count) {
    executed += count.executed;
    lanes += count.lanes;
    Count& access = in.space == Space::kShared ? shared : global;
    access.passes += count.passes;
    access.fewest += count.fewest;
  }
  std::string Row(const std::string& where) const {
    const double mean =
        executed == 0 ? 0 : static_cast<double>(lanes) / static_cast<double>(executed);
    return fmt::format("{:>12} {:>5.1f} {:>10} {:>10} {:>10} {:>10}  {}\n", executed, mean,
                       shared.passes, shared.fewest, global.passes, global.fewest, where);
  }
};

std::string CostOf(const std::string& name, const Kernel& kernel) {
  std::map<std::pair<int, int>, LineCount> lines;
  LineCount total;
  for (size_t i = 0; i < kernel.counts.size(); ++i) {
    const Instruction& in = kernel.program.code[i];
    lines[{in.source.file, in.source.line}].Add(in, kernel.counts[i]);
    total.Add(in, kernel.counts[i]);
  }
  std::vector<std::pair<std::string, LineCount>> order;
  for (const auto& [at, line] : lines)
    if (line.executed > 0)
      order.emplace_back(Describe(kernel.program, {at.first, at.second}), line);
  std::sort(order.begin(), order.end(),
            [](const auto& a, const auto& b) { return a.second.executed > b.second.executed; });
  std::string text =
      fmt::format("\n{}\n{} launches\n{:>12} {:>5} {:>10} {:>10} {:>10} {:>10}\n", Readable(name),
                  kernel.launches, "executed", "lanes", "passes", "fewest", "sectors", "fewest");
  text += total.Row("all");
  for (const auto& [where, line] : order) text += line.Row(where);
  return text;
}

// Which instructions of a function ran in any of the kernels that have it.
struct Coverage {
  std::vector<bool> ran, written;
  std::vector<std::string> where;
};

std::string CoverageOf(const std::map<std::string, Kernel>& kernels,
                       const std::vector<std::string>& all) {
  std::map<std::string, Coverage> functions;
  for (const auto& [name, kernel] : kernels) {
    for (const Part& part : kernel.program.parts) {
      Coverage& c = functions[part.name];
      const bool first = c.ran.empty();
      if (first) c.ran.resize(part.end - part.begin);
      for (size_t i = 0; i < c.ran.size() && part.begin + i < kernel.counts.size(); ++i) {
        if (kernel.counts[part.begin + i].executed > 0) c.ran[i] = true;
        if (!first) continue;
        const Instruction& in = kernel.program.code[part.begin + i];
        c.written.push_back(in.written);
        c.where.push_back(Describe(kernel.program, in.source));
      }
    }
  }
  std::string text = "\nInstructions that never ran, of each function:\n";
  int64_t ran = 0, written = 0;
  for (const auto& [name, c] : functions) {
    std::map<std::string, int> never;
    for (size_t i = 0; i < c.written.size(); ++i) {
      if (!c.written[i]) continue;
      ++written;
      if (c.ran[i]) {
        ++ran;
      } else {
        ++never[c.where[i]];
      }
    }
    if (never.empty()) continue;
    text += fmt::format("\n{}\n", Readable(name));
    for (const auto& [where, n] : never) text += fmt::format("{:>6} never ran  {}\n", n, where);
  }
  text += fmt::format("\n{} of {} instructions ran\n", ran, written);
  for (const std::string& name : all)
    if (kernels.count(name) == 0) text += fmt::format("never launched: {}\n", Readable(name));
  return text;
}

}  // namespace

std::string Profile(const std::map<std::string, Kernel>& kernels,
                    const std::vector<std::string>& all) {
  std::string text =
      "executed: instructions of PTX that warps issued; lanes: of 32, on average; passes: through\n"
      "the banks of shared memory, or sectors of 32 bytes of global memory; fewest: what the "
      "bytes\n"
      "need\n";
  for (const auto& [name, kernel] : kernels) text += CostOf(name, kernel);
  return text + CoverageOf(kernels, all);
}

Allocations& DeviceAllocations() {
  static Allocations all;
  return all;
}

bool ChecksReads() {
  static const bool checks = std::getenv("FTT_PTX_INITCHECK") != nullptr;
  return checks;
}

void* Allocations::Allocate(size_t bytes, bool of_device) {
  constexpr size_t kAlignment = 256;
  void* at = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (at == nullptr) return nullptr;
  Range range{reinterpret_cast<uintptr_t>(at), bytes};
  if (of_device && ChecksReads()) range.written = static_cast<uint8_t*>(std::calloc(bytes, 1));
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
  std::free(found->written);
  ranges_.erase(found);
  std::free(at);
  return true;
}

void Allocations::Write(void* at, size_t bytes, const void* from) {
  if (!ChecksReads()) return;
  const auto to = reinterpret_cast<uintptr_t>(at), source = reinterpret_cast<uintptr_t>(from);
  const Range range = Find(to), origin = Find(source);
  if (range.written == nullptr || !range.Has(to, bytes)) return;
  uint8_t* written = range.written + (to - range.from);
  if (from != nullptr && origin.written != nullptr && origin.Has(source, bytes)) {
    std::memmove(written, origin.written + (source - origin.from), bytes);
  } else {
    std::memset(written, 1, bytes);
  }
}

Range Allocations::Find(uintptr_t at) const {
  const auto behind =
      std::upper_bound(ranges_.begin(), ranges_.end(), at,
                       [](uintptr_t value, const Range& range) { return value < range.from; });
  return behind == ranges_.begin() ? Range{} : *(behind - 1);
}

}  // namespace ftt::ptx
