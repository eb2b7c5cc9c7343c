#include "kernels/cuda/pool.h"

#include "core/error.h"
#include "kernels/cuda/pool.cuh"

namespace ftt::cuda {

void Pool(const PoolArguments& a, DeviceStream stream) {
  const WindowGeometry& g = a.geometry;
  constexpr int kMaxChannels = 4096;
  FTT_CHECK(g.in_channels == g.out_channels && g.in_channels <= kMaxChannels,
            "pool: {} channels from {}; as many as the input's, at most {}, are possible",
            g.out_channels, g.in_channels, kMaxChannels);
  const BandGrid plan = PlanBand(g.Out(), a.out);
  constexpr PoolType kMax = PoolType::kMax, kAverage = PoolType::kAverage;
  const bool max = a.type == kMax, deploy = a.out.codes != nullptr;
  const auto kernel = deploy
                          ? (max ? &PoolKernel<kMax, BandCodes> : &PoolKernel<kAverage, BandCodes>)
                          : (max ? &PoolKernel<kMax, BandRaw> : &PoolKernel<kAverage, BandRaw>);
  LaunchKernel("Pool", kernel, plan.grid, kBandThreads, plan.shared_bytes, stream, a, plan.rows);
}

void GlobalSum(const GlobalSumArguments& a, DeviceStream stream) {
  constexpr unsigned kThreads = 128;
  const auto words = static_cast<unsigned>(a.in.Stride() / 4);
  LaunchKernel("GlobalSum", &GlobalSumKernel,
               {(words + kThreads - 1) / kThreads, static_cast<unsigned>(a.in.images),
                static_cast<unsigned>(a.in.lanes)},
               kThreads, 0, stream, a);
}

}  // namespace ftt::cuda
