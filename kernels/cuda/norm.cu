#include "kernels/cuda/norm.h"

#include "core/error.h"
#include "kernels/cuda/norm.cuh"

namespace ftt::cuda {

void FinishNorm(const NormArguments& a, DeviceStream stream) {
  FTT_CHECK(a.channels > 0 && a.channels <= kNormThreads, "norm: {} channels; 1 to {} are possible",
            a.channels, kNormThreads);
  FTT_CHECK(a.lanes > 0 && a.blocks > 0, "norm: no statistics");
  const int stride = PaddedChannels(a.channels), most = kNormThreads / stride;
  const int parts = a.blocks < most ? a.blocks : most;
  const auto threads = static_cast<unsigned>(RoundUp(stride * parts, kWarpSize));
  LaunchKernel("FinishNorm", &FinishNormKernel, {static_cast<unsigned>(a.lanes), 1, 1}, threads, 0,
               stream, a);
  if (!a.batch_norm || a.running_mean == nullptr) return;
  constexpr unsigned kThreads = 128;
  LaunchKernel("RunningStats", &RunningStatsKernel,
               {(static_cast<unsigned>(a.channels) + kThreads - 1) / kThreads, 1, 1}, kThreads, 0,
               stream, a);
}

}  // namespace ftt::cuda
