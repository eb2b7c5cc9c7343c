// Kernels of depthwise.h. A block computes a band of output rows of one image, all channels, so
// that its codes lie one after another.
#pragma once

#include "kernels/cuda/depthwise_band.cuh"

namespace ftt::cuda {

template <int kKernel, int kAdvance>
__global__ void __launch_bounds__(256, 1) DepthwiseKernel(FTT_IN_PLACE DepthwiseArguments a) {
  const MapShape s = a.geometry.Out();
  const Band band(s, static_cast<int>(blockDim.x));
  BandOutput out(a.out, s, band);
  if (band.Works()) {
    ComputeBand<kKernel, kAdvance>(a, band,
                                   [&](int pixel, const int32_t(&acc)[4]) { out.Put(pixel, acc); });
  }
  out.Finish();
}

}  // namespace ftt::cuda
