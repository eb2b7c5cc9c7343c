// Kernels of pool_backward.h.
//
// A block takes a band of input rows of one image and up to 64 channels. For a max pool it first
// finds, once, the winning tap of every output that reads the band; then every input pixel gathers
// from the outputs that may have read it.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/divider.h"
#include "kernels/cuda/gradient.cuh"
#include "kernels/cuda/pool_backward.h"
#include "kernels/cuda/pool_strip.cuh"

namespace ftt::cuda {

inline constexpr int kPoolGradThreads = 256;
inline constexpr int kPoolGradRows = 8;    // input rows of a block
inline constexpr int kPoolGradWords = 16;  // words of four channels of a block, at most
inline constexpr uint32_t kNoTap = 0xFF;
inline constexpr int kPoolGradMaxKernel = 11;  // taps are bytes

// The outputs whose windows may touch input rows [first, first + rows) of an axis.
struct OutputRange {
  int first, count;
  // stride: g's, where the caller knows it.
  FTT_HD OutputRange(const WindowGeometry& g, int stride, int first_input, int inputs,
                     int outputs) {
    // output * stride + origin + reach >= first_input, output * stride + origin < first_input +
    // inputs.
    const int low = first_input - g.origin - (g.kernel - 1) * g.dilation;
    const int high = first_input + inputs - 1 - g.origin;
    first = low <= 0 ? 0 : DivideUp(low, stride);
    const int last = high < 0 ? -1 : (high / stride < outputs - 1 ? high / stride : outputs - 1);
    count = last < first ? 0 : last - first + 1;
  }
};

// How maps are shared out: groups of at most kPoolGradWords words, threads of a word, and what
// PoolQuadBackward counts along a row: strips of outputs, quads of inputs.
struct PoolGradPlan {
  Divider groups, words, strips, quads;
  int slots = 1;
};

// A block's place: grid (bands, images * groups of channels, lanes).
struct PoolGradBlock {
  int lane, image, first_row, rows, words, word0;
  int64_t x, y;  // elements where the image starts

  __device__ PoolGradBlock(const WindowGeometry& g, const PoolGradPlan& plan) {
    const int all = g.In().Stride() / 4, of_group = plan.words.Divisor();
    lane = static_cast<int>(blockIdx.z);
    image = plan.groups(static_cast<int>(blockIdx.y));
    first_row = static_cast<int>(blockIdx.x) * kPoolGradRows;
    const int left = g.in_h - first_row;
    rows = left < kPoolGradRows ? left : kPoolGradRows;
    word0 = (static_cast<int>(blockIdx.y) - image * plan.groups.Divisor()) * of_group;
    words = all - word0 < of_group ? all - word0 : of_group;
    const int64_t map = int64_t{lane} * g.images + image;
    x = map * g.in_h * g.in_w * g.In().Stride() + 4 * word0;
    y = map * g.out_h * g.out_w * g.In().Stride() + 4 * word0;
  }
};

// The winning taps of four channels of one output, a byte each; kNoTap where no gradient passes.
__device__ __forceinline__ uint32_t WinningTaps(const WindowGeometry& g, const int8_t* x, int oy,
                                                int ox) {
  const int stride = g.In().Stride();
  const int iy0 = oy * g.stride + g.origin, ix0 = ox * g.stride + g.origin;
  // code * 256 - tap: the largest is the first of the largest codes.
  int best[4] = {INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN};
  for (int ky = 0; ky < g.kernel; ++ky) {
    const int iy = iy0 + ky * g.dilation;
    if (static_cast<unsigned>(iy) >= static_cast<unsigned>(g.in_h)) continue;
    for (int kx = 0; kx < g.kernel; ++kx) {
      const int ix = ix0 + kx * g.dilation, tap = ky * g.kernel + kx;
      if (static_cast<unsigned>(ix) >= static_cast<unsigned>(g.in_w)) continue;
      const uint32_t word =
          *reinterpret_cast<const uint32_t*>(x + (int64_t{iy} * g.in_w + ix) * stride);
      FTT_UNROLL
      for (int c = 0; c < 4; ++c) {
        const int key = static_cast<int8_t>(word >> 8 * c & 0xFF) * 256 - tap;
        best[c] = key > best[c] ? key : best[c];
      }
    }
  }
  uint32_t taps = 0;
  FTT_UNROLL
  for (int c = 0; c < 4; ++c) {
    const auto tap = static_cast<uint32_t>(-best[c]) & 0xFF;
    const bool passes = best[c] != INT32_MIN && (!g.relu || best[c] + static_cast<int>(tap) > 0);
    taps |= (passes ? tap : kNoTap) << 8 * c;
  }
  return taps;
}

// Taps of one dimension that lie inside the map.
__device__ __forceinline__ int ValidTaps(const WindowGeometry& g, int output, int size) {
  int n = 0;
  for (int k = 0; k < g.kernel; ++k) {
    const int at = output * g.stride + g.origin + k * g.dilation;
    n += static_cast<unsigned>(at) < static_cast<unsigned>(size) ? 1 : 0;
  }
  return n;
}

// The numbers of valid taps of an average pool's outputs in shared memory: [range.count] of the
// rows, [out_w] of the columns; and the inverses of their products. All threads; a barrier must
// follow.
__device__ __forceinline__ void CountTaps(const WindowGeometry& g, const OutputRange& range,
                                          int* counts, float* inverses) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < range.count + g.out_w; i += kPoolGradThreads) {
    counts[i] = i < range.count ? ValidTaps(g, range.first + i, g.in_h)
                                : ValidTaps(g, i - range.count, g.in_w);
  }
  for (int i = thread + 1; i <= g.kernel * g.kernel; i += kPoolGradThreads)
    inverses[i] = 1.0f / static_cast<float>(i);
}

