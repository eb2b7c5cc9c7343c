// The kernel of depthwise_backward.h.
//
// A block takes square tiles of input positions of 16 channels, one after the other. The gradients
// that a tile meets are brought into shared memory once, through the norm's map, as floats, zeros
// outside the map. A thread then has a strip of 4 x 4 positions of one channel and no bound to
// check: it reads a row of gradients once and uses it for all taps of all the strip's positions,
// and each value twice, for the sum that becomes the input's gradient and, times the position's
// code, for that of the tap's weight. Where taps lie further apart than positions, a strip takes
// every second position, so that it still reads one sequence.
#pragma once

#include "kernels/cuda/depthwise_backward.h"
#include "kernels/cuda/divider.h"
#include "kernels/cuda/gradient.cuh"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

inline constexpr int kTileChannels = 16;  // of a block
inline constexpr int kStrip = 4;          // positions of a strip along each dimension

FTT_HD constexpr int TileThreads(int tile) {
  return tile / kStrip * (tile / kStrip) * kTileChannels;
}
// Blocks of a multiprocessor: `warps` in all.
FTT_HD constexpr int TileBlocks(int tile, int warps) { return warps * 32 / TileThreads(tile); }
// Warps of a multiprocessor that leave each thread its registers.
FTT_HD constexpr int GradWarps(int taps) { return taps == 2 ? 32 : taps == 3 ? 24 : 16; }
// First position of a strip whose positions are `step` apart, along one dimension.
FTT_HD constexpr int FirstOfStrip(int strip, int step) {
  return strip % step + strip / step * step * kStrip;
}

// Strip, channel and first position of a thread in its tile.
template <int kTile, int kStep>
struct TileThread {
  int channel, slot, y, x;
  __device__ TileThread()
      : channel(static_cast<int>(threadIdx.x) % kTileChannels),
        slot(static_cast<int>(threadIdx.x) / kTileChannels),
        y(FirstOfStrip(slot / (kTile / kStrip), kStep)),
        x(FirstOfStrip(slot % (kTile / kStrip), kStep)) {}
};

// Pixels of 16 floats in shared memory. Behind each kGap columns (0: none) lies an unused one:
// half warps read strips that lie kGap columns apart, or 1, and shall meet different banks.
template <int kSide, int kGap>
struct SharedTile {
  static constexpr int kSize = kSide;
  FTT_HD static constexpr int Column(int x) { return kGap == 0 ? x : x + x / (kGap + (kGap == 0)); }
  static constexpr int kPitch = Column(kSize - 1) + 1;
  static constexpr int kFloats = kSize * kPitch * kTileChannels;
  // Of y + dy, x + dx it is the sum if x is a multiple of kGap.
  FTT_HD static constexpr int At(int y, int x) { return (y * kPitch + Column(x)) * kTileChannels; }
};

// What lies in a tile: pixel (u, v) is (y + u, x + v) of an h x w map.
struct TilePlace {
  int y, x, h, w;
};

// Loaders take four channels of a pixel in two steps, so that several loads are under way at once.
// Outside the map, where the second gives 0, the first reads any pixel.

// A gradient and its mask; first: element of the image's first pixel.
struct GradientLoader {
  struct Word {
    uint2 grad;
    uint32_t mask;
  };
  const Bf16* grad;
  const uint8_t* mask;
  uint32_t passes;  // without a mask any byte is read, and all bits are set

  __device__ GradientLoader(const OutputGradient& y, int64_t first)
      : grad(y.grad + first),
        mask(y.mask == nullptr ? reinterpret_cast<const uint8_t*>(grad) : y.mask + (first >> 3)),
        passes(y.mask == nullptr ? 0xFF : 0) {}
  __device__ Word Load(int at) const { return {*FourOf(grad + at), mask[at >> 3]}; }
  __device__ float4 Value(const Word& word) const {
    const uint32_t bits = (word.mask | passes) >> (threadIdx.x % 2 * 4) & 0xF;
    return FloatsOf(Counting(word.grad, TopsOfBits(bits)));
  }
  __device__ float4 Value(const Word& word, bool inside) const {
    const float4 passed = Value(word);
    return inside ? passed : make_float4(0, 0, 0, 0);
  }
};

