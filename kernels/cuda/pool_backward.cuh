// Kernels of pool_backward.h.
//
// A block takes a band of input rows of one image and up to 64 channels. For a max pool it first
// finds, once, the winning tap of every output that reads the band; then every input pixel gathers
// from the outputs that may have read it.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/pool_backward.h"

namespace ftt::cuda {

inline constexpr int kPoolGradThreads = 256;
inline constexpr int kPoolGradRows = 8;    // input rows of a block
inline constexpr int kPoolGradWords = 16;  // words of four channels of a block, at most
inline constexpr uint32_t kNoTap = 0xFF;
inline constexpr int kPoolGradMaxKernel = 11;  // taps are bytes

// The outputs whose windows may touch input rows [first, first + rows) of an axis.
struct OutputRange {
  int first, count;
  FTT_HD OutputRange(const WindowGeometry& g, int first_input, int inputs, int outputs) {
    // output * stride + origin + reach >= first_input, output * stride + origin < first_input +
    // inputs.
    const int low = first_input - g.origin - (g.kernel - 1) * g.dilation;
    const int high = first_input + inputs - 1 - g.origin;
    first = low <= 0 ? 0 : DivideUp(low, g.stride);
    const int last =
        high < 0 ? -1 : (high / g.stride < outputs - 1 ? high / g.stride : outputs - 1);
    count = last < first ? 0 : last - first + 1;
  }
};

// A block's place: grid (bands, images * groups of channels, lanes).
struct PoolGradBlock {
  int lane, image, first_row, rows, words, word0;
  int64_t x, y;  // elements where the image starts

