// Kernel of weight_reduce.h.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/weight_reduce.h"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

inline constexpr int kReduceThreads = 1024;  // of a block at most
inline constexpr int kReduceFlight = 8;      // rows that a thread loads at once

// A block reduces `width` weights, its parts share the rows; what they have is added up in order.
__global__ void __launch_bounds__(kReduceThreads)
    ReduceWeightGradKernel(WeightReduceArguments a, int width) {
  const int part = static_cast<int>(threadIdx.x) / width;
  const int thread = static_cast<int>(threadIdx.x) - part * width;
  const int parts = static_cast<int>(blockDim.x) / width;
  const int n = static_cast<int>(a.n), i = static_cast<int>(blockIdx.x) * width + thread;
  using Shared = float[kReduceThreads];
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
    sums[threadIdx.x] = sum;
    SyncThreads();
    if (part == 0 && i < n) {
      for (int p = 1; p < parts; ++p) sum += sums[p * width + thread];
      const bool kept = a.keep == nullptr || a.keep[(a.one_weight ? 0 : lane * a.n) + i] != 0;
      if (kept) total += sum * PowerOfTwo(a.x_exponent[lane]);
    }
    SyncThreads();
  }
  if (part == 0 && i < n) a.grad_w[i] = total;
}

}  // namespace ftt::cuda