// Four stored outputs.
struct HalfRaw {
  using Element = Half;
  using Word = uint2;
  static __device__ float4 Value(const uint2& word) {
    Half half[4];
    memcpy(half, &word, sizeof half);
    return make_float4(HalfToFloat(half[0]), HalfToFloat(half[1]), HalfToFloat(half[2]),
                       HalfToFloat(half[3]));
  }
};
struct IntRaw {
  using Element = int32_t;
  using Word = int4;
  static __device__ float4 Value(const int4& word) {
    return make_float4(static_cast<float>(word.x), static_cast<float>(word.y),
                       static_cast<float>(word.z), static_cast<float>(word.w));
  }
};

// A gradient through the norm's map; norm: element of p, q and r.
template <typename Raw>
struct MappedLoader {
  struct Word {
    GradientLoader::Word grad;
    typename Raw::Word raw;
  };
  GradientLoader gradient;
  const typename Raw::Element* raw;
  float4 p, q, r;

  __device__ MappedLoader(const OutputGradient& y, int64_t first, int norm)
      : gradient(y, first),
        raw(static_cast<const typename Raw::Element*>(y.raw) + first),
        p(*reinterpret_cast<const float4*>(y.p + norm)),
        q(*reinterpret_cast<const float4*>(y.q + norm)),
        r(*reinterpret_cast<const float4*>(y.r + norm)) {}
  __device__ Word Load(int at) const {
    return {gradient.Load(at), *reinterpret_cast<const typename Raw::Word*>(raw + at)};
  }
  __device__ float4 Value(const Word& word, bool inside) const {
    const float4 v = gradient.Value(word.grad), f = Raw::Value(word.raw);
    const float4 mapped =
        make_float4(fmaf(f.x, q.x, fmaf(v.x, p.x, r.x)), fmaf(f.y, q.y, fmaf(v.y, p.y, r.y)),
                    fmaf(f.z, q.z, fmaf(v.z, p.z, r.z)), fmaf(f.w, q.w, fmaf(v.w, p.w, r.w)));
    return inside ? mapped : make_float4(0, 0, 0, 0);
  }
};

// Fills a tile. A thread takes four channels of a column, every few rows, and loads up to kMost
// pixels at once; outside the map it loads the image's first pixel and stores 0.
template <typename Tile, int kThreads, int kMost, typename Loader>
__device__ __forceinline__ void FillTile(const Loader& loader, const TilePlace& place, int stride,
                                         float* tile) {
  constexpr int kSlots = kThreads / 4;
  constexpr int kRows = kSlots > Tile::kSize ? kSlots / Tile::kSize : 1;  // at once
  const int slot = static_cast<int>(threadIdx.x) / 4, quad = static_cast<int>(threadIdx.x) % 4 * 4;
  constexpr int kCount = DivideUp(Tile::kSize, kRows);  // pixels of a thread in a column
  constexpr int kBatch = DivideUp(kCount, DivideUp(kCount, kMost));
  // Not a constant even where it is 0, lest the loop below is unrolled, for which there are too few
  // registers.
  const int u0 = slot / (kRows == 1 ? kSlots : Tile::kSize);
  if (u0 >= kRows) return;
  FTT_UNROLL
  for (int i = 0; i < DivideUp(Tile::kSize, kSlots); ++i) {
    const int v = (kRows == 1 ? slot : slot - u0 * Tile::kSize) + i * kSlots;
    if (kRows == 1 && v >= Tile::kSize) continue;
    const int x = place.x + v;
    const int h = static_cast<unsigned>(x) < static_cast<unsigned>(place.w) ? place.h : 0;
    float* to = tile + Tile::At(u0, v) + quad;
    const int next = kRows * place.w * stride;
    int y = place.y + u0, at = (y * place.w + x) * stride + quad;
    for (int u = u0; u < Tile::kSize; u += kBatch * kRows) {
      typename Loader::Word words[kBatch];
      bool inside[kBatch];
      FTT_UNROLL
      for (int b = 0; b < kBatch; ++b) {
        inside[b] = static_cast<unsigned>(y) < static_cast<unsigned>(h);
        words[b] = loader.Load(inside[b] ? at : 0);
        y += kRows;
        at += next;
      }
      FTT_UNROLL
      for (int b = 0; b < kBatch; ++b) {
        const float4 f = loader.Value(words[b], inside[b]);
        if (u + b * kRows < Tile::kSize)
          *reinterpret_cast<float4*>(to + Tile::At(b * kRows, 0)) = f;
      }
      to += Tile::At(kBatch * kRows, 0);
    }
  }
}

