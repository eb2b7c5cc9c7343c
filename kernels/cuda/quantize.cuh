// Kernels of quantize.h. A block takes consecutive pixels of one lane; a thread keeps its eight
// channels from pixel to pixel, so that their scale and shift stay in registers.
#pragma once

#include "kernels/cuda/quantize.h"
#include "kernels/cuda/stage.cuh"

namespace ftt::cuda {

inline constexpr int kQuantizeThreads = 256;

template <typename Raw>
__device__ __forceinline__ void LoadRaw8(const Raw* from, float unit, float (&acc)[8]) {
  if constexpr (sizeof(Raw) == 4) {
    const int4 low = *reinterpret_cast<const int4*>(from);
    const int4 high = *reinterpret_cast<const int4*>(from + 4);
    const int v[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    for (int i = 0; i < 8; ++i) acc[i] = static_cast<float>(v[i]);
    (void)unit;
  } else {
    const uint4 packed = *reinterpret_cast<const uint4*>(from);
    Half v[8];
    memcpy(v, &packed, sizeof v);
    for (int i = 0; i < 8; ++i) acc[i] = HalfToFloat(v[i]) * unit;
  }
}

template <typename Raw>
__global__ void __launch_bounds__(kQuantizeThreads, 4)
    QuantizeKernel(FTT_IN_PLACE QuantizeArguments a, int tile_pixels) {
  const MapShape& s = a.shape;
  const int lane = static_cast<int>(blockIdx.y), stride = s.Stride();
  const int first = static_cast<int>(blockIdx.x) * tile_pixels;
  const int left = s.Pixels() - first, count = left < tile_pixels ? left : tile_pixels;
  const StageLayout layout =
      LayoutOfStage(tile_pixels, stride, a.mask != nullptr, a.faults.collects, kQuantizeThreads);
  const CodeTile tile{nullptr, nullptr, stride, first, count, s.MapPixels(), s.channels, 0, stride};
  Stage stage(SharedMemory(), layout, a.faults, lane, tile, a.codes + lane * s.LaneElements(),
              a.mask == nullptr ? nullptr : a.mask + lane * s.LaneElements() / 8);
  const int groups = stride / 8, rows = kQuantizeThreads / groups;
  const int group = static_cast<int>(threadIdx.x) % groups;
  const int row = static_cast<int>(threadIdx.x) / groups;
  if (row < rows) {
    const float unit = PowerOfTwo(a.raw_shift);
    const int64_t norm = (a.one_norm ? 0 : int64_t{lane} * stride) + 8 * group;
    float scale[8], shift[8], acc[8];
    for (int i = 0; i < 8; ++i) {
      scale[i] = a.scale[norm + i];
      shift[i] = a.shift[norm + i];
    }
    const Raw* raw = static_cast<const Raw*>(a.raw) + lane * s.LaneElements() +
                     int64_t{first} * stride + 8 * group;
    for (int p = row; p < count; p += rows) {
      LoadRaw8(raw + int64_t{p} * stride, unit, acc);
      CodePack pack;
      for (int i = 0; i < 8; ++i) {
        bool inside;
        const int code = ToCode(rintf(fmaf(acc[i], scale[i], shift[i])), a.bits, &inside);
        pack.Set(i, 8 * group + i < s.channels ? code : 0, inside);
      }
      stage.Put(p, group, pack);
    }
  }
  stage.Finish();
}

__global__ void __launch_bounds__(kQuantizeThreads, 4)
    InjectKernel(FTT_IN_PLACE InjectArguments a, int tile_pixels) {
  const MapShape& s = a.shape;
  const int lane = static_cast<int>(blockIdx.y), stride = s.Stride();
  if (a.faults.lanes[lane].count == 0) return;
  const int first = static_cast<int>(blockIdx.x) * tile_pixels;
  const int left = s.Pixels() - first, count = left < tile_pixels ? left : tile_pixels;
  const StageLayout layout =
      LayoutOfStage(tile_pixels, stride, false, a.faults.collects, kQuantizeThreads);
  const CodeTile tile{nullptr, nullptr, stride, first, count, s.MapPixels(), s.channels, 0, stride};
  int8_t* codes = a.codes + lane * s.LaneElements();
  Stage stage(SharedMemory(), layout, a.faults, lane, tile, codes, nullptr);
  const int groups = stride / 8;
  for (int i = static_cast<int>(threadIdx.x); i < count * groups; i += kQuantizeThreads) {
    const auto v = *reinterpret_cast<const uint2*>(codes + int64_t{first} * stride + 8 * i);
    stage.Put(i / groups, i % groups, {v.x, v.y, 0});
  }
  stage.Finish();
}

}  // namespace ftt::cuda
