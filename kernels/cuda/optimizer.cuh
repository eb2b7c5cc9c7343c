// Kernels of optimizer.h.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/optimizer.h"

namespace ftt::cuda {

inline constexpr int kUpdateThreads = 256;

// Sum over the threads of a block in a fixed order; valid in thread 0.
__device__ inline double BlockSum(double v) {
  using WarpSums = double[kUpdateThreads / kWarpSize];
  FTT_SHARED(WarpSums, warp_sums);
  for (int step = kWarpSize / 2; step > 0; step /= 2) v += ShuffleXor(v, step);
  if (threadIdx.x % kWarpSize == 0) warp_sums[threadIdx.x / kWarpSize] = v;
  SyncThreads();
  for (int w = 1; threadIdx.x == 0 && w < kUpdateThreads / kWarpSize; ++w) v += warp_sums[w];
  return v;
}

__global__ void __launch_bounds__(kUpdateThreads) SquaresKernel(UpdateArguments a) {
  StartKernel();
  const UpdateChunk chunk = a.chunks[blockIdx.x];
  double squares = 0;
  for (int i = static_cast<int>(threadIdx.x); i < chunk.count; i += kUpdateThreads)
    squares += double{chunk.gradient[i]} * chunk.gradient[i];
  squares = BlockSum(squares);
  if (threadIdx.x == 0) a.partials[blockIdx.x] = squares;
}

// The factor that clips the gradient; negative where its norm is not finite. Every block adds up
// the partial sums in the same order; the first one writes the norm.
__device__ inline float ClipFactor(const UpdateArguments& a) {
  double squares = 0;
  for (int i = static_cast<int>(threadIdx.x); i < a.count; i += kUpdateThreads)
    squares += a.partials[i];
  squares = BlockSum(squares);
  FTT_SHARED(double, total);
  if (threadIdx.x == 0) total = squares;
  SyncThreads();
  const double norm = sqrt(total);
  if (blockIdx.x == 0 && threadIdx.x == 0) *a.norm = norm;
  if (!(norm <= 1.7e308)) return -1.0f;
  return a.clip > 0 && norm > a.clip ? static_cast<float>(a.clip / norm) : 1.0f;
}

__global__ void __launch_bounds__(kUpdateThreads) SgdKernel(SgdArguments a) {
  StartKernel();
  const float clip = ClipFactor(a.update), rate = *a.update.rate;
  if (clip < 0) return;
  const UpdateChunk chunk = a.update.chunks[blockIdx.x];
  for (int i = static_cast<int>(threadIdx.x); i < chunk.count; i += kUpdateThreads) {
    const float g = chunk.gradient[i] * clip + a.update.weight_decay * chunk.value[i];
    const float velocity = a.momentum * chunk.momentum[i] + g;
    chunk.momentum[i] = velocity;
    chunk.value[i] -= rate * (a.nesterov ? g + a.momentum * velocity : velocity);
  }
}

__global__ void __launch_bounds__(kUpdateThreads) AdamKernel(AdamArguments a) {
  StartKernel();
  const float clip = ClipFactor(a.update), rate = *a.update.rate;
  if (clip < 0) return;
  const UpdateChunk chunk = a.update.chunks[blockIdx.x];
  for (int i = static_cast<int>(threadIdx.x); i < chunk.count; i += kUpdateThreads) {
    const float g = chunk.gradient[i] * clip + a.update.weight_decay * chunk.value[i];
    const float first = a.beta1 * chunk.momentum[i] + (1.0f - a.beta1) * g;
    const float second = a.beta2 * chunk.second_moment[i] + (1.0f - a.beta2) * g * g;
    chunk.momentum[i] = first;
    chunk.second_moment[i] = second;
    chunk.value[i] -=
        rate * (first / chunk.correction1) / (sqrtf(second / chunk.correction2) + a.epsilon);
  }
}

}  // namespace ftt::cuda
