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
  const MapShape s = a.geometry.Out();
  ForBand<Output>(a.out, s, band_rows, [&](const Band& band, const auto& put) {
    ComputeBand<kKernel, kAdvance>(a, band, put);
  });
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
