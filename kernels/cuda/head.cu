#include "kernels/cuda/head.h"

#include "core/error.h"
#include "kernels/cuda/head.cuh"

namespace ftt::cuda {

void Linear(const LinearArguments& a, DeviceStream stream) {
  FTT_CHECK(a.lanes > 0 && a.images > 0 && a.in > 0 && a.out > 0, "linear: empty operands");
  constexpr int64_t kPerBlock = kHeadThreads / kWarpSize;
  const int64_t logits = int64_t{a.lanes} * a.images * a.out;
  LaunchKernel("Linear", &LinearKernel,
               {static_cast<unsigned>((logits + kPerBlock - 1) / kPerBlock), 1, 1}, kHeadThreads, 0,
               stream, a);
}

void LinearBackward(const LinearBackwardArguments& a, DeviceStream stream) {
  FTT_CHECK(a.lanes > 0 && a.images > 0 && a.in > 0 && a.out > 0,
            "linear backward: empty operands");
  const int64_t inputs = int64_t{a.lanes} * a.images * PaddedChannels(a.in);
  LaunchKernel("LinearGradX", &LinearGradXKernel,
               {static_cast<unsigned>((inputs + kHeadThreads - 1) / kHeadThreads), 1, 1},
               kHeadThreads, 0, stream, a);
  LaunchKernel(
      "LinearGradW", &LinearGradWKernel,
      {static_cast<unsigned>(DivideUp(a.in + 1, kWarpSize)), static_cast<unsigned>(a.out), 1},
      kHeadThreads, 0, stream, a);
}

void SoftmaxCrossEntropy(const LossArguments& a, DeviceStream stream) {
  FTT_CHECK(a.lanes > 0 && a.images > 0 && a.classes > 0, "loss: empty operands");
  LaunchKernel("Loss", &LossKernel, {static_cast<unsigned>(a.lanes), 1, 1}, kHeadThreads, 0, stream,
               a);
}

}  // namespace ftt::cuda
