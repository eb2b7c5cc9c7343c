// Kernels of quantize.h. A block takes consecutive pixels of one lane; a thread keeps its eight
// channels from pixel to pixel, so that their scale and shift stay in registers.
#pragma once

#include "kernels/cuda/quantize.h"
#include "kernels/cuda/stage.cuh"

namespace ftt::cuda {

inline constexpr int kQuantizeThreads = 256;

// Packs of a thread whose loads are under way together: 16 words of registers.
template <typename Raw>
inline constexpr int kQuantizeFlight = 8 / sizeof(Raw);

// Eight raw outputs.
template <typename Raw>
struct RawPack {
  uint4 words[sizeof(Raw) / 2];

  __device__ __forceinline__ void Load(const Raw* from) {
    FTT_UNROLL
    for (size_t i = 0; i < sizeof(Raw) / 2; ++i) words[i] = reinterpret_cast<const uint4*>(from)[i];
  }
  __device__ __forceinline__ void Floats(float (&v)[8]) const {
    Raw raw[8];
    memcpy(raw, words, sizeof raw);
    FTT_UNROLL
    for (int i = 0; i < 8; ++i) {
      if constexpr (sizeof(Raw) == 4) {
        v[i] = static_cast<float>(raw[i]);
      } else {
        v[i] = HalfToFloat(raw[i]);
      }
    }
  }
};

template <typename Raw>
__global__ void __launch_bounds__(kQuantizeThreads, 4)
    QuantizeKernel(FTT_IN_PLACE QuantizeArguments a, int tile_pixels) {
  StartKernel();
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
    const Raw* raw =
        static_cast<const Raw*>(a.raw) + lane * s.LaneElements() + int64_t{first} * stride;
    RawPack<Raw> packs[kQuantizeFlight<Raw>];
    const auto load = [&](int p) {
      FTT_UNROLL
      for (int k = 0; k < kQuantizeFlight<Raw>; ++k) {
        if (p + k * rows < count) packs[k].Load(raw + ((p + k * rows) * stride + 8 * group));
      }
    };
    load(row);      // does not wait for the map; most blocks have no more than this
    PackNorm norm;  // of stored units
    norm.Load(a.scale, a.shift, (a.one_norm ? 0 : int64_t{lane} * stride) + 8 * group,
              sizeof(Raw) == 4 ? 1.0f : PowerOfTwo(a.raw_shift));
    for (int p = row; p < count; p += kQuantizeFlight<Raw> * rows) {
      FTT_UNROLL
      for (int k = 0; k < kQuantizeFlight<Raw>; ++k) {
        if (p + k * rows >= count) continue;
        float v[8];
        packs[k].Floats(v);
        stage.Put(p + k * rows, group, norm.Codes(v, a.bits));
      }
      load(p + kQuantizeFlight<Raw> * rows);
    }
  }
  stage.Finish();
}

__global__ void __launch_bounds__(kQuantizeThreads, 4)
    InjectKernel(FTT_IN_PLACE InjectArguments a, int tile_pixels) {
  StartKernel();
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
