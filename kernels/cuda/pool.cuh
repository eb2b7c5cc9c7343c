// Kernels of pool.h.
#pragma once

#include "kernels/cuda/band.cuh"
#include "kernels/cuda/pool_strip.cuh"

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
__global__ void __launch_bounds__(kBandThreads, 9)
    PoolKernel(FTT_IN_PLACE PoolArguments a, FTT_IN_PLACE BandPlan plan) {
  const WindowGeometry& g = a.geometry;
  const MapShape s = g.Out();
  ForBand<Output>(a.out, s, plan, [&](const Band& band, const auto& put) {
    const int stride = s.Stride(), pixels = band.rows * g.out_w;
    const int8_t* image = a.x +
                          (int64_t{band.lane} * g.images + band.image) * g.in_h * g.in_w * stride +
                          4 * band.word;
    for (int pixel = band.slot; pixel < pixels; pixel += band.slots) {
      const int row = plan.by_columns(pixel), column = pixel - row * g.out_w;
      const int iy0 = (band.first_row + row) * g.stride + g.origin;
      const int ix0 = column * g.stride + g.origin;
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

// --- 3x3 windows ---

// Channels 0 and 2, channels 1 and 3 of some pixels, as 16-bit halves.
struct ChannelPairs {
  uint32_t even, odd;
};

// Largest codes. A byte decides which half is the larger where it is the upper one; pixels that
// stand in for those outside belong to the window, too.
template <int kStride, int kOutputs>
__device__ __forceinline__ void LargestOfStrip(const WindowGeometry& g,
                                               const PoolStrip<kStride>& strip,
                                               int32_t (&acc)[kOutputs][4]) {
  using Strip = PoolStrip<kStride>;
  ChannelPairs column[Strip::kColumns];
  FTT_UNROLL
  for (int j = 0; j < Strip::kColumns; ++j) {
    const uint32_t a = strip.word[0][j], b = strip.word[1][j], c = strip.word[2][j];
    column[j] = {MaxHalves(a << 8, b << 8, c << 8), MaxHalves(a, b, c)};
  }
  const uint32_t floor = g.relu ? 0 : 0x80008000;
  FTT_UNROLL
  for (int i = 0; i < kOutputs; ++i) {
    const ChannelPairs* from = column + i * kStride;
    const uint32_t even = MaxHalves(MaxHalves(from[0].even, from[1].even, from[2].even), floor);
    const uint32_t odd = MaxHalves(MaxHalves(from[0].odd, from[1].odd, from[2].odd), floor);
    // The upper bytes of the halves, with their signs.
    acc[i][0] = static_cast<int32_t>(BytePermute(even, 0, 0x9991));
    acc[i][1] = static_cast<int32_t>(BytePermute(odd, 0, 0x9991));
    acc[i][2] = static_cast<int32_t>(even) >> 24;
    acc[i][3] = static_cast<int32_t>(odd) >> 24;
  }
}

// Means, rounded to nearest even. The product with the inverse of up to 13 taps rounds as the
// quotient does.
template <int kStride, int kOutputs>
__device__ __forceinline__ void MeansOfStrip(const WindowGeometry& g, PoolStrip<kStride>& strip,
                                             int iy0, int ix0, int32_t (&acc)[kOutputs][4]) {
  using Strip = PoolStrip<kStride>;
  if (g.relu) {
    FTT_UNROLL
    for (int k = 0; k < 3; ++k) {
      FTT_UNROLL
      for (int j = 0; j < Strip::kColumns; ++j)
        strip.word[k][j] &= ~BytePermute(strip.word[k][j], 0, 0xBA98);
    }
  }
  uint32_t inside[3];  // the lower bytes of halves, or nothing
  int rows = 0;
  FTT_UNROLL
  for (int k = 0; k < 3; ++k) {
    inside[k] = IsInside(iy0 + k, g.in_h) ? 0x00FF00FF : 0;
    rows += static_cast<int>(inside[k] & 1);
  }
  // Codes + 128, so that no half borrows from the other.
  ChannelPairs column[Strip::kColumns];
  int valid[Strip::kColumns];
  FTT_UNROLL
  for (int j = 0; j < Strip::kColumns; ++j) {
    valid[j] = IsInside(ix0 + j, g.in_w) ? 1 : 0;
    column[j] = {};
    FTT_UNROLL
    for (int k = 0; k < 3; ++k) {
      const uint32_t word = strip.word[k][j];
      column[j].even += (word ^ 0x80808080) & inside[k];
      column[j].odd += (word >> 8 ^ 0x80808080) & inside[k];
    }
    column[j].even = valid[j] != 0 ? column[j].even : 0;
    column[j].odd = valid[j] != 0 ? column[j].odd : 0;
  }
  constexpr float kThird = 1.0f / 3.0f;
  constexpr float kMagic = 12582912.0f;    // 1.5 * 2^23: a sum's last bits are a rounded integer
  constexpr float kExponent = 8388608.0f;  // 2^23
  const float row_inverse = rows == 3 ? kThird : rows == 2 ? 0.5f : 1.0f;
  FTT_UNROLL
  for (int i = 0; i < kOutputs; ++i) {
    const int j = i * kStride, columns = valid[j] + valid[j + 1] + valid[j + 2];
    // 1 / 9 and 1 / 6, too, are these products.
    const float inverse = row_inverse * (columns == 3 ? kThird : columns == 2 ? 0.5f : 1.0f);
    const float offset = kExponent + static_cast<float>(128 * rows * columns);
    const ChannelPairs* from = column + j;
    const uint32_t even = from[0].even + from[1].even + from[2].even;
    const uint32_t odd = from[0].odd + from[1].odd + from[2].odd;
    FTT_UNROLL
    for (int c = 0; c < 4; ++c) {
      // A half as the last bits of a float from 2^23 on.
      const uint32_t bits =
          BytePermute(c % 2 == 0 ? even : odd, 0x4B000000, c < 2 ? 0x7610 : 0x7632);
      const float mean = (BitsToFloat(bits) - offset) * inverse;
      acc[i][c] = static_cast<int32_t>(FloatToBits(mean + kMagic)) -
                  static_cast<int32_t>(FloatToBits(kMagic));
    }
  }
}

// As PoolKernel, for 3x3 windows without dilation, none of which lies outside the map.
template <PoolType kType, int kStride, typename Output>
__global__ void __launch_bounds__(kBandThreads, 6)
    PoolStripKernel(FTT_IN_PLACE PoolArguments a, FTT_IN_PLACE BandPlan plan) {
  using Strip = PoolStrip<kStride>;
  const WindowGeometry& g = a.geometry;
  const MapShape s = g.Out();
  ForBand<Output>(a.out, s, plan, [&](const Band& band, const auto& put) {
    const int words = s.Stride() / 4, strips = plan.by_columns.Divisor();
    const int8_t* image =
        a.x +
        4 * ((int64_t{band.lane} * g.images + band.image) * g.in_h * g.in_w * words + band.word);
    for (int item = band.slot; item < band.rows * strips; item += band.slots) {
      const int row = plan.by_columns(item), ox = (item - row * strips) * Strip::kOutputs;
      const int pixel = row * g.out_w + ox;
      const int iy0 = (band.first_row + row) * kStride + g.origin, ix0 = ox * kStride + g.origin;
      Strip strip;
      strip.Load(g, image, words, iy0, ix0);
      int32_t acc[Strip::kOutputs][4];
      if constexpr (kType == PoolType::kMax) {
        LargestOfStrip<kStride>(g, strip, acc);
      } else {
        MeansOfStrip<kStride>(g, strip, iy0, ix0, acc);
      }
      if (ox + Strip::kOutputs <= g.out_w) {
        put(pixel, acc);
      } else {
        FTT_UNROLL
        for (int i = 0; i < Strip::kOutputs - 1; ++i) {
          if (ox + i < g.out_w) put(pixel + i, acc[i]);
        }
      }
    }
  });
}

// A thread adds up four channels of one image.
__global__ void __launch_bounds__(128) GlobalSumKernel(GlobalSumArguments a) {
  StartKernel();
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
