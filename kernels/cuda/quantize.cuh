// Kernels of quantize.h. A block takes consecutive pixels of one lane; a thread keeps its eight
// channels from pixel to pixel, so that their scale and shift stay in registers.
#pragma once

#include "kernels/cuda/divider.h"
#include "kernels/cuda/quantize.h"
#include "kernels/cuda/raw_values.cuh"
#include "kernels/cuda/stage.cuh"

namespace ftt::cuda {

inline constexpr int kQuantizeThreads = 256;

// Packs of a thread whose loads are under way together: 16 words of registers.
template <typename Raw>
inline constexpr int kQuantizeFlight = 8 / sizeof(Raw);

// How a block shares out its pixels: `rows` of them at once, `groups` groups of eight channels
// each.
struct QuantizePlan {
  int tile_pixels = 1, rows = 1;
  Divider groups, map;  // by the groups, by the pixels of an image
};

template <typename Raw>
__global__ void __launch_bounds__(kQuantizeThreads, 4)
    QuantizeKernel(FTT_IN_PLACE QuantizeArguments a, FTT_IN_PLACE QuantizePlan plan) {
  const MapShape& s = a.shape;
  const int lane = static_cast<int>(blockIdx.y), stride = s.Stride();
  const int first = static_cast<int>(blockIdx.x) * plan.tile_pixels;
  const int left = s.Pixels() - first, count = left < plan.tile_pixels ? left : plan.tile_pixels;
  const int row = plan.groups(static_cast<int>(threadIdx.x));
  const int group = static_cast<int>(threadIdx.x) - row * plan.groups.Divisor();
  const bool works = row < plan.rows;
  // Elements of the tile from its first one on, which raw values and codes have in common.
  const int begin = row * stride + 8 * group, end = works ? count * stride : 0;
  const int step = plan.rows * stride;
  const Raw* raw =
      static_cast<const Raw*>(a.raw) + lane * s.LaneElements() + int64_t{first} * stride;
  StartKernel(begin + end);
  RawValues<Raw, 8> packs[kQuantizeFlight<Raw>];
  const auto load = [&](int at) {
    FTT_UNROLL
    for (int k = 0; k < kQuantizeFlight<Raw>; ++k) {
      if (at + k * step < end) packs[k].Load(raw + at + k * step);
    }
  };
  PackNorm norm{};
  if (works) {
    load(begin);  // does not wait for the map; most blocks have no more than this
    norm.Load(a.scale, a.shift, (a.one_norm ? 0 : int64_t{lane} * stride) + 8 * group);
  }
  const StageLayout layout = LayoutOfStage(plan.tile_pixels, stride, a.mask != nullptr,
                                           a.faults.collects, kQuantizeThreads);
  const CodeTile tile{nullptr,       nullptr,         stride,     first, count,
                      s.MapPixels(), plan.map(first), s.channels, 0,     stride};
  Stage stage(SharedMemory(), layout, a.faults, lane, tile, a.codes + lane * s.LaneElements(),
              a.mask == nullptr ? nullptr : a.mask + lane * s.LaneElements() / 8);
  const StrikeWords strikes = stage.Strikes();
  if constexpr (sizeof(Raw) == 2) norm.TakeUnits(PowerOfTwo(a.raw_shift));
  for (int at = begin; at < end; at += kQuantizeFlight<Raw> * step) {
    FTT_UNROLL
    for (int k = 0; k < kQuantizeFlight<Raw>; ++k) {
      if (at + k * step >= end) continue;
      float v[8];
      packs[k].Floats(v);
      stage.PutAt(at + k * step, norm.Codes(v, a.bits));
    }
    load(at + kQuantizeFlight<Raw> * step);
  }
  stage.Finish(strikes);
}

__global__ void __launch_bounds__(kQuantizeThreads, 4)
    InjectKernel(FTT_IN_PLACE InjectArguments a, FTT_IN_PLACE QuantizePlan plan) {
  StartKernel();
  const MapShape& s = a.shape;
  const int lane = static_cast<int>(blockIdx.y), stride = s.Stride();
  if (a.faults.lanes[lane].count == 0) return;
  const int first = static_cast<int>(blockIdx.x) * plan.tile_pixels;
  const int left = s.Pixels() - first, count = left < plan.tile_pixels ? left : plan.tile_pixels;
  const StageLayout layout =
      LayoutOfStage(plan.tile_pixels, stride, false, a.faults.collects, kQuantizeThreads);
  const CodeTile tile{nullptr,       nullptr,         stride,     first, count,
                      s.MapPixels(), plan.map(first), s.channels, 0,     stride};
  int8_t* codes = a.codes + lane * s.LaneElements();
  Stage stage(SharedMemory(), layout, a.faults, lane, tile, codes, nullptr);
  const int groups = plan.groups.Divisor();
  for (int i = static_cast<int>(threadIdx.x); i < count * groups; i += kQuantizeThreads) {
    const auto v = *reinterpret_cast<const uint2*>(codes + int64_t{first} * stride + 8 * i);
    const int pixel = plan.groups(i);
    stage.Put(pixel, i - pixel * groups, {v.x, v.y, 0});
  }
  stage.Finish();
}

}  // namespace ftt::cuda