template <PoolType kType>
__global__ void __launch_bounds__(kPoolGradThreads)
    PoolBackwardKernel(FTT_IN_PLACE PoolBackwardArguments a, FTT_IN_PLACE PoolGradPlan plan) {
  StartKernel();
  const WindowGeometry& g = a.geometry;
  const int kernel = g.kernel, step = g.stride;
  const PoolGradBlock b(g, plan);
  const int stride = g.In().Stride(), words = b.words;
  const OutputRange range(g, g.stride, b.first_row, b.rows, g.out_h);
  const int8_t* x = a.x + b.x;
  auto* winners = reinterpret_cast<uint32_t*>(SharedMemory());  // [range.count][out_w][words]
  auto* counts = reinterpret_cast<int*>(SharedMemory());
  using Inverses = float[kPoolGradMaxKernel * kPoolGradMaxKernel + 1];
  FTT_SHARED(Inverses, inverses);
  if constexpr (kType == PoolType::kMax) {
    for (int i = static_cast<int>(threadIdx.x); i < range.count * g.out_w * words;
         i += kPoolGradThreads) {
      const int pixel = i / words, row = pixel / g.out_w;
      winners[i] =
          WinningTaps(g, x + 4 * (i - pixel * words), range.first + row, pixel - row * g.out_w);
    }
  } else {
    CountTaps(g, range, counts, inverses);
  }
  SyncThreads();
  for (int i = static_cast<int>(threadIdx.x); i < b.rows * g.in_w * words; i += kPoolGradThreads) {
    const int pixel = i / words, word = i - pixel * words;
    const int row = pixel / g.in_w, iy = b.first_row + row, ix = pixel - row * g.in_w;
    const int64_t at = (int64_t{iy} * g.in_w + ix) * stride + 4 * word;
    uint2* to = FourOf(a.grad_x + b.x + at);
    float sum[4] = {};
    if (a.accumulate) {
      const float4 before = FloatsOf(*to);
      sum[0] = before.x;
      sum[1] = before.y;
      sum[2] = before.z;
      sum[3] = before.w;
    }
    uint32_t codes = 0;
    if constexpr (kType != PoolType::kMax) codes = *reinterpret_cast<const uint32_t*>(x + at);
    // Backwards through the taps is forwards through the outputs.
    for (int ky = kernel - 1; ky >= 0; --ky) {
      const int y = iy - g.origin - ky * g.dilation, oy = y / step;
      if (y < 0 || oy >= g.out_h || oy * step != y) continue;
      const Bf16* from = a.grad_y + b.y + int64_t{oy} * g.out_w * stride + 4 * word;
      for (int kx = kernel - 1; kx >= 0; --kx) {
        const int column = ix - g.origin - kx * g.dilation, ox = column / step;
        if (column < 0 || ox >= g.out_w || ox * step != column) continue;
        const float4 v = FloatsOf(*FourOf(from + int64_t{ox} * stride));
        const float grad[4] = {v.x, v.y, v.z, v.w};
        if constexpr (kType == PoolType::kMax) {
          const uint32_t won = winners[((oy - range.first) * g.out_w + ox) * words + word];
          const auto tap = static_cast<uint32_t>(ky * kernel + kx);
          FTT_UNROLL
          for (int c = 0; c < 4; ++c) sum[c] += (won >> 8 * c & 0xFF) == tap ? grad[c] : 0.0f;
        } else {
          // The correctly rounded quotient, by one step from the product with the inverse.
          const int count = counts[oy - range.first] * counts[range.count + ox];
          const auto taps = static_cast<float>(count);
          const float inverse = inverses[count];
          FTT_UNROLL
          for (int c = 0; c < 4; ++c) {
            const bool passes = !g.relu || static_cast<int8_t>(codes >> 8 * c & 0xFF) > 0;
            const float quotient = grad[c] * inverse;
            const float exact = fmaf(fmaf(-quotient, taps, grad[c]), inverse, quotient);
            sum[c] += passes ? exact : 0.0f;
          }
        }
      }
    }
    *to = RoundedToBf16(make_float4(sum[0], sum[1], sum[2], sum[3]));
  }
}