// The same of a gradient; channel0: the block's first.
template <typename Tile, int kThreads, int kMost>
__device__ __forceinline__ void FillGradient(const OutputGradient& y, const MapShape& map, int lane,
                                             int image, int channel0, const TilePlace& place,
                                             float* tile) {
  const int stride = map.Stride();
  const int64_t first = int64_t{lane * map.images + image} * (map.MapPixels() * stride) + channel0;
  const int norm = lane * stride + channel0 + static_cast<int>(threadIdx.x) % 4 * 4;
  if (y.raw == nullptr) {
    FillTile<Tile, kThreads, kMost>(GradientLoader(y, first), place, stride, tile);
  } else if (y.raw_type == RawType::kHalf) {
    FillTile<Tile, kThreads, kMost>(MappedLoader<HalfRaw>(y, first, norm), place, stride, tile);
  } else {
    FillTile<Tile, kThreads, kMost>(MappedLoader<IntRaw>(y, first, norm), place, stride, tile);
  }
}

// --- the kernel ---

// Classes of input rows and columns, and how the grid is made up: x: blocks of a lane's tiles, of
// each the classes, first; y: groups of channels; z: lanes. A block takes `tiles` tiles of its
// class, image by image.
struct DepthwiseGradPlan {
  GradAxis y[2], x[2];
  int class_bits = 0;
  int tiles = 1, blocks = 1;
  Divider across, of_image;  // tiles
  // Of each class: kN x kN taps in the order in which a sequence of outputs meets them, the last
  // tap first; -1 where there is none.
  int8_t taps[4][25];
};

// Weights of 16 channels as floats, in the order of DepthwiseGradPlan::taps, 0 where there is none.
template <int kN>
using DepthwiseTaps = float[kN * kN][kTileChannels];

template <int kN, int kThreads>
__device__ __forceinline__ void LoadTaps(const DepthwiseGradArguments& a, int lane, int channel0,
                                         const int8_t (&order)[25], DepthwiseTaps<kN>& taps) {
  constexpr int kSlots = kThreads / kTileChannels, kCount = DivideUp(kN * kN, kSlots);
  const WindowGeometry& g = a.geometry;
  const int channel = static_cast<int>(threadIdx.x) % kTileChannels;
  const int slot = static_cast<int>(threadIdx.x) / kTileChannels;
  const bool pad = channel0 + channel >= g.in_channels;
  const int from = (a.one_weight ? 0 : lane * g.in_channels) + channel0 + (pad ? 0 : channel);
  const int8_t* codes = a.weights + int64_t{from} * (g.kernel * g.kernel);
  int8_t code[kCount];
  FTT_UNROLL
  for (int i = 0; i < kCount; ++i) {
    const int place = slot + i * kSlots, tap = place < kN * kN ? order[place] : -1;
    code[i] = codes[tap < 0 ? 0 : tap];
  }
  const float unit = PowerOfTwo(*a.weight_exponent);
  FTT_UNROLL
  for (int i = 0; i < kCount; ++i) {
    const int place = slot + i * kSlots;
    if (place >= kN * kN) continue;
    const bool used = !pad && order[place] >= 0;
    taps[place][channel] = used ? static_cast<float>(code[i]) * unit : 0.0f;
  }
}

template <int kN, int kStep, int kTile>
struct DepthwiseGradShared {
  using Gradients = SharedTile<kTile + (kN - 1) * kStep, kStep == 1 ? kStrip : 0>;
  using Results = SharedTile<kTile, kStep == 1 ? kStrip : 0>;
  // The row is one longer than the threads, so that taps of a channel lie in different banks.
  using Sums = float[kN * kN][TileThreads(kTile) + 1];
  union {
    alignas(16) float gradients[Gradients::kFloats];
    Sums sums;  // when nobody reads gradients any more
  };
  float results[Results::kFloats];
  uint32_t codes[kTile * kTile][kTileChannels / 4];
  DepthwiseTaps<kN> taps;
};