  __device__ explicit PoolGradBlock(const WindowGeometry& g) {
    const int all = g.In().Stride() / 4, groups = DivideUp(all, kPoolGradWords);
    lane = static_cast<int>(blockIdx.z);
    image = static_cast<int>(blockIdx.y) / groups;
    first_row = static_cast<int>(blockIdx.x) * kPoolGradRows;
    const int left = g.in_h - first_row;
    rows = left < kPoolGradRows ? left : kPoolGradRows;
    const int of_group = DivideUp(all, groups);
    word0 = (static_cast<int>(blockIdx.y) - image * groups) * of_group;
    words = all - word0 < of_group ? all - word0 : of_group;
    const int64_t map = int64_t{lane} * g.images + image;
    x = map * g.in_h * g.in_w * g.In().Stride() + 4 * word0;
    y = map * g.out_h * g.out_w * g.In().Stride() + 4 * word0;
  }
};

// The winning taps of four channels of one output, a byte each; kNoTap where no gradient passes.
template <int kKernel>
__device__ __forceinline__ uint32_t WinningTaps(const WindowGeometry& g, const int8_t* x, int oy,
                                                int ox) {
  const int stride = g.In().Stride(), kernel = kKernel == 0 ? g.kernel : kKernel;
  const int iy0 = oy * g.stride + g.origin, ix0 = ox * g.stride + g.origin;
  constexpr int kLoads = kKernel == 0 ? 1 : kKernel;  // rows and columns that are loaded at once
  // code * 256 - tap: the largest is the first of the largest codes.
  int best[4] = {INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN};
  for (int ky = 0; ky < kernel; ky += kLoads) {
    for (int kx = 0; kx < kernel; kx += kLoads) {
      uint32_t word[kLoads][kLoads];
      bool inside[kLoads][kLoads];
      FTT_UNROLL
      for (int i = 0; i < kLoads; ++i) {
        FTT_UNROLL
        for (int j = 0; j < kLoads; ++j) {
          const int iy = iy0 + (ky + i) * g.dilation, ix = ix0 + (kx + j) * g.dilation;
          inside[i][j] = static_cast<unsigned>(iy) < static_cast<unsigned>(g.in_h) &&
                         static_cast<unsigned>(ix) < static_cast<unsigned>(g.in_w);
          word[i][j] = 0;
          if (inside[i][j]) {
            word[i][j] =
                *reinterpret_cast<const uint32_t*>(x + (int64_t{iy} * g.in_w + ix) * stride);
          }
        }
      }
      FTT_UNROLL
      for (int i = 0; i < kLoads; ++i) {
        FTT_UNROLL
        for (int j = 0; j < kLoads; ++j) {
          const int tap = (ky + i) * kernel + kx + j;
          FTT_UNROLL
          for (int c = 0; c < 4; ++c) {
            const int key = static_cast<int8_t>(word[i][j] >> 8 * c & 0xFF) * 256 - tap;
            best[c] = inside[i][j] && key > best[c] ? key : best[c];
          }
        }
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

// kKernel and kStride: of the geometry, where the compiler is to know them; else 0.
template <PoolType kType, int kKernel, int kStride>
__global__ void __launch_bounds__(kPoolGradThreads) PoolBackwardKernel(PoolBackwardArguments a) {
  const WindowGeometry& g = a.geometry;
  constexpr int kColumns = kKernel == 0 ? 1 : kKernel;  // taps that are loaded at once
  const int kernel = kKernel == 0 ? g.kernel : kKernel, step = kStride == 0 ? g.stride : kStride;
  const PoolGradBlock b(g);
  const int stride = g.In().Stride(), words = b.words;
  const OutputRange range(g, b.first_row, b.rows, g.out_h);
  const int8_t* x = a.x + b.x;
  auto* winners = reinterpret_cast<uint32_t*>(SharedMemory());  // [range.count][out_w][words]
  auto* counts = reinterpret_cast<int*>(SharedMemory());
  using Inverses = float[kPoolGradMaxKernel * kPoolGradMaxKernel + 1];
  FTT_SHARED(Inverses, inverses);
  if constexpr (kType == PoolType::kMax) {
    for (int i = static_cast<int>(threadIdx.x); i < range.count * g.out_w * words;
         i += kPoolGradThreads) {
      const int pixel = i / words, row = pixel / g.out_w;
      winners[i] = WinningTaps<kKernel>(g, x + 4 * (i - pixel * words), range.first + row,
                                        pixel - row * g.out_w);
    }
  } else {
    CountTaps(g, range, counts, inverses);
  }
  SyncThreads();
  for (int i = static_cast<int>(threadIdx.x); i < b.rows * g.in_w * words; i += kPoolGradThreads) {
    const int pixel = i / words, word = i - pixel * words;
    const int row = pixel / g.in_w, iy = b.first_row + row, ix = pixel - row * g.in_w;
    const int64_t at = (int64_t{iy} * g.in_w + ix) * stride + 4 * word;
    auto* to = reinterpret_cast<float4*>(a.grad_x + b.x + at);
    float sum[4] = {};
    if (a.accumulate) {
      const float4 before = *to;
      sum[0] = before.x;
      sum[1] = before.y;
      sum[2] = before.z;
      sum[3] = before.w;
    }
    uint32_t codes = 0;
    if constexpr (kType != PoolType::kMax) codes = *reinterpret_cast<const uint32_t*>(x + at);
    // Backwards through the taps is forwards through the outputs.
    FTT_UNROLL
    for (int ky = kernel - 1; ky >= 0; --ky) {
      const int y = iy - g.origin - ky * g.dilation, oy = y / step;
      if (y < 0 || oy >= g.out_h || oy * step != y) continue;
      const float* from = a.grad_y + b.y + int64_t{oy} * g.out_w * stride + 4 * word;
      FTT_UNROLL
      for (int last = kernel - 1; last >= 0; last -= kColumns) {
        float4 v[kColumns];
        int ox[kColumns];  // negative: no tap
        FTT_UNROLL
        for (int k = 0; k < kColumns; ++k) {
          const int column = ix - g.origin - (last - k) * g.dilation;
          ox[k] = column / step;
          if (column < 0 || ox[k] >= g.out_w || ox[k] * step != column) ox[k] = -1;
          v[k] = make_float4(0, 0, 0, 0);
          if (ox[k] >= 0) v[k] = *reinterpret_cast<const float4*>(from + int64_t{ox[k]} * stride);
        }
        FTT_UNROLL
        for (int k = 0; k < kColumns; ++k) {
          if (ox[k] < 0) continue;
          const float grad[4] = {v[k].x, v[k].y, v[k].z, v[k].w};
          if constexpr (kType == PoolType::kMax) {
            const uint32_t won = winners[((oy - range.first) * g.out_w + ox[k]) * words + word];
            const auto tap = static_cast<uint32_t>(ky * kernel + last - k);
            FTT_UNROLL
            for (int c = 0; c < 4; ++c) sum[c] += (won >> 8 * c & 0xFF) == tap ? grad[c] : 0.0f;
          } else {
            // The correctly rounded quotient, by one step from the product with the inverse.
            const int count = counts[oy - range.first] * counts[range.count + ox[k]];
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
    }
    *to = make_float4(sum[0], sum[1], sum[2], sum[3]);
  }
}

}  // namespace ftt::cuda
