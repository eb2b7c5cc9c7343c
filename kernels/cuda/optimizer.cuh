// Kernels of optimizer.h.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/optimizer.h"

namespace ftt::cuda {

inline constexpr int kSgdThreads = 256;

// Sum over the threads of a block in a fixed order; valid in thread 0.
__device__ inline double BlockSum(double v) {
  using WarpSums = double[kSgdThreads / kWarpSize];
  FTT_SHARED(WarpSums, warp_sums);
  for (int step = kWarpSize / 2; step > 0; step /= 2) v += ShuffleXor(v, step);
  if (threadIdx.x % kWarpSize == 0) warp_sums[threadIdx.x / kWarpSize] = v;
  SyncThreads();
  for (int w = 1; threadIdx.x == 0 && w < kSgdThreads / kWarpSize; ++w) v += warp_sums[w];
  return v;
}

__global__ void __launch_bounds__(kSgdThreads) SquaresKernel(SgdArguments a) {
  const SgdChunk chunk = a.chunks[blockIdx.x];
  double squares = 0;
  for (int i = static_cast<int>(threadIdx.x); i < chunk.count; i += kSgdThreads)
    squares += double{chunk.gradient[i]} * chunk.gradient[i];
  squares = BlockSum(squares);
  if (threadIdx.x == 0) a.partials[blockIdx.x] = squares;
}

// Every block adds up the partial sums in the same order.
__global__ void __launch_bounds__(kSgdThreads) SgdKernel(SgdArguments a) {
  double squares = 0;
  for (int i = static_cast<int>(threadIdx.x); i < a.count; i += kSgdThreads)
    squares += a.partials[i];
  squares = BlockSum(squares);
  FTT_SHARED(double, total);
  if (threadIdx.x == 0) total = squares;
  SyncThreads();
  const double norm = sqrt(total);
  if (blockIdx.x == 0 && threadIdx.x == 0) *a.norm = norm;
  if (!(norm <= 1.7e308)) return;
  const float clip = a.clip > 0 && norm > a.clip ? static_cast<float>(a.clip / norm) : 1.0f;
  const SgdChunk chunk = a.chunks[blockIdx.x];
  for (int i = static_cast<int>(threadIdx.x); i < chunk.count; i += kSgdThreads) {
    const float g = chunk.gradient[i] * clip + a.weight_decay * chunk.value[i];
    const float velocity = a.momentum * chunk.velocity[i] + g;
    chunk.velocity[i] = velocity;
    chunk.value[i] -= a.rate * (a.nesterov ? g + a.momentum * velocity : velocity);
  }
}

}  // namespace ftt::cuda
