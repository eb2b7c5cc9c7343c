#include "kernels/cuda/weight_reduce.h"

#include "core/error.h"
#include "kernels/cuda/weight_reduce.cuh"

namespace ftt::cuda {

void ReduceWeightGrad(const WeightReduceArguments& a, DeviceStream stream) {
  FTT_CHECK(a.lanes > 0 && a.rows > 0 && a.n > 0 && a.inner > 0, "weight gradient: nothing to sum");
  FTT_CHECK(a.n < INT32_MAX - kReduceThreads, "weight gradient: {} weights", a.n);
  // As many parts as have all their rows under way at once.
  constexpr int kLeastThreads = 256, kMostParts = kReduceThreads / kWarpSize;
  int parts = 1;
  while (parts < kMostParts && parts * kReduceFlight < a.rows) parts *= 2;
  const int width = parts * kWarpSize < kLeastThreads ? kLeastThreads / parts : kWarpSize;
  LaunchKernel("ReduceWeightGrad", &ReduceWeightGradKernel,
               {static_cast<unsigned>((a.n + width - 1) / width), 1, 1},
               static_cast<unsigned>(parts * width), 0, stream, a, width);
}

}  // namespace ftt::cuda
