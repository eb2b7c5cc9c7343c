// Kernels of depthwise_backward.h.
//
// A block takes a square tile of positions of 16 channels. What the tile reads is brought into
// shared memory once, as floats: gradients through the norm's map, codes converted, zeros outside
// the map. A thread then computes a strip of 4 x 4 positions of one channel, without a bound to
// check: it reads a row of what the strip reads once and uses it for all taps of all the strip's
// positions. Where taps lie further apart than positions, a strip takes every second position, so
// that it still reads one sequence.
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
inline constexpr int kDataGradWarps = 32;
FTT_HD constexpr int WeightGradWarps(int kernel) { return kernel == 3 ? 32 : 24; }
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

// What lies in a tile: pixel (u, v) is (y + u * unit, x + v * unit) of an h x w map.
struct TilePlace {
  int y, x, unit, h, w;
};

// Loaders take four channels of a pixel in two steps, so that several loads are under way at once.
// Outside the map, where the second gives 0, the first reads any pixel.
struct CodeLoader {
  using Word = uint32_t;
  const int8_t* image;
  float least;  // 0 with relu

  __device__ Word Load(int at) const { return *reinterpret_cast<const uint32_t*>(image + at); }
  __device__ float4 Value(Word word, bool inside) const {
    if (!inside) word = 0;
    return make_float4(Code(word, 0), Code(word, 1), Code(word, 2), Code(word, 3));
  }
  __device__ float Code(Word word, int i) const {
    return fmaxf(CodeToFloat(word, i, false), least);
  }
};

// A gradient and its mask; first: element of the image's first pixel.
struct GradientLoader {
  struct Word {
    float4 grad;
    uint32_t mask;
  };
  const float* grad;
  const uint8_t* mask;
  uint32_t passes;  // without a mask any byte is read, and all bits are set

