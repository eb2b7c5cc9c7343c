#include "cli/bench_print.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace ftt {
namespace {

// A quotient, or a dash where the row has none.
std::string Ratio(double over, double under) {
  return over > 0 && under > 0 ? fmt::format("{:.2f}", over / under) : "-";
}

std::string Measured(double ratio) { return ratio > 0 ? fmt::format("{:.3f}", ratio) : "-"; }

void PrintMedian(const char* what, std::vector<double> v) {
  if (v.empty()) return;
  std::sort(v.begin(), v.end());
  fmt::print("{:<56} {:.3f} ({:.3f} to {:.3f}, {} rows)\n", what, v[v.size() / 2], v.front(),
             v.back(), v.size());
}

}  // namespace

void PrintHeader(const BenchOptions& o, const FaultSpec& faults) {
  fmt::print(
      "batch {}, {}, median of {} pairs\n{:<14} {:<15} {:>9} {:>9} {:>7} {:>9} {:>9} {:>9}\n",
      o.batch, faults.Text(), o.repeats, "network", "what", "clean ms", "fault ms", "ratio",
      "/kernels", "/oneDNN", "images/s");
}

void Print(const BenchRow& r) {
  fmt::print("{:<14} {:<15} {:>9.2f} {:>9.2f} {:>7.3f} {:>9} {:>9} {:>9.0f}  ", r.network, r.what,
             r.clean_ms, r.faulty_ms, r.fault_ratio, Measured(r.kernel_ratio),
             Measured(r.primitive_ratio), r.images_per_second);
  if (r.kernels > 0) fmt::print("{} kernels, ", r.kernels);
  if (r.parity_values > 0) {
    fmt::print("equal to ref on {} values\n", r.parity_values);
  } else {
    fmt::print("arena {:.0f} MiB, {:.3f} of its lower bound\n", r.arena_mib, r.arena_over_bound);
  }
}

nlohmann::ordered_json ToJson(const BenchRow& r) {
  return {{"network", r.network},
          {"what", r.what},
          {"clean_ms", r.clean_ms},
          {"faulty_ms", r.faulty_ms},
          {"fault_ratio", r.fault_ratio},
          {"kernel_ratio", r.kernel_ratio},
          {"primitive_ratio", r.primitive_ratio},
          {"kernels", r.kernels},
          {"images_per_second", r.images_per_second},
          {"parity_values", r.parity_values},
          {"arena_mib", r.arena_mib},
          {"arena_over_bound", r.arena_over_bound}};
}

void PrintHeader(const SweepBenchOptions& o, const FaultSpec& faults) {
  fmt::print(
      "{} trials over {} images, batch {}, {}, median of {} rounds\n"
      "{:<14} {:>9} {:>12} {:>12} {:>7} {:>7} {:>9}\n",
      o.trials, o.images, o.batch, faults.Text(), o.repeats, "network", "clean ms", "one by one ms",
      fmt::format("{} lanes ms", o.lanes), "ratio", "gain", "images/s");
}

void Print(const SweepBenchRow& r) {
  fmt::print("{:<14} {:>9.2f} {:>12.2f} {:>12.2f} {:>7.3f} {:>7.2f} {:>9.0f}  ", r.network,
             r.clean_ms, r.serial_ms, r.lanes_ms, r.fault_ratio, r.lane_gain, r.images_per_second);
  fmt::print("equal to ref on {} values, trials equal either way\n", r.parity_values);
}

nlohmann::ordered_json ToJson(const SweepBenchRow& r) {
  return {{"network", r.network},
          {"images", r.images},
          {"trials", r.trials},
          {"lanes", r.lanes},
          {"clean_ms", r.clean_ms},
          {"serial_ms", r.serial_ms},
          {"lanes_ms", r.lanes_ms},
          {"fault_ratio", r.fault_ratio},
          {"lane_gain", r.lane_gain},
          {"images_per_second", r.images_per_second},
          {"parity_values", r.parity_values}};
}

void PrintRates(const KernelBenchRates& r, const KernelBenchOptions& o) {
  fmt::print(
      "copy {:.0f} GB/s; {}; {}\nbatch {}, median of {} samples\n"
      "{:<22} {:<32} {:<30} {:>9} {:>9} {:>6} {:>9} {:>6} {:>9} {:>6} {:>6}  {}\n",
      1e-9 * r.copy_bytes, r.matrix, r.peers, o.batch, o.repeats, "kernel", "shape", "faults", "us",
      "floor us", "of it", "peer us", "/ours", "chain us", "/ours", "faults", "checked against");
}

void Print(const KernelBenchRow& r) {
  fmt::print("{:<22} {:<32} {:<30} {:>9.2f} {:>9.2f} {:>6} {:>9.2f} {:>6} {:>9.2f} {:>6} {:>6}  {}",
             r.op, r.shape, r.faults, r.us, r.floor_us, Ratio(r.floor_us, r.us), r.peer_us,
             Ratio(r.peer_us, r.us), r.chain_us, Ratio(r.chain_us, r.us), Ratio(r.us, r.clean_us),
             r.parity);
  if (!r.peer.empty()) fmt::print("; peer: {}", r.peer);
  if (!r.chain.empty()) fmt::print("; chain: {}", r.chain);
  fmt::print("\n");
  std::fflush(stdout);
}

nlohmann::ordered_json ToJson(const KernelBenchRates& r) {
  return {{"copy_bytes_per_second", r.copy_bytes},
          {"multiply_adds_per_second", r.multiply_adds},
          {"matrix", r.matrix},
          {"peers", r.peers}};
}

nlohmann::ordered_json ToJson(const KernelBenchRow& r) {
  return {{"op", r.op},           {"shape", r.shape},       {"faults", r.faults},
          {"us", r.us},           {"floor_us", r.floor_us}, {"floor", r.floor},
          {"peer_us", r.peer_us}, {"peer", r.peer},         {"chain_us", r.chain_us},
          {"chain", r.chain},     {"clean_us", r.clean_us}, {"passed", r.passed},
          {"parity", r.parity}};
}

void KernelSummary::Add(const KernelBenchRow& r) {
  if (!r.passed) return;
  const auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  if (r.chain_us > 0) {
    if (r.op.rfind("dw+pw", 0) == 0) separable_.push_back(r.chain_us / r.us);
    if (r.op.rfind("dense", 0) == 0 && has(r.shape, " 3x3 ")) dense3_.push_back(r.chain_us / r.us);
  }
  if (r.peer_us > 0 && r.op == "dense bare") peer_.push_back(r.peer_us / r.us);
  if (r.op == "depthwise bare") depthwise_floor_.push_back(r.floor_us / r.us);
  if (r.clean_us > 0 && r.faults == "mibb:0.0001") faulty_.push_back(r.us / r.clean_us);
}

void KernelSummary::Print() const {
  fmt::print("\nmedian (smallest to largest) over rows that are right\n");
  PrintMedian("op by op over ours, depthwise and pointwise (target 3)", separable_);
  PrintMedian("op by op over ours, 3x3 (target 3)", dense3_);
  PrintMedian("best cuDNN plan over ours, dense (target 4)", peer_);
  PrintMedian("floor over ours, depthwise (target 5)", depthwise_floor_);
  PrintMedian("faulty over clean, mibb:1e-4", faulty_);
}

}  // namespace ftt
