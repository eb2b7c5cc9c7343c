// Kernels of weight_reduce.h.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/weight_reduce.h"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

// A block reduces the chunk of weights from `first` on. Its parts share the rows; what they have is
// added up in order.
__device__ __forceinline__ void ReduceChunk(const WeightReduceArguments& a, int first) {
  const int parts = ReduceParts(a.rows), width = kReduceThreads / parts;
  const int part = static_cast<int>(threadIdx.x) / width;
  const int thread = static_cast<int>(threadIdx.x) - part * width;
  // Two take turns, so that one barrier is enough.
  using Shared = float[2][kReduceThreads];
  FTT_SHARED(Shared, shared);
  int turn = 0;
  const int n = static_cast<int>(a.n), chunk = ReduceChunkWeights(a.rows);
  const int end = n - first < chunk ? n : first + chunk;
  for (int at = first; at < end; at += width) {
    const int i = at + thread, run = i / a.inner;
    const bool inside = i < end;
    const int64_t offset = int64_t{run} * a.inner_pitch + (i - run * a.inner);
    float total = part == 0 && inside ? a.grad_w[i] : 0.0f;
    for (int lane = 0; lane < a.lanes; ++lane, turn ^= 1) {
      float sum = 0;
      const float* from = a.partials + int64_t{lane} * a.rows * a.row_floats + offset;
      for (int row = part; inside && row < a.rows; row += kReduceFlight * parts) {
        float v[kReduceFlight];
        FTT_UNROLL
        for (int u = 0; u < kReduceFlight; ++u) {
          const int r = row + u * parts;
          v[u] = r < a.rows ? from[r * a.row_floats] : 0.0f;
        }
        FTT_UNROLL
        for (int u = 0; u < kReduceFlight; ++u) sum += v[u];
      }
      if (parts > 1) {
        shared[turn][threadIdx.x] = sum;
        SyncThreads();
      }
      if (part != 0 || !inside) continue;
      for (int p = 1; p < parts; ++p) sum += shared[turn][p * width + thread];
      const bool kept = a.keep == nullptr || a.keep[(a.one_weight ? 0 : lane * a.n) + i] != 0;
      if (kept) total += sum * PowerOfTwo(a.x_exponent[lane]);
    }
    if (part == 0 && inside) a.grad_w[i] = total;
  }
}

__global__ void __launch_bounds__(kReduceThreads, 4)
    ReduceWeightGradKernel(FTT_IN_PLACE WeightReduceArguments a) {
  StartKernel();
  ReduceChunk(a, static_cast<int>(blockIdx.x) * ReduceChunkWeights(a.rows));
}

__global__ void __launch_bounds__(kReduceThreads, 4) ReduceWeightGradsKernel(WeightReduceTables t) {
  StartKernel();
  const JobChunk chunk = t.chunks[blockIdx.x];
  const WeightReduceArguments job = t.jobs[chunk.job];
  ReduceChunk(job, chunk.first);
}

}  // namespace ftt::cuda
