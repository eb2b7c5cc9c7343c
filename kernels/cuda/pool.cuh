// Kernels of pool.h.
#pragma once

#include "kernels/cuda/band.cuh"
#include "kernels/cuda/pool.h"

namespace ftt::cuda {

// The four codes of a word, after ReLU where wanted.
__device__ __forceinline__ void UnpackCodes(uint32_t word, bool relu, int32_t (&codes)[4]) {
  FTT_UNROLL
  for (int c = 0; c < 4; ++c) {
    const int code = static_cast<int8_t>(word >> 8 * c & 0xFF);
    codes[c] = relu && code < 0 ? 0 : code;
  }
}

// n / d rounded to nearest, ties to even; d > 0.
__device__ __forceinline__ int32_t DivideRound(int32_t n, int32_t d) {
  const int32_t quotient = n / d, rest = n - quotient * d;
  const int32_t twice = 2 * (rest < 0 ? -rest : rest);
  const int32_t away = n < 0 ? -1 : 1;
  return twice > d || (twice == d && quotient % 2 != 0) ? quotient + away : quotient;
}

// Output: BandRaw or BandCodes.
template <PoolType kType, typename Output>
__global__ void __launch_bounds__(kBandThreads)
    PoolKernel(FTT_IN_PLACE PoolArguments a, int band_rows) {
  const WindowGeometry& g = a.geometry;
  const MapShape s = g.Out();
  ForBand<Output>(a.out, s, band_rows, [&](const Band& band, const auto& put) {
    const int stride = s.Stride(), pixels = band.rows * g.out_w;
    const int8_t* image = a.x +
                          (int64_t{band.lane} * g.images + band.image) * g.in_h * g.in_w * stride +
                          4 * band.word;
    for (int pixel = band.slot; pixel < pixels; pixel += band.slots) {
      const int iy0 = (band.first_row + pixel / g.out_w) * g.stride + g.origin;
      const int ix0 = pixel % g.out_w * g.stride + g.origin;
      int32_t acc[4] = {}, taps = 0;
      for (int ky = 0; ky < g.kernel; ++ky) {
        const int iy = iy0 + ky * g.dilation;
        if (static_cast<unsigned>(iy) >= static_cast<unsigned>(g.in_h)) continue;
        for (int kx = 0; kx < g.kernel; ++kx) {
          const int ix = ix0 + kx * g.dilation;
          if (static_cast<unsigned>(ix) >= static_cast<unsigned>(g.in_w)) continue;
          int32_t codes[4];
          UnpackCodes(
              *reinterpret_cast<const uint32_t*>(image + (int64_t{iy} * g.in_w + ix) * stride),
              g.relu, codes);
          FTT_UNROLL
          for (int c = 0; c < 4; ++c) {
            if constexpr (kType == PoolType::kMax) {
              acc[c] = taps == 0 || codes[c] > acc[c] ? codes[c] : acc[c];
            } else {
              acc[c] += codes[c];
            }
          }
          ++taps;
        }
      }
      if constexpr (kType == PoolType::kAverage) {
        FTT_UNROLL
        for (int c = 0; c < 4; ++c) acc[c] = DivideRound(acc[c], taps);
      }
      put(pixel, acc);
    }
  });
}

// A thread adds up four channels of one image.
__global__ void __launch_bounds__(128) GlobalSumKernel(GlobalSumArguments a) {
  const int stride = a.in.Stride();
  const int word = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (word >= stride / 4) return;
  const int64_t map = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  const int8_t* x = a.x + map * a.in.MapPixels() * stride + 4 * word;
  int32_t sum[4] = {};
  for (int p = 0; p < a.in.MapPixels(); ++p) {
    int32_t codes[4];
    UnpackCodes(*reinterpret_cast<const uint32_t*>(x + int64_t{p} * stride), a.relu, codes);
    for (int c = 0; c < 4; ++c) sum[c] += codes[c];
  }
  *reinterpret_cast<int4*>(a.sums + map * stride + 4 * word) =
      make_int4(sum[0], sum[1], sum[2], sum[3]);
  for (int c = 0; a.moments != nullptr && c < 4; ++c) {
    const int64_t v = sum[c];
    AddToLane(a.moments, static_cast<int>(blockIdx.z), blockIdx.y, stride, 4 * word + c,
              {v, v * v, sum[c], sum[c]});
  }
}

}  // namespace ftt::cuda
