// Benchmarks of single kernels, each beside its floor and its peers: `ftt-cuda bench kernels`.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/program.h"

namespace ftt {

// Groups of rows, in the order in which they run.
inline constexpr const char* kKernelBenchGroups[] = {
    "dense", "depthwise", "separable", "backward", "pass", "samplers", "weights", "optimizer"};

struct KernelBenchOptions {
  std::vector<std::string> groups;  // of kKernelBenchGroups; empty: all
  // Inputs of the convolutions, which keep the number of channels.
  std::vector<Shape> maps = {{32, 32, 16}, {16, 16, 32}, {8, 8, 64}, {32, 32, 64}, {16, 16, 128}};
  int batch = 128;                                    // images, >= 1
  int repeats = 15;                                   // samples, >= 1; the median counts
  std::vector<double> rates = {0, 1e-5, 1e-4, 1e-3};  // mibb, per multiply-add
  std::string network = "resnet-18";                  // whose weights are struck and updated
  uint64_t seed = 1;
};

// Measured before the rows, in the same run.
struct KernelBenchRates {
  double copy_bytes = 0;      // per second, read and written bytes together
  double multiply_adds = 0;   // int8, per second: the fastest of what `matrix` names
  std::string matrix, peers;  // for people
};

struct KernelBenchRow {
  std::string op, shape, faults;
  double us = 0;        // ours
  double floor_us = 0;  // the larger of bytes over copy rate and multiply-adds over matrix rate
  std::string floor;    // "bytes" or "operations"
  double peer_us = 0;   // of `peer`: a library's fastest plan, or our own kernels apart; 0: none
  std::string peer;     // which, or why none
  double chain_us = 0;  // the same op by op; 0: not a chain
  std::string chain;    // what its convolution is
  double clean_us = 0;  // ours without faults; 0: this row has none
  bool passed = false;  // the result is right; only then do the times count
  std::string parity;   // what was compared with what
};

struct KernelBenchSink {
  std::function<void(const KernelBenchRates&)> rates;
  std::function<void(const KernelBenchRow&)> row;
};

// What the kernels that ran took alone, added up.
struct KernelWork {
  double seconds = 0;  // 0: not measured
  int64_t kernels = 0;
  std::string missing;  // what was not there to measure it with
};

}  // namespace ftt
