// Kernels of depthwise_backward.h.
//
// A thread keeps two channels and goes over strips of positions: 4 along a row by several rows. It
// loads a row of what a strip reads once and uses it for all taps of all the strip's positions;
// what neighbouring strips share comes from the caches. Where taps lie further apart than
// positions, a strip takes every second position, so that it still reads one sequence.
#pragma once

#include "kernels/cuda/depthwise_backward.h"
#include "kernels/cuda/gradient.cuh"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

inline constexpr int kDepthwiseThreads = 128;
inline constexpr int kStripColumns = 4;

// How positions of one dimension are dealt out: strip s covers First(s) + i * step, i < span.
struct Strips {
  int step = 1, span = 1;
  FTT_HD int Count(int positions) const { return step * DivideUp(DivideUp(positions, step), span); }
  FTT_HD int First(int strip) const { return strip % step + strip / step * step * span; }
};

// How a launch is cut. A block takes `pairs` pairs of channels and `items` strips; its threads are
// `slots` of each pair.
struct DepthwiseGradPlan {
  Strips down, across;
  int pairs = 1, items = 1, blocks = 1;
  int rows = 0, columns = 0;  // strips of an image

  __device__ int Slots() const { return kDepthwiseThreads / pairs; }
};

// A strip of one image.
struct StripPlace {
  int image, y, x;
  __device__ StripPlace(const DepthwiseGradPlan& p, int item) {
    const int row = item / p.columns;
    image = row / p.rows;
    x = p.across.First(item - row * p.columns);
    y = p.down.First(row - image * p.rows);
  }
};

// Which strips of which pair of channels a thread takes.
struct StripThread {
  int slots, slot, channel, first, end;
  __device__ StripThread(const DepthwiseGradPlan& p, int images)
      : slots(p.Slots()),
        slot(static_cast<int>(threadIdx.x) / p.pairs),
        channel(2 * (static_cast<int>(blockIdx.y) * p.pairs +
                     static_cast<int>(threadIdx.x) % p.pairs)) {
    const int all = images * p.rows * p.columns, begin = static_cast<int>(blockIdx.x) * p.items;
    end = begin + p.items < all ? begin + p.items : all;
    first = begin + slot;
  }
  // Threads beyond the last whole slot and channels beyond the last have nothing to do.
  __device__ bool Works(int stride) const { return slot < slots && channel < stride; }
};

// --- data ---

struct DepthwiseClass {
  GradAxis y, x;
  DepthwiseGradPlan plan;
};

// Weights of two channels as floats: kN x kN taps in the order in which a sequence of outputs
// meets them, the last tap first; taps that do not exist are 0.
template <int kN>
struct DepthwiseTaps {
  float w[kN][kN][2];

  __device__ DepthwiseTaps(const WindowGeometry& g, const DepthwiseClass& k, const int8_t* codes,
                           int channel, float unit) {
    FTT_UNROLL
    for (int fy = 0; fy < kN; ++fy) {
      FTT_UNROLL
      for (int fx = 0; fx < kN; ++fx) {
        const int jy = kN - 1 - fy, jx = kN - 1 - fx;
        const int tap =
            (k.y.first_tap + jy * k.y.tap_step) * g.kernel + k.x.first_tap + jx * k.x.tap_step;
        FTT_UNROLL
        for (int c = 0; c < 2; ++c) {
          w[fy][fx][c] = 0;
          if (jy < k.y.taps && jx < k.x.taps && channel + c < g.in_channels) {
            const int at = (channel + c) * g.kernel * g.kernel + tap;
            w[fy][fx][c] = static_cast<float>(codes[at]) * unit;
          }
        }
      }
    }
  }
};

__device__ __forceinline__ void StoreInputGrad(const DepthwiseDataGradArguments& a, int64_t at,
                                               float low, float high) {
  if (a.geometry.relu) {
    const uint32_t codes = *reinterpret_cast<const uint16_t*>(a.x + at);
    low = static_cast<int8_t>(codes & 0xFF) > 0 ? low : 0.0f;
    high = static_cast<int8_t>(codes >> 8) > 0 ? high : 0.0f;
  }
  auto* to = reinterpret_cast<float2*>(a.grad_x + at);
  if (a.accumulate) {
    const float2 before = *to;
    low += before.x;
    high += before.y;
  }
  *to = make_float2(low, high);
}

