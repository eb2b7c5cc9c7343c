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

// One thread packs one word.
__global__ void __launch_bounds__(128)
    PackDepthwiseKernel(WindowGeometry g, const int8_t* codes, uint32_t* packed) {
  const int words = PackedDepthwiseWords(g), stride = PaddedChannels(g.in_channels);
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= words) return;
  const int channel = i % stride, row = i / stride;
  const int row_words = DepthwiseRowWords(g.kernel), ky = row / row_words;
  uint32_t word = 0;
  for (int k = 0; k < 4; ++k) {
    const int kx = row % row_words * 4 + k;
    if (channel >= g.in_channels || kx >= g.kernel) continue;
    const int64_t at =
        ((int64_t{blockIdx.y} * g.in_channels + channel) * g.kernel + ky) * g.kernel + kx;
    word |= (static_cast<uint32_t>(codes[at]) & 0xFF) << 8 * k;
  }
  packed[int64_t{blockIdx.y} * words + i] = word;
}

}  // namespace ftt::cuda
