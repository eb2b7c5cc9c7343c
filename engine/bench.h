// Benchmarks of whole networks: what faults cost, and what everything around the convolutions
// costs.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/kernel_bench.h"
#include "engine/trainer.h"

namespace ftt {

struct BenchOptions {
  int batch = 64;   // images per lane
  int lanes = 2;    // of the training step; deploy mode uses one
  int repeats = 9;  // timed pairs; the median counts
  uint64_t seed = 1;
  // Training steps of a timed run, >= 1. A GPU takes them one after another without the host
  // waiting in between, as in training; the host's clock stops when the last one is done.
  int steps = 1;
  // Watches the kernels of a clean run on a GPU; null: what the host device counts.
  std::function<KernelWork(const std::function<void()>&)> trace;
};

struct BenchRow {
  std::string network, what;           // what: "deploy forward" or "training step"
  double clean_ms = 0, faulty_ms = 0;  // medians, wall time
  double fault_ratio = 0;              // median of the pairs' ratios
  // Clean runs: wall * threads / time inside convolution kernels; on a GPU wall / time inside all
  // kernels. 0: not measured.
  double kernel_ratio = 0;
  // Clean runs on the host: wall * threads / what oneDNN's primitives alone take for the same
  // convolutions, timed one after another in the same run. 0: not measured.
  double primitive_ratio = 0;
  int64_t kernels = 0;           // started by a clean run on a GPU; 0: not measured
  double images_per_second = 0;  // clean, all lanes counted
  int64_t parity_values = 0;     // compared with the reference backend in this run (deploy mode)
  double arena_mib = 0, arena_over_bound = 0;  // training step
};

struct SweepBenchOptions {
  int batch = 64;  // images per call
  int64_t images = 256;
  int trials = 16;
  int lanes = 16;   // trials side by side
  int repeats = 3;  // timed rounds; medians count
  uint64_t seed = 1;
};

// The same trials of a deployed network side by side and one after another.
struct SweepBenchRow {
  std::string network;
  int64_t images = 0;
  int trials = 0, lanes = 0;
  double clean_ms = 0;           // all images once, without faults
  double serial_ms = 0;          // all trials, one after another
  double lanes_ms = 0;           // all trials, side by side
  double fault_ratio = 0;        // a trial over the clean run
  double lane_gain = 0;          // one after another over side by side
  double images_per_second = 0;  // side by side, over all trials
  int64_t parity_values = 0;     // compared with the reference backend in this run
};

// Random images, freshly initialised weights. Clean and faulty runs alternate, so that the
// machine's mood hits both. Deploy mode is first compared with the reference backend on two images;
// a mismatch throws ftt::Error.
BenchRow BenchDeploy(Device& device, const Program& program, const FaultSpec& faults,
                     const BenchOptions& options);
BenchRow BenchTrainStep(Device& device, const Program& program, const FaultSpec& faults,
                        const BenchOptions& options);
// Throws ftt::Error where lanes change the result of a trial.
SweepBenchRow BenchSweep(Device& device, const Program& program, const FaultSpec& faults,
                         const SweepBenchOptions& options);

}  // namespace ftt