// Grid: (blocks, groups of pairs, lanes). kN: taps of a class along a dimension, at most.
template <int kN, int kRows>
__global__ void __launch_bounds__(kDepthwiseThreads, 4)
    DepthwiseDataGradKernel(DepthwiseDataGradArguments a, DepthwiseClass k) {
  const WindowGeometry& g = a.geometry;
  const MapShape out = g.Out();
  const int stride = out.Stride(), lane = static_cast<int>(blockIdx.z);
  const StripThread thread(k.plan, g.images);
  if (!thread.Works(stride)) return;
  const int64_t copy = a.one_weight ? 0 : int64_t{lane} * g.in_channels * g.kernel * g.kernel;
  const DepthwiseTaps<kN> taps(g, k, a.weights + copy, thread.channel,
                               PowerOfTwo(*a.weight_exponent));
  const int step_y = k.y.offset_step, step_x = k.x.offset_step;
  for (int item = thread.first; item < thread.end; item += thread.slots) {
    const StripPlace place(k.plan, item);
    const int oy0 = place.y + k.y.offset - (kN - 1) * step_y;
    const int ox0 = place.x + k.x.offset - (kN - 1) * step_x;
    float acc[kRows][kStripColumns][2] = {};
    FTT_UNROLL
    for (int j = 0; j < kRows + kN - 1; ++j) {
      const int oy = oy0 + j * step_y;
      if (static_cast<unsigned>(oy) >= static_cast<unsigned>(g.out_h)) continue;
      const int64_t row = lane * out.LaneElements() +
                          (int64_t{place.image} * g.out_h + oy) * g.out_w * stride + thread.channel;
      float v[kStripColumns + kN - 1][2] = {};
      FTT_UNROLL
      for (int i = 0; i < kStripColumns + kN - 1; ++i) {
        const int ox = ox0 + i * step_x;
        if (static_cast<unsigned>(ox) < static_cast<unsigned>(g.out_w))
          LoadGradient<2>(a.grad_y, row + ox * stride, lane * stride + thread.channel, v[i]);
      }
      FTT_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const int fy = j - r;
        if (fy < 0 || fy >= kN) continue;
        FTT_UNROLL
        for (int i = 0; i < kStripColumns * kN * 2; ++i) {
          const int column = i / (2 * kN), fx = i / 2 % kN, c = i % 2;
          acc[r][column][c] = fmaf(v[column + fx][c], taps.w[fy][fx][c], acc[r][column][c]);
        }
      }
    }
    FTT_UNROLL
    for (int i = 0; i < kRows * kStripColumns; ++i) {
      const int r = i / kStripColumns, column = i % kStripColumns;
      const int y = place.y + r * step_y, x = place.x + column * step_x;
      if (y >= k.y.count || x >= k.x.count) continue;
      const int64_t pixel = (int64_t{place.image} * g.in_h + k.y.first + g.stride * y) * g.in_w +
                            k.x.first + g.stride * x;
      StoreInputGrad(a, lane * g.In().LaneElements() + pixel * stride + thread.channel,
                     acc[r][column][0], acc[r][column][1]);
    }
  }
}

// --- weights ---

template <int kKernel>
using DepthwiseSums = float[kKernel][kKernel][2];

