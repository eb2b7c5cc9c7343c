#include "kernels/cuda/weight_reduce.h"

#include "core/error.h"
#include "kernels/cuda/weight_reduce.cuh"

namespace ftt::cuda {

void ReduceWeightGrad(const WeightReduceArguments& a, DeviceStream stream) {
  FTT_CHECK(a.lanes > 0 && a.rows > 0 && a.n > 0 && a.inner > 0, "weight gradient: nothing to sum");
  FTT_CHECK(a.n < INT32_MAX - kWarpSize, "weight gradient: {} weights", a.n);
  // As many warps as have all their rows under way at once.
  int parts = 4;
  while (parts < kReduceParts && parts * kReduceFlight < a.rows) parts *= 2;
  LaunchKernel("ReduceWeightGrad", &ReduceWeightGradKernel,
               {static_cast<unsigned>((a.n + kWarpSize - 1) / kWarpSize), 1, 1},
               static_cast<unsigned>(parts * kWarpSize), 0, stream, a);
}

}  // namespace ftt::cuda