// A tile of the input, four channels of a column of four pixels a thread: the codes, and where the
// gradients go.
template <int kTile>
struct InputPlace {
  static constexpr int kRows = kTile / kStrip;  // at once
  const int quad = static_cast<int>(threadIdx.x) % 4;
  const int v = static_cast<int>(threadIdx.x) / 4 % kTile;
  const int u = static_cast<int>(threadIdx.x) / 4 / kTile;
  int left;      // pixels of the column that lie inside
  int at, next;  // elements from the map's first: of the first of them, and on to the others

  __device__ __forceinline__ InputPlace(const WindowGeometry& g, const GradAxis& axis_y,
                                        const GradAxis& axis_x, int y0, int x0) {
    const int stride = g.In().Stride(), x = x0 + v, y = y0 + u;
    left = x < axis_x.count ? DivideUp(axis_y.count - y, kRows) : 0;
    at = ((axis_y.first + g.stride * y) * g.in_w + axis_x.first + g.stride * x) * stride + 4 * quad;
    next = kRows * g.stride * g.in_w * stride;
  }
  __device__ __forceinline__ void LoadCodes(const int8_t* image, uint32_t (&word)[kStrip]) const {
    FTT_UNROLL
    for (int i = 0; i < kStrip; ++i) {
      word[i] = 0;
      if (i < left) word[i] = *reinterpret_cast<const uint32_t*>(image + at + i * next);
    }
  }
  __device__ __forceinline__ void KeepCodes(const uint32_t (&word)[kStrip],
                                            uint32_t (*codes)[kTileChannels / 4]) const {
    FTT_UNROLL
    for (int i = 0; i < kStrip; ++i) codes[(u + i * kRows) * kTile + v][quad] = word[i];
  }
  template <typename Results>
  __device__ __forceinline__ void Store(const float* results, bool accumulate, Bf16* image) const {
    uint2 before[kStrip] = {};
    if (accumulate) {
      FTT_UNROLL
      for (int i = 0; i < kStrip; ++i)
        if (i < left) before[i] = *FourOf(image + at + i * next);
    }
    FTT_UNROLL
    for (int i = 0; i < kStrip; ++i) {
      if (i >= left) continue;
      const float* from = results + Results::At(u + i * kRows, v) + 4 * quad;
      const float4 f = *reinterpret_cast<const float4*>(from), b = FloatsOf(before[i]);
      *FourOf(image + at + i * next) =
          RoundedToBf16(make_float4(f.x + b.x, f.y + b.y, f.z + b.z, f.w + b.w));
    }
  }
};

