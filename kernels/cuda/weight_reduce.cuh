// Kernel of weight_reduce.h.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/weight_reduce.h"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

inline constexpr int kReduceParts = 32;  // warps of a block at most, each with a share of the rows
inline constexpr int kReduceFlight = 8;  // rows that a thread loads at once

// A block reduces 32 weights; the parts of a sum are added up in order.
__global__ void __launch_bounds__(kReduceParts* kWarpSize)
    ReduceWeightGradKernel(WeightReduceArguments a) {
  const int thread = static_cast<int>(threadIdx.x) % kWarpSize;
  const int part = static_cast<int>(threadIdx.x) / kWarpSize;
  const int parts = static_cast<int>(blockDim.x) / kWarpSize;
  const int n = static_cast<int>(a.n), i = static_cast<int>(blockIdx.x) * kWarpSize + thread;
  using Shared = float[kReduceParts][kWarpSize];
  FTT_SHARED(Shared, sums);
  const int run = i / a.inner;
  const int64_t offset = int64_t{run} * a.inner_pitch + (i - run * a.inner);
  float total = part == 0 && i < n ? a.grad_w[i] : 0.0f;
  for (int lane = 0; lane < a.lanes; ++lane) {
    float sum = 0;
    const float* from = a.partials + int64_t{lane} * a.rows * a.row_floats + offset;
    for (int row = part; i < n && row < a.rows; row += kReduceFlight * parts) {
      float v[kReduceFlight];
      FTT_UNROLL
      for (int u = 0; u < kReduceFlight; ++u) {
        const int r = row + u * parts;
        v[u] = r < a.rows ? from[r * a.row_floats] : 0.0f;
      }
      FTT_UNROLL
      for (int u = 0; u < kReduceFlight; ++u) sum += v[u];
    }
    sums[part][thread] = sum;
    SyncThreads();
    if (part == 0 && i < n) {
      for (int p = 1; p < parts; ++p) sum += sums[p][thread];
      const bool kept = a.keep == nullptr || a.keep[(a.one_weight ? 0 : lane * a.n) + i] != 0;
      if (kept) total += sum * PowerOfTwo(a.x_exponent[lane]);
    }
    SyncThreads();
  }
  if (part == 0 && i < n) a.grad_w[i] = total;
}

}  // namespace ftt::cuda