// One strip. kAdvance: distance, in the sequence of inputs, of what neighbouring outputs read.
template <int kKernel, int kAdvance, int kRows>
__device__ __forceinline__ void AddStrip(const DepthwiseWeightGradArguments& a,
                                         const DepthwiseGradPlan& plan, int lane, int channel,
                                         const StripPlace& place, DepthwiseSums<kKernel>& acc) {
  constexpr int kLength = (kStripColumns - 1) * kAdvance + kKernel;
  constexpr int kHeight = (kRows - 1) * kAdvance + kKernel;
  const WindowGeometry& g = a.geometry;
  const MapShape out = g.Out();
  const int stride = out.Stride();
  const int64_t first = lane * out.LaneElements() + channel;
  float grad[kRows][kStripColumns][2] = {};
  FTT_UNROLL
  for (int i = 0; i < kRows * kStripColumns; ++i) {
    const int r = i / kStripColumns, column = i % kStripColumns;
    const int oy = place.y + r * plan.down.step, ox = place.x + column * plan.across.step;
    if (oy >= g.out_h || ox >= g.out_w) continue;
    const int64_t pixel = (int64_t{place.image} * g.out_h + oy) * g.out_w + ox;
    LoadGradient<2>(a.grad_y, first + pixel * stride, lane * stride + channel, grad[r][column]);
  }
  const int iy0 = place.y * g.stride + g.origin, ix0 = place.x * g.stride + g.origin;
  const int8_t* image = a.x + lane * g.In().LaneElements() +
                        int64_t{place.image} * g.in_h * g.in_w * stride + channel;
  FTT_UNROLL
  for (int j = 0; j < kHeight; ++j) {
    const int iy = iy0 + j * g.dilation;
    if (static_cast<unsigned>(iy) >= static_cast<unsigned>(g.in_h)) continue;
    const int8_t* row = image + int64_t{iy} * g.in_w * stride;
    float v[kLength][2];
    FTT_UNROLL
    for (int i = 0; i < kLength; ++i) {
      const int ix = ix0 + i * g.dilation;
      uint32_t codes = 0;
      if (static_cast<unsigned>(ix) < static_cast<unsigned>(g.in_w))
        codes = *reinterpret_cast<const uint16_t*>(row + ix * stride);
      v[i][0] = CodeToFloat(codes, 0, g.relu);
      v[i][1] = CodeToFloat(codes, 1, g.relu);
    }
    FTT_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const int ky = j - r * kAdvance;
      if (ky < 0 || ky >= kKernel) continue;
      FTT_UNROLL
      for (int i = 0; i < kStripColumns * kKernel * 2; ++i) {
        const int column = i / (2 * kKernel), kx = i / 2 % kKernel, c = i % 2;
        acc[ky][kx][c] = fmaf(grad[r][column][c], v[column * kAdvance + kx][c], acc[ky][kx][c]);
      }
    }
  }
}

// Grid: (blocks, groups of pairs, lanes). Row blockIdx.x of the lane's scratch, [channels][k][k],
// receives the sums of the block's strips, slot by slot.
template <int kKernel, int kAdvance, int kRows>
__global__ void __launch_bounds__(kDepthwiseThreads, 3)
    DepthwiseWeightGradKernel(DepthwiseWeightGradArguments a, DepthwiseGradPlan plan) {
  constexpr int kTaps = kKernel * kKernel;
  const WindowGeometry& g = a.geometry;
  const int lane = static_cast<int>(blockIdx.z), me = static_cast<int>(threadIdx.x);
  const StripThread thread(plan, g.images);
  DepthwiseSums<kKernel> acc = {};
  if (thread.Works(g.Out().Stride())) {
    for (int item = thread.first; item < thread.end; item += thread.slots) {
      AddStrip<kKernel, kAdvance, kRows>(a, plan, lane, thread.channel, StripPlace(plan, item),
                                         acc);
    }
  }
  using Shared = float[2 * kTaps][kDepthwiseThreads];
  FTT_SHARED(Shared, sums);
  FTT_UNROLL
  for (int i = 0; i < 2 * kTaps; ++i) sums[i][me] = acc[i / 2 / kKernel][i / 2 % kKernel][i % 2];
  SyncThreads();
  const int channel0 = 2 * plan.pairs * static_cast<int>(blockIdx.y);
  const int left = g.in_channels - channel0;
  const int channels = left < 2 * plan.pairs ? left : 2 * plan.pairs;
  float* row =
      a.scratch + ((int64_t{lane} * plan.blocks + blockIdx.x) * g.in_channels + channel0) * kTaps;
  for (int i = me; i < channels * kTaps; i += kDepthwiseThreads) {
    const int c = i / kTaps, tap = i - c * kTaps;
    float sum = 0;
    for (int slot = 0; slot < thread.slots; ++slot)
      sum += sums[2 * tap + c % 2][slot * plan.pairs + c / 2];
    row[i] = sum;
  }
}

}  // namespace ftt::cuda
