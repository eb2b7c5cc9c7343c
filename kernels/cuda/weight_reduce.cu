#include "kernels/cuda/weight_reduce.h"

#include "core/error.h"
#include "kernels/cuda/weight_reduce.cuh"

namespace ftt::cuda {

void ReduceWeightGrad(const WeightReduceArguments& a, DeviceStream stream) {
  FTT_CHECK(a.lanes > 0 && a.rows > 0 && a.n > 0 && a.inner > 0, "weight gradient: nothing to sum");
  FTT_CHECK(a.n < INT32_MAX - kReducePasses * kReduceThreads, "weight gradient: {} weights", a.n);
  const int chunks = DivideUp(static_cast<int>(a.n), ReduceChunkWeights(a.rows));
  LaunchKernel("ReduceWeightGrad", &ReduceWeightGradKernel, {static_cast<unsigned>(chunks), 1, 1},
               kReduceThreads, 0, stream, a);
}

void ReduceWeightGrads(const WeightReduceTables& t, DeviceStream stream) {
  if (t.chunk_count == 0) return;
  LaunchKernel("ReduceWeightGrads", &ReduceWeightGradsKernel,
               {static_cast<unsigned>(t.chunk_count), 1, 1}, kReduceThreads, 0, stream, t);
}

}  // namespace ftt::cuda