// kN: taps of a class along a dimension, at most. kStep: distance of the outputs that they meet.
// A row of the lane's scratch, [channels][k][k], that blocks of all classes share receives the sums
// of the class's taps over the block's tiles, strip by strip.
template <int kN, int kStep, int kTile>
__global__ void __launch_bounds__(TileThreads(kTile), TileBlocks(kTile, GradWarps(kN)))
    DepthwiseGradKernel(FTT_IN_PLACE DepthwiseGradArguments a,
                        FTT_IN_PLACE DepthwiseGradPlan plan) {
  using Shared = DepthwiseGradShared<kN, kStep, kTile>;
  using Gradients = typename Shared::Gradients;
  using Results = typename Shared::Results;
  constexpr int kThreads = TileThreads(kTile), kTaps = kN * kN, kLength = kStrip + kN - 1;
  auto& shared = *reinterpret_cast<Shared*>(SharedMemory());
  const WindowGeometry& g = a.geometry;
  const int block = static_cast<int>(blockIdx.x) >> plan.class_bits;
  const int kind = static_cast<int>(blockIdx.x) & ((1 << plan.class_bits) - 1);
  const GradAxis &axis_y = plan.y[kind >> 1], &axis_x = plan.x[kind & 1];
  const int lane = static_cast<int>(blockIdx.z);
  const int channel0 = static_cast<int>(blockIdx.y) * kTileChannels;
  const int first = block * plan.tiles, all = g.images * plan.of_image.Divisor();
  const int end = first + plan.tiles < all ? first + plan.tiles : all;
  StartKernel(end + kind);
  if (axis_y.taps * axis_x.taps == 0 && (a.accumulate || a.grad_x == nullptr)) return;

  LoadTaps<kN, kThreads>(a, lane, channel0, plan.taps[kind], shared.taps);
  const float least = g.relu ? 0.0f : -128.0f;
  const TileThread<kTile, kStep> me;
  const float* gradients = shared.gradients + Gradients::At(me.y, me.x) + me.channel;
  const auto* codes =
      reinterpret_cast<const int8_t*>(shared.codes[me.y * kTile + me.x]) + me.channel;
  float* results = shared.results + Results::At(me.y, me.x) + me.channel;
  float taps[kTaps], sums[kTaps] = {};
  bool has_taps = false;
  FTT_ROLLED
  for (int item = first; item < end; ++item) {
    const int image = plan.of_image(item), part = item - image * plan.of_image.Divisor();
    const int down = plan.across(part);
    const int y0 = down * kTile, x0 = (part - down * plan.across.Divisor()) * kTile;
    if (y0 >= axis_y.count || x0 >= axis_x.count) continue;
    const InputPlace<kTile> input(g, axis_y, axis_x, y0, x0);
    const int64_t map_at = lane * g.In().LaneElements() +
                           int64_t{image} * (g.In().MapPixels() * g.In().Stride()) + channel0;
    uint32_t word[kStrip];
    input.LoadCodes(a.x + map_at, word);
    const TilePlace tile{y0 + axis_y.offset - (kN - 1) * kStep,
                         x0 + axis_x.offset - (kN - 1) * kStep, g.out_h, g.out_w};
    FillGradient<Gradients, kThreads, 4>(a.grad_y, g.Out(), lane, image, channel0, tile,
                                         shared.gradients);
    input.KeepCodes(word, shared.codes);
    // Everybody has read the results of the tile before.
    SyncThreads();
    if (!has_taps) {
      FTT_UNROLL
      for (int i = 0; i < kTaps; ++i) taps[i] = shared.taps[i][me.channel];
      has_taps = true;
    }
    float acc[kStrip][kStrip] = {}, code[kStrip][kStrip];
    FTT_UNROLL
    for (int j = 0; j < kLength; ++j) {
      float v[kLength];
      FTT_UNROLL
      for (int i = 0; i < kLength; ++i) v[i] = gradients[Gradients::At(j * kStep, i * kStep)];
      FTT_UNROLL
      for (int c = 0; c < kStrip && j < kStrip; ++c) {
        code[j][c] =
            fmaxf(static_cast<float>(codes[(j * kTile + c) * kStep * kTileChannels]), least);
      }
      FTT_UNROLL
      for (int r = 0; r < kStrip; ++r) {
        const int fy = j - r;
        if (fy < 0 || fy >= kN) continue;
        FTT_UNROLL
        for (int i = 0; i < kStrip * kN; ++i) {
          const int column = i / kN, fx = i % kN;
          acc[r][column] = fmaf(v[column + fx], taps[fy * kN + fx], acc[r][column]);
          sums[fy * kN + fx] = fmaf(v[column + fx], code[r][column], sums[fy * kN + fx]);
        }
        if (fy != kN - 1) continue;
        FTT_UNROLL
        for (int c = 0; c < kStrip; ++c)
          results[Results::At(r * kStep, c * kStep)] = code[r][c] > 0 || !g.relu ? acc[r][c] : 0.0f;
      }
    }
    SyncThreads();
    if (a.grad_x != nullptr)
      input.template Store<Results>(shared.results, a.accumulate, a.grad_x + map_at);
  }

  FTT_UNROLL
  for (int i = 0; i < kTaps; ++i) shared.sums[i][threadIdx.x] = sums[i];
  SyncThreads();
  const int left = g.in_channels - channel0, of_channel = g.kernel * g.kernel;
  const int channels = left < kTileChannels ? left : kTileChannels;
  float* row =
      a.scratch + ((int64_t{lane} * plan.blocks + block) * g.in_channels + channel0) * of_channel;
  FTT_ROLLED
  for (int i = static_cast<int>(threadIdx.x); i < channels * kTaps; i += kThreads) {
    const int c = i / kTaps, place = i - c * kTaps, tap = plan.taps[kind][place];
    if (tap < 0) continue;
    float sum = 0;
    FTT_UNROLL
    for (int at = 0; at < kThreads; at += kTileChannels) sum += shared.sums[place][at + c];
    row[c * of_channel + tap] = sum;
  }
}

}  // namespace ftt::cuda