// --- 3x3 windows ---

// Codes of winning taps in shared memory; no other byte that FindWinners leaves is one.
FTT_HD constexpr uint32_t TapCode(int ky, int kx) {
  return static_cast<uint32_t>(0x41 + 8 * ky + kx) * 0x01010101u;
}

// The winners of a thread's strips of the band's outputs, in [range.count][out_w][words]. A key is
// a code above the place of its pixel in the strip, which decreases; so the largest is the first of
// the largest codes. Pixels that stand in for those outside have their own place.
template <int kStride>
__device__ __forceinline__ void FindWinners(const WindowGeometry& g, const OutputRange& range,
                                            const Divider& by_strips, const int8_t* x, int slot,
                                            int slots, int words, uint32_t* winners) {
  using Strip = PoolStrip<kStride>;
  constexpr int kColumns = Strip::kColumns;
  const int map_words = g.In().Stride() / 4, strips = by_strips.Divisor();
  // Nothing passes where a code is not positive: an upper byte of 0 with a place that no tap has.
  const uint32_t floor = g.relu ? 0x003F003F : 0x80008000;
  for (int item = slot; item < range.count * strips; item += slots) {
    const int row = by_strips(item), ox = (item - row * strips) * Strip::kOutputs;
    const int iy0 = (range.first + row) * kStride + g.origin, ix0 = ox * kStride + g.origin;
    Strip strip;
    strip.Load(g, x, map_words, iy0, ix0);
    int row_place[3];
    FTT_UNROLL
    for (int k = 0; k < 3; ++k) row_place[k] = 31 - 8 * (Nearest(iy0 + k, g.in_h - 1) - iy0);
    uint32_t even[kColumns], odd[kColumns];  // the largest keys of a column, in halves
    FTT_UNROLL
    for (int j = 0; j < kColumns; ++j) {
      const int column_place = Nearest(ix0 + j, g.in_w - 1) - ix0;
      uint32_t e[3], o[3];
      FTT_UNROLL
      for (int k = 0; k < 3; ++k) {
        const auto place = static_cast<uint32_t>(row_place[k] - column_place);
        e[k] = BytePermute(strip.word[k][j], place, 0x2404);
        o[k] = BytePermute(strip.word[k][j], place, 0x3414);
      }
      even[j] = MaxHalves(e[0], e[1], e[2]);
      odd[j] = MaxHalves(o[0], o[1], o[2]);
    }
    uint32_t* to = winners + (row * g.out_w + ox) * words;
    FTT_UNROLL
    for (int i = 0; i < Strip::kOutputs; ++i) {
      const int j = i * kStride;
      const uint32_t largest_even = MaxHalves(MaxHalves(even[j], even[j + 1], even[j + 2]), floor);
      const uint32_t largest_odd = MaxHalves(MaxHalves(odd[j], odd[j + 1], odd[j + 2]), floor);
      // Places of a strip -> taps of a window; no byte borrows from the next.
      const uint32_t places = BytePermute(largest_even, largest_odd, 0x6240);
      if (ox + i < g.out_w) to[i * words] = static_cast<uint32_t>(0x60 - j) * 0x01010101u - places;
    }
  }
}

