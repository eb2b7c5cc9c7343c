// The kernel of probe.h: independent accumulators, so that the pipeline stays full.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/probe.h"

namespace ftt::cuda {

__global__ void __launch_bounds__(kProbeThreads) MatrixProbeKernel(int iterations, int32_t* out) {
  StartKernel();
  constexpr int kTiles = 8;
  constexpr uint32_t kOnes = 0x01010101;
  const uint32_t a[4] = {kOnes, kOnes, kOnes, kOnes}, b[2] = {kOnes, kOnes};
  int32_t acc[kTiles][4] = {};
  for (int i = 0; i < iterations; ++i) {
    FTT_UNROLL
    for (int t = 0; t < kTiles; ++t) MultiplyAccumulate(acc[t], a, b);
  }
  int32_t sum = 0;
  FTT_UNROLL
  for (int t = 0; t < kTiles; ++t) sum += acc[t][0] + acc[t][1] + acc[t][2] + acc[t][3];
  out[blockIdx.x * kProbeThreads + threadIdx.x] = sum;
}

}  // namespace ftt::cuda
