// Kernel of weight_reduce.h.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/weight_reduce.h"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

inline constexpr int kReduceParts = 8;  // warps of a block, each with its share of the rows

// A block reduces 32 weights; the parts of a sum are added up in order.
__global__ void __launch_bounds__(kReduceParts* kWarpSize)
    ReduceWeightGradKernel(WeightReduceArguments a) {
  const int thread = static_cast<int>(threadIdx.x) % kWarpSize;
  const int part = static_cast<int>(threadIdx.x) / kWarpSize;
  const int64_t i = int64_t{blockIdx.x} * kWarpSize + thread;
  const int share = (a.rows + kReduceParts - 1) / kReduceParts;
  const int begin = part * share, end = begin + share < a.rows ? begin + share : a.rows;
  using Shared = float[kReduceParts][kWarpSize];
  FTT_SHARED(Shared, sums);
  const int64_t offset = i / a.inner * a.inner_pitch + i % a.inner;
  float total = part == 0 && i < a.n ? a.grad_w[i] : 0.0f;
  for (int lane = 0; lane < a.lanes; ++lane) {
    float sum = 0;
    if (i < a.n) {
      const float* from = a.partials + int64_t{lane} * a.rows * a.row_floats + offset;
      for (int row = begin; row < end; ++row) sum += from[row * a.row_floats];
    }
    sums[part][thread] = sum;
    SyncThreads();
    if (part == 0 && i < a.n) {
      for (int p = 1; p < kReduceParts; ++p) sum += sums[p][thread];
      const bool kept = a.keep == nullptr || a.keep[(a.one_weight ? 0 : lane * a.n) + i] != 0;
      if (kept) total += sum * PowerOfTwo(a.x_exponent[lane]);
    }
    SyncThreads();
  }
  if (part == 0 && i < a.n) a.grad_w[i] = total;
}

}  // namespace ftt::cuda
