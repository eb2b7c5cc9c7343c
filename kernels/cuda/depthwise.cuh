// Kernels of depthwise.h. A block computes a band of output rows of one image, all channels, so
// that its codes lie one after another.
#pragma once

#include "kernels/cuda/depthwise_band.cuh"

namespace ftt::cuda {

// Blocks that share a multiprocessor's registers without spills.
constexpr int DepthwiseBlocks(int kernel, int advance) {
  if (kernel == 5) return advance == 1 ? 3 : 2;
  return advance == 1 ? 4 : 3;
}

// Output: BandRaw or BandCodes.
template <int kKernel, int kAdvance, typename Output>
__global__ void __launch_bounds__(kBandThreads, DepthwiseBlocks(kKernel, kAdvance))
    DepthwiseKernel(FTT_IN_PLACE DepthwiseArguments a, FTT_IN_PLACE BandPlan plan) {
  const MapShape s = a.geometry.Out();
  ForBand<Output>(a.out, s, plan, [&](const Band& band, const auto& put) {
    ComputeBand<kKernel, kAdvance>(a, plan, band, put);
  });
}

}  // namespace ftt::cuda
