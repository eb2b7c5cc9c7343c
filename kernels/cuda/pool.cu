#include "kernels/cuda/pool.h"

#include "core/error.h"
#include "kernels/cuda/multiprocessors.h"
#include "kernels/cuda/pool.cuh"

namespace ftt::cuda {
namespace {

using PoolFunction = void (*)(PoolArguments, BandPlan);

template <PoolType kType>
PoolFunction KernelFor(const PoolArguments& a) {
  const WindowGeometry& g = a.geometry;
  const bool deploy = a.out.codes != nullptr;
  if (IsStripPool(g)) {
    if (g.stride == 1)
      return deploy ? &PoolStripKernel<kType, 1, BandCodes>
                    : &PoolStripKernel<kType, 1, BandRawCodes>;
    return deploy ? &PoolStripKernel<kType, 2, BandCodes>
                  : &PoolStripKernel<kType, 2, BandRawCodes>;
  }
  return deploy ? &PoolKernel<kType, BandCodes> : &PoolKernel<kType, BandRawCodes>;
}

}  // namespace

void Pool(const PoolArguments& a, DeviceStream stream) {
  const WindowGeometry& g = a.geometry;
  constexpr int kMaxChannels = 4096;
  FTT_CHECK(g.in_channels == g.out_channels && g.in_channels <= kMaxChannels,
            "pool: {} channels from {}; as many as the input's, at most {}, are possible",
            g.out_channels, g.in_channels, kMaxChannels);
  const int resident = 6 * Multiprocessors();
  const int span = !IsStripPool(g) ? 1
                   : g.stride == 1 ? PoolStrip<1>::kOutputs
                                   : PoolStrip<2>::kOutputs;
  const BandGrid band = PlanBand(g.Out(), a.out, {1, span}, DivideUp(g.out_w, span), resident);
  const PoolFunction kernel =
      a.type == PoolType::kMax ? KernelFor<PoolType::kMax>(a) : KernelFor<PoolType::kAverage>(a);
  LaunchKernel("Pool", kernel, band.grid, kBandThreads, band.shared_bytes, stream, a, band.plan);
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
