#include "kernels/cuda/norm.h"

#include "core/error.h"
#include "kernels/cuda/norm.cuh"

namespace ftt::cuda {

void FinishNorm(const NormArguments& a, DeviceStream stream) {
  constexpr int kMost = kNormThreads * kNormChannels;
  FTT_CHECK(a.channels > 0 && a.channels <= kMost, "norm: {} channels; 1 to {} are possible",
            a.channels, kMost);
  FTT_CHECK(a.lanes > 0 && a.moments != nullptr, "norm: no statistics");
  const int stride = PaddedChannels(a.channels);
  const int lane_threads = RoundUp(stride < kNormThreads ? stride : kNormThreads, kWarpSize);
  const int block_lanes = a.batch_norm && a.running_mean != nullptr ? a.lanes : 1;
  const int most = kNormThreads / lane_threads, groups = block_lanes < most ? block_lanes : most;
  const bool few = groups * lane_threads <= kFewNormThreads && a.channels <= lane_threads;
  const auto kernel =
      few ? &FinishNormKernel<kFewNormThreads, 1> : &FinishNormKernel<kNormThreads, kNormChannels>;
  LaunchKernel("FinishNorm", kernel, {static_cast<unsigned>(a.lanes / block_lanes), 1, 1},
               static_cast<unsigned>(groups * lane_threads), 0, stream, a,
               NormPlan{Divider(lane_threads), groups, block_lanes});
}

}  // namespace ftt::cuda