// Valid taps of one dimension of a 3x3 window from `first` on, as a float, and their inverse, 0 for
// an output outside the map.
struct AxisTaps {
  float count, inverse;
  AxisTaps() = default;
  __device__ __forceinline__ AxisTaps(int first, int size, bool inside) {
    const int low = first > 0 ? first : 0, high = first + 3 < size ? first + 3 : size;
    const int taps = inside ? high - low : 0;
    count = taps == 3 ? 3.0f : taps == 2 ? 2.0f : 1.0f;
    inverse = taps == 3 ? 1.0f / 3.0f : taps == 2 ? 0.5f : taps == 1 ? 1.0f : 0.0f;
  }
};

// As PoolBackwardKernel, for 3x3 windows without dilation, none of which lies outside the map. A
// thread takes 2 x 2 input pixels, placed so that the taps of the outputs around them are known.
template <PoolType kType, int kStride>
__global__ void __launch_bounds__(kPoolGradThreads, kType == PoolType::kMax || kStride == 2 ? 3 : 2)
    PoolQuadBackwardKernel(FTT_IN_PLACE PoolBackwardArguments a, FTT_IN_PLACE PoolGradPlan plan) {
  constexpr bool kMax = kType == PoolType::kMax;
  constexpr int kOutputs = 4 / kStride;  // that read a quad, in each dimension
  const WindowGeometry& g = a.geometry;
  const PoolGradBlock b(g, plan);
  const OutputRange range(g, kStride, b.first_row, b.rows, g.out_h);
  const int stride = g.In().Stride(), words = b.words, slots = plan.slots;
  const int slot = plan.words(static_cast<int>(threadIdx.x));
  const int word = static_cast<int>(threadIdx.x) - slot * plan.words.Divisor();
  const bool works = slot < slots && word < words;
  StartKernel(slot + word + range.first + range.count);
  const int8_t* x = a.x + b.x + 4 * word;
  uint32_t* winners = reinterpret_cast<uint32_t*>(SharedMemory()) + word;
  if constexpr (kMax) {
    if (works) FindWinners<kStride>(g, range, plan.strips, x, slot, slots, words, winners);
    SyncThreads();
  }
  if (!works) return;
  const Bf16* grad_y = a.grad_y + b.y + 4 * word;
  Bf16* grad_x = a.grad_x + b.x + 4 * word;
  const int shift = kStride == 2 ? g.origin & 1 : 0;  // quads start where windows do
  const int quad_rows = DivideUp(b.rows + shift, 2), quad_columns = plan.quads.Divisor();
  for (int item = slot; item < quad_rows * quad_columns; item += slots) {
    const int quad_row = plan.quads(item), quad_column = item - quad_row * quad_columns;
    const int iy0 = b.first_row + 2 * quad_row - shift, ix0 = 2 * quad_column - shift;
    const int oy0 = (iy0 - g.origin - 2) / kStride, ox0 = (ix0 - g.origin - 2) / kStride;
    bool inside[2][2];
    float sum[2][2][4] = {};
    FTT_UNROLL
    for (int p = 0; p < 2; ++p) {
      FTT_UNROLL
      for (int q = 0; q < 2; ++q) {
        inside[p][q] =
            static_cast<unsigned>(iy0 + p - b.first_row) < static_cast<unsigned>(b.rows) &&
            static_cast<unsigned>(ix0 + q) < static_cast<unsigned>(g.in_w);
        if (!a.accumulate || !inside[p][q]) continue;
        const float4 before = FloatsOf(*FourOf(grad_x + ((iy0 + p) * g.in_w + ix0 + q) * stride));
        sum[p][q][0] = before.x;
        sum[p][q][1] = before.y;
        sum[p][q][2] = before.z;
        sum[p][q][3] = before.w;
      }
    }
    // Outputs outside have the gradients and winners of others, which do not count.
    int column[kOutputs], cell[kOutputs];
    uint32_t counts[kOutputs];
    AxisTaps column_taps[kOutputs];
    FTT_UNROLL
    for (int j = 0; j < kOutputs; ++j) {
      const int ox = ox0 + j, nearest = Nearest(ox, g.out_w - 1);
      const bool is_output = IsInside(ox, g.out_w);
      column[j] = nearest * stride;
      cell[j] = nearest * words;
      counts[j] = is_output ? 0xFFFFFFFFu : 0u;
      if constexpr (!kMax) column_taps[j] = AxisTaps(ox * kStride + g.origin, g.in_w, is_output);
    }
    FTT_UNROLL
    for (int r = 0; r < kOutputs; ++r) {
      const int oy = oy0 + r;
      const bool is_output = IsInside(oy - range.first, range.count);
      const Bf16* from = grad_y + Nearest(oy, g.out_h - 1) * (g.out_w * stride);
      uint2 v[kOutputs];
      FTT_UNROLL
      for (int j = 0; j < kOutputs; ++j) v[j] = *FourOf(from + column[j]);
      uint32_t won[kOutputs];
      if constexpr (kMax) {
        const uint32_t row_counts = is_output ? 0xFFFFFFFFu : 0u;
        const uint32_t* row = winners + (is_output ? oy - range.first : 0) * (g.out_w * words);
        FTT_UNROLL
        for (int j = 0; j < kOutputs; ++j) won[j] = row[cell[j]] & counts[j] & row_counts;
      }
      const AxisTaps row_taps(oy * kStride + g.origin, g.in_h, is_output);
      FTT_UNROLL
      for (int j = 0; j < kOutputs; ++j) {
        const float4 f = FloatsOf(v[j]);
        float grad[4] = {f.x, f.y, f.z, f.w};
        if constexpr (!kMax) {
          // The correctly rounded quotient, by one step from the product with the inverse.
          const float taps = row_taps.count * column_taps[j].count;
          const float inverse =
              taps == 9.0f ? 1.0f / 9.0f : row_taps.inverse * column_taps[j].inverse;
          FTT_UNROLL
          for (int c = 0; c < 4; ++c) {
            const float quotient = grad[c] * inverse;
            grad[c] = fmaf(fmaf(-quotient, taps, grad[c]), inverse, quotient);
          }
        }
        FTT_UNROLL
        for (int p = 0; p < 2; ++p) {
          FTT_UNROLL
          for (int q = 0; q < 2; ++q) {
            const int ky = p + 2 - kStride * r, kx = q + 2 - kStride * j;
            if (ky < 0 || ky > 2 || kx < 0 || kx > 2) continue;
            FTT_UNROLL
            for (int c = 0; c < 4; ++c) {
              const uint32_t byte = 0xFFu << 8 * c;
              if (!kMax || ((won[j] ^ TapCode(ky, kx)) & byte) == 0) sum[p][q][c] += grad[c];
            }
          }
        }
      }
    }
    FTT_UNROLL
    for (int p = 0; p < 2; ++p) {
      FTT_UNROLL
      for (int q = 0; q < 2; ++q) {
        if (!inside[p][q]) continue;
        const int at = ((iy0 + p) * g.in_w + ix0 + q) * stride;
        Bf16* to = grad_x + at;
        if (!kMax && g.relu) {
          const uint32_t codes = *reinterpret_cast<const uint32_t*>(x + at);
          FTT_UNROLL
          for (int c = 0; c < 4; ++c) {
            if (static_cast<int8_t>(codes >> 8 * c & 0xFF) <= 0)
              sum[p][q][c] = a.accumulate ? BitsToFloat(uint32_t{to[c]} << 16) : 0.0f;
          }
        }
        *FourOf(to) =
            RoundedToBf16(make_float4(sum[p][q][0], sum[p][q][1], sum[p][q][2], sum[p][q][3]));
      }
    }
  }
}

}  // namespace ftt::cuda
