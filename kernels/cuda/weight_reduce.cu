#include "kernels/cuda/weight_reduce.h"

#include "core/error.h"
#include "kernels/cuda/weight_reduce.cuh"

namespace ftt::cuda {

void ReduceWeightGrad(const WeightReduceArguments& a, DeviceStream stream) {
  FTT_CHECK(a.lanes > 0 && a.rows > 0 && a.n > 0 && a.inner > 0, "weight gradient: nothing to sum");
  LaunchKernel("ReduceWeightGrad", &ReduceWeightGradKernel,
               {static_cast<unsigned>((a.n + kWarpSize - 1) / kWarpSize), 1, 1},
               kReduceParts * kWarpSize, 0, stream, a);
}

}  // namespace ftt::cuda