  __device__ GradientLoader(const OutputGradient& y, int64_t first)
      : grad(y.grad + first),
        mask(y.mask == nullptr ? reinterpret_cast<const uint8_t*>(grad) : y.mask + (first >> 3)),
        passes(y.mask == nullptr ? 0xFF : 0) {}
  __device__ Word Load(int at) const {
    return {*reinterpret_cast<const float4*>(grad + at), mask[at >> 3]};
  }
  __device__ float4 Value(const Word& word) const {
    const uint32_t bits = (word.mask | passes) >> (threadIdx.x % 2 * 4);
    return make_float4((bits & 1) != 0 ? word.grad.x : 0.0f, (bits & 2) != 0 ? word.grad.y : 0.0f,
                       (bits & 4) != 0 ? word.grad.z : 0.0f, (bits & 8) != 0 ? word.grad.w : 0.0f);
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
    const int x = place.x + v * place.unit;
    const int h = static_cast<unsigned>(x) < static_cast<unsigned>(place.w) ? place.h : 0;
    float* to = tile + Tile::At(u0, v) + quad;
    const int step = kRows * place.unit, next = step * place.w * stride;
    int y = place.y + u0 * place.unit, at = (y * place.w + x) * stride + quad;
    for (int u = u0; u < Tile::kSize; u += kBatch * kRows) {
      typename Loader::Word words[kBatch];
      bool inside[kBatch];
      FTT_UNROLL
      for (int b = 0; b < kBatch; ++b) {
        inside[b] = static_cast<unsigned>(y) < static_cast<unsigned>(h);
        words[b] = loader.Load(inside[b] ? at : 0);
        y += step;
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

// --- data ---

// Classes of input rows and columns, and how blockIdx is made up: x: image; y: tile, across first;
// z: class, groups of channels, lanes, in this order.
struct DepthwiseDataPlan {
  GradAxis y[2], x[2];
  int class_bits = 0;  // of blockIdx.z
  Divider across, groups;
  // Of each class: kN x kN taps in the order in which a sequence of outputs meets them, the last
  // tap first; -1 where there is none.
  int8_t taps[4][25];
};

// Weights of 16 channels as floats, in the order of DepthwiseDataPlan::taps, 0 where there is none.
template <int kN>
using DepthwiseTaps = float[kN * kN][kTileChannels];

// A thread's part of them, loaded at once.
template <int kN, int kThreads>
struct DepthwiseTapCodes {
  static constexpr int kSlots = kThreads / kTileChannels;
  static constexpr int kCount = DivideUp(kN * kN, kSlots);
  const int channel = static_cast<int>(threadIdx.x) % kTileChannels;
  const int first = static_cast<int>(threadIdx.x) / kTileChannels;
  int8_t code[kCount];
  uint32_t used = 0;  // bits by tap: the others are 0

  __device__ DepthwiseTapCodes(const DepthwiseDataGradArguments& a, int lane, int channel0,
                               const int8_t (&order)[25]) {
    const WindowGeometry& g = a.geometry;
    const bool pad = channel0 + channel >= g.in_channels;
    const int from = (a.one_weight ? 0 : lane * g.in_channels) + channel0 + (pad ? 0 : channel);
    const int8_t* codes = a.weights + int64_t{from} * (g.kernel * g.kernel);
    FTT_UNROLL
    for (int i = 0; i < kCount; ++i) {
      const int place = first + i * kSlots;
      const int tap = pad || place >= kN * kN ? -1 : order[place];
      code[i] = codes[tap < 0 ? 0 : tap];
      used |= (tap >= 0 ? 1u : 0u) << i;
    }
  }
  __device__ void Store(float unit, DepthwiseTaps<kN>& taps) const {
    FTT_UNROLL
    for (int i = 0; i < kCount; ++i) {
      const int place = first + i * kSlots;
      if (place < kN * kN)
        taps[place][channel] = (used >> i & 1) != 0 ? static_cast<float>(code[i]) * unit : 0.0f;
    }
  }
};

// Stores a tile of 16 channels whose first position is y0, x0; a thread takes four channels of a
// column of four pixels. Loads lie on the thread's own pixels even where nothing is stored.
template <typename Tile>
__device__ __forceinline__ void StoreTile(const DepthwiseDataGradArguments& a,
                                          const GradAxis& axis_y, const GradAxis& axis_x, int image,
                                          int channel0, int y0, int x0, const float* tile) {
  constexpr int kRows = Tile::kSize / kStrip;  // at once
  const WindowGeometry& g = a.geometry;
  const int me = static_cast<int>(threadIdx.x), quad = me % 4 * 4;
  const int v = me / 4 % Tile::kSize, u = me / 4 / Tile::kSize;
  const int stride = g.In().Stride(), x = x0 + v, y = y0 + u;
  const int64_t first = int64_t{image} * (g.In().MapPixels() * stride) + channel0;
  const int8_t* codes = a.x + first;
  float* grad_x = a.grad_x + first;
  int left = x < axis_x.count ? DivideUp(axis_y.count - y, kRows) : 0;  // pixels
  if (left <= 0) return;
  const int at0 = ((axis_y.first + g.stride * y) * g.in_w + axis_x.first + g.stride * x) * stride;
  const int next = kRows * g.stride * g.in_w * stride;
  int at[kStrip];
  float4 value[kStrip];
  FTT_UNROLL
  for (int i = 0; i < kStrip; ++i) {
    at[i] = at0 + (i < left ? i * next : 0) + quad;
    value[i] = *reinterpret_cast<const float4*>(tile + Tile::At(u + i * kRows, v) + quad);
  }
  if (g.relu) {
    uint32_t word[kStrip];
    FTT_UNROLL
    for (int i = 0; i < kStrip; ++i) word[i] = *reinterpret_cast<const uint32_t*>(codes + at[i]);
    FTT_UNROLL
    for (int i = 0; i < kStrip; ++i) {
      // The top bit of each byte that is above 0.
      const uint32_t positive = ((word[i] & 0x7F7F7F7Fu) + 0x7F7F7F7Fu) & ~word[i];
      value[i].x = (positive & 0x80u) != 0 ? value[i].x : 0.0f;
      value[i].y = (positive & 0x8000u) != 0 ? value[i].y : 0.0f;
      value[i].z = (positive & 0x800000u) != 0 ? value[i].z : 0.0f;
      value[i].w = (positive & 0x80000000u) != 0 ? value[i].w : 0.0f;
    }
  }
  if (a.accumulate) {
    float4 before[kStrip];
    FTT_UNROLL
    for (int i = 0; i < kStrip; ++i) before[i] = *reinterpret_cast<const float4*>(grad_x + at[i]);
    FTT_UNROLL
    for (int i = 0; i < kStrip; ++i) {
      value[i].x += before[i].x;
      value[i].y += before[i].y;
      value[i].z += before[i].z;
      value[i].w += before[i].w;
    }
  }
  FTT_UNROLL
  for (int i = 0; i < kStrip; ++i) {
    if (i < left) *reinterpret_cast<float4*>(grad_x + at[i]) = value[i];
  }
}

template <int kN, int kStep, int kTile>
struct DepthwiseDataGradShared {
  using Tile = SharedTile<kTile + (kN - 1) * kStep, kStep == 1 ? kStrip : 0>;
  alignas(16) float tile[Tile::kFloats];
  DepthwiseTaps<kN> taps;
};

// kN: taps of a class along a dimension, at most. kStep: distance of the outputs that they meet.
template <int kN, int kStep, int kTile>
__global__ void __launch_bounds__(TileThreads(kTile), TileBlocks(kTile, kDataGradWarps))
    DepthwiseDataGradKernel(FTT_IN_PLACE DepthwiseDataGradArguments a,
                            FTT_IN_PLACE DepthwiseDataPlan plan) {
  using Shared = DepthwiseDataGradShared<kN, kStep, kTile>;
  using Tile = typename Shared::Tile;
  FTT_SHARED(Shared, shared);
  const WindowGeometry& g = a.geometry;
  const int image = static_cast<int>(blockIdx.x), part = static_cast<int>(blockIdx.y);
  const int item = static_cast<int>(blockIdx.z), down = plan.across(part);
  const int y0 = down * kTile, x0 = (part - down * plan.across.Divisor()) * kTile;
  const int kind = item & ((1 << plan.class_bits) - 1), rest = item >> plan.class_bits;
  const GradAxis &axis_y = plan.y[kind >> 1], &axis_x = plan.x[kind & 1];
  const int lane = plan.groups(rest);
  const int channel0 = (rest - lane * plan.groups.Divisor()) * kTileChannels;
  StartKernel(y0 + x0 + channel0);
  if (y0 >= axis_y.count || x0 >= axis_x.count) return;
  if (axis_y.taps * axis_x.taps == 0 && a.accumulate) return;

  const TilePlace place{y0 + axis_y.offset - (kN - 1) * kStep,
                        x0 + axis_x.offset - (kN - 1) * kStep, 1, g.out_h, g.out_w};
  using TapCodes = DepthwiseTapCodes<kN, TileThreads(kTile)>;
  const TapCodes codes(a, lane, channel0, plan.taps[kind]);
  const int exponent = *a.weight_exponent;
  // Few codes stay in registers until they are there; for many there is no room.
  constexpr bool kLate = TapCodes::kCount <= 3;
  if constexpr (!kLate) codes.Store(PowerOfTwo(exponent), shared.taps);
  FillGradient<Tile, TileThreads(kTile), 4>(a.grad_y, g.Out(), lane, image, channel0, place,
                                            shared.tile);
  if constexpr (kLate) codes.Store(PowerOfTwo(exponent), shared.taps);
  SyncThreads();

  const TileThread<kTile, kStep> me;
  float taps[kN * kN];
  FTT_UNROLL
  for (int i = 0; i < kN * kN; ++i) taps[i] = shared.taps[i][me.channel];
  const float* from = shared.tile + Tile::At(me.y, me.x) + me.channel;
  float acc[kStrip][kStrip] = {};
  FTT_UNROLL
  for (int j = 0; j < kStrip + kN - 1; ++j) {
    float v[kStrip + kN - 1];
    FTT_UNROLL
    for (int i = 0; i < kStrip + kN - 1; ++i) v[i] = from[Tile::At(j * kStep, i * kStep)];
    FTT_UNROLL
    for (int r = 0; r < kStrip; ++r) {
      const int fy = j - r;
      if (fy < 0 || fy >= kN) continue;
      FTT_UNROLL
      for (int i = 0; i < kStrip * kN; ++i) {
        const int column = i / kN, fx = i % kN;
        acc[r][column] = fmaf(v[column + fx], taps[fy * kN + fx], acc[r][column]);
      }
    }
  }

  // Through shared memory, so that accesses are of four channels.
  using Result = SharedTile<kTile, kStep == 1 ? kStrip : 0>;
  SyncThreads();
  float* to = shared.tile + Result::At(me.y, me.x) + me.channel;
  FTT_UNROLL
  for (int i = 0; i < kStrip * kStrip; ++i)
    to[Result::At(i / kStrip * kStep, i % kStrip * kStep)] = acc[i / kStrip][i % kStrip];
  SyncThreads();
  StoreTile<Result>(a, axis_y, axis_x, lane * g.images + image, channel0, y0, x0, shared.tile);
}

// --- weights ---

// A block takes `tiles` tiles of a group of channels, image by image.
struct DepthwiseWeightPlan {
  int tiles = 1, blocks = 1;
  Divider across, of_image;  // tiles
};

// kAdvance: distance of what neighbouring outputs read; kStep: of taps, and of a strip's outputs.
template <int kKernel, int kAdvance, int kStep, int kTile>
struct DepthwiseWeightGradShared {
  static constexpr int kReach = (kTile - 1) * kAdvance + 1 + (kKernel - 1) * kStep;
  using Gradients = SharedTile<kTile, kStep == 1 ? kStrip : 0>;
  using Inputs = SharedTile<kReach, kStep == 1 ? kStrip * kAdvance : 0>;
  // The row is one longer than the threads, so that taps of a channel lie in different banks.
  using Sums = float[kKernel * kKernel][TileThreads(kTile) + 1];
  struct Tiles {
    alignas(16) float gradients[Gradients::kFloats];
    float inputs[Inputs::kFloats];
  };
  union {
    Tiles tiles;
    Sums sums;
  };
};

// Grid: (blocks, groups of channels, lanes). Row blockIdx.x of the lane's scratch,
// [channels][k][k], receives the sums of the block's tiles, strip by strip.
template <int kKernel, int kAdvance, int kStep, int kTile>
__global__ void __launch_bounds__(TileThreads(kTile), TileBlocks(kTile, WeightGradWarps(kKernel)))
    DepthwiseWeightGradKernel(FTT_IN_PLACE DepthwiseWeightGradArguments a,
                              FTT_IN_PLACE DepthwiseWeightPlan plan) {
  using Shared = DepthwiseWeightGradShared<kKernel, kAdvance, kStep, kTile>;
  using Gradients = typename Shared::Gradients;
  using Inputs = typename Shared::Inputs;
  constexpr int kThreads = TileThreads(kTile), kTaps = kKernel * kKernel;
  constexpr int kLength = (kStrip - 1) * kAdvance + kKernel;  // of what a strip reads
  auto& shared = *reinterpret_cast<Shared*>(SharedMemory());
  const WindowGeometry& g = a.geometry;
  const int lane = static_cast<int>(blockIdx.z), stride = g.Out().Stride();
  const int channel0 = static_cast<int>(blockIdx.y) * kTileChannels;
  const int first = static_cast<int>(blockIdx.x) * plan.tiles,
            all = g.images * plan.of_image.Divisor();
  const int end = first + plan.tiles < all ? first + plan.tiles : all;
  const int unit = kAdvance == 1 ? g.stride : 1;
  const TileThread<kTile, kStep> me;
  StartKernel(me.x + me.y + end);
  float acc[kTaps] = {};
  for (int item = first; item < end; ++item) {
    const int image = plan.of_image(item), part = item - image * plan.of_image.Divisor();
    const int down = plan.across(part);
    const int y0 = down * kTile, x0 = (part - down * plan.across.Divisor()) * kTile;
    const int64_t input =
        int64_t{lane * g.images + image} * (g.In().MapPixels() * stride) + channel0;
    if (item != first) SyncThreads();
    FillTile<Inputs, kThreads, 4>(
        CodeLoader{a.x + input, g.relu ? 0.0f : -128.0f},
        {y0 * g.stride + g.origin, x0 * g.stride + g.origin, unit, g.in_h, g.in_w}, stride,
        shared.tiles.inputs);
    FillGradient<Gradients, kThreads, 2>(a.grad_y, g.Out(), lane, image, channel0,
                                         {y0, x0, 1, g.out_h, g.out_w}, shared.tiles.gradients);
    SyncThreads();

    const float* gradients = shared.tiles.gradients + Gradients::At(me.y, me.x) + me.channel;
    float grad[kStrip][kStrip];
    FTT_UNROLL
    for (int i = 0; i < kStrip * kStrip; ++i) {
      const int r = i / kStrip, column = i % kStrip;
      grad[r][column] = gradients[Gradients::At(r * kStep, column * kStep)];
    }
    const float* inputs =
        shared.tiles.inputs + Inputs::At(me.y * kAdvance, me.x * kAdvance) + me.channel;
    FTT_UNROLL
    for (int j = 0; j < kLength; ++j) {
      float v[kLength];
      FTT_UNROLL
      for (int i = 0; i < kLength; ++i) v[i] = inputs[Inputs::At(j * kStep, i * kStep)];
      FTT_UNROLL
      for (int r = 0; r < kStrip; ++r) {
        const int ky = j - r * kAdvance;
        if (ky < 0 || ky >= kKernel) continue;
        FTT_UNROLL
        for (int i = 0; i < kStrip * kKernel; ++i) {
          const int column = i / kKernel, kx = i % kKernel;
          float& sum = acc[ky * kKernel + kx];
          sum = fmaf(grad[r][column], v[column * kAdvance + kx], sum);
        }
      }
    }
  }
  SyncThreads();
  FTT_UNROLL
  for (int i = 0; i < kTaps; ++i) shared.sums[i][threadIdx.x] = acc[i];
  SyncThreads();
  const int left = g.in_channels - channel0;
  const int channels = left < kTileChannels ? left : kTileChannels;
  float* row =
      a.scratch + ((int64_t{lane} * plan.blocks + blockIdx.x) * g.in_channels + channel0) * kTaps;
  FTT_ROLLED
  for (int i = static_cast<int>(threadIdx.x); i < channels * kTaps; i += kThreads) {
    const int c = i / kTaps, tap = i - c * kTaps;
    float sum = 0;
    FTT_UNROLL
    for (int at = 0; at < kThreads; at += kTileChannels) sum += shared.sums[tap][at + c];
    row[i] = sum;
  }
}

}  // namespace ftt::cuda
