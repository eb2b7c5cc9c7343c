// Benchmarks of whole networks: what faults cost, and what everything around the convolutions
// costs.
#pragma once

#include <string>
#include <vector>

#include "engine/trainer.h"

namespace ftt {

struct BenchOptions {
  int batch = 64;   // images per lane
  int lanes = 2;    // of the training step; deploy mode uses one
  int repeats = 9;  // timed pairs; the median counts
  uint64_t seed = 1;
};

struct BenchRow {
  std::string network, what;           // what: "deploy forward" or "training step"
  double clean_ms = 0, faulty_ms = 0;  // medians, wall time
  double fault_ratio = 0;              // median of the pairs' ratios
  double kernel_ratio = 0;       // wall * threads / time inside convolution kernels, clean runs
  double images_per_second = 0;  // clean, all lanes counted
  int64_t parity_values = 0;     // compared with the reference backend in this run (deploy mode)
  double arena_mib = 0, arena_over_bound = 0;  // training step
};

// Random images, freshly initialised weights. Clean and faulty runs alternate, so that the
// machine's mood hits both. Deploy mode is first compared with the reference backend on two images;
// a mismatch throws ftt::Error.
BenchRow BenchDeploy(Device& device, const Program& program, const FaultSpec& faults,
                     const BenchOptions& options);
BenchRow BenchTrainStep(Device& device, const Program& program, const FaultSpec& faults,
                        const BenchOptions& options);

}  // namespace ftt
