// Kernels of depthwise.h. A block computes a band of output rows of one image, all channels, so
// that its codes lie one after another.
#pragma once

#include "kernels/cuda/depthwise_band.cuh"

namespace ftt::cuda {

// Output: BandRaw or BandCodes. What large windows need does not fit the registers of a fourth
// block.
template <int kKernel, int kAdvance, typename Output>
__global__ void __launch_bounds__(kBandThreads, kKernel == 3 && kAdvance == 1 ? 4 : 3)
    DepthwiseKernel(FTT_IN_PLACE DepthwiseArguments a, int band_rows) {
  StartKernel();
  const MapShape s = a.geometry.Out();
  ForBand<Output>(a.out, s, band_rows, [&](const Band& band, const auto& put) {
    ComputeBand<kKernel, kAdvance>(a, band, put);
  });
}

}  // namespace ftt::cuda
