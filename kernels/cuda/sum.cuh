// Kernels of sum.h. Threads take eight codes at a time.
#pragma once

#include "kernels/cuda/stage.cuh"
#include "kernels/cuda/sum.h"

namespace ftt::cuda {

inline constexpr int kSumThreads = 256;

__device__ __forceinline__ int SumCode(uint2 pack, int i, bool relu) {
  const int code = static_cast<int8_t>((i < 4 ? pack.x : pack.y) >> i % 4 * 8 & 0xFF);
  return relu && code < 0 ? 0 : code;
}

// The exponent to which one lane's inputs are aligned; 0 for a sum of nothing.
__device__ inline int AlignedExponentOf(const SumArguments& a, int lane) {
  if (a.count == 0) return 0;
  int smallest = a.inputs[0].exponent[lane], largest = smallest;
  for (int k = 1; k < a.count; ++k) {
    const int e = a.inputs[k].exponent[lane];
    smallest = e < smallest ? e : smallest;
    largest = e > largest ? e : largest;
  }
  return AlignedExponent(smallest, largest);
}

// Eight sums at offset `at` of the lane, in units of 2^aligned.
__device__ __forceinline__ void SumEight(const SumArguments& a, int lane, int aligned, int64_t at,
                                         int32_t (&sum)[8]) {
  FTT_UNROLL
  for (int i = 0; i < 8; ++i) sum[i] = 0;
  for (int k = 0; k < a.count; ++k) {
    const SumOperand& in = a.inputs[k];
    const uint2 pack = *reinterpret_cast<const uint2*>(in.codes + at);
    const int shift = aligned - in.exponent[lane];
    FTT_UNROLL
    for (int i = 0; i < 8; ++i)
      sum[i] += static_cast<int32_t>(RoundShift(SumCode(pack, i, in.relu), shift));
  }
}

// largest[lane][block] = largest |sum| of the block's part.
__global__ void __launch_bounds__(kSumThreads) LargestSumKernel(SumArguments a) {
  const int lane = static_cast<int>(blockIdx.y);
  const int aligned = AlignedExponentOf(a, lane);
  const int64_t lane_elements = a.shape.LaneElements(), packs = lane_elements / 8;
  int32_t largest = 0;
  for (int64_t i = int64_t{blockIdx.x} * kSumThreads + threadIdx.x; i < packs;
       i += int64_t{gridDim.x} * kSumThreads) {
    int32_t sum[8];
    SumEight(a, lane, aligned, lane * lane_elements + 8 * i, sum);
    FTT_UNROLL
    for (int k = 0; k < 8; ++k) {
      const int32_t magnitude = sum[k] < 0 ? -sum[k] : sum[k];
      largest = magnitude > largest ? magnitude : largest;
    }
  }
  for (int step = kWarpSize / 2; step > 0; step /= 2) {
    const int32_t other = ShuffleXor(largest, step);
    largest = other > largest ? other : largest;
  }
  using WarpLargest = int32_t[kSumThreads / kWarpSize];
  FTT_SHARED(WarpLargest, warp_largest);
  if (threadIdx.x % kWarpSize == 0) warp_largest[threadIdx.x / kWarpSize] = largest;
  SyncThreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < kSumThreads / kWarpSize; ++w)
    largest = warp_largest[w] > largest ? warp_largest[w] : largest;
  a.largest[lane * gridDim.x + blockIdx.x] = largest;
}

// Pads hold 0 in every input, so sums of pads are 0.
__global__ void __launch_bounds__(kSumThreads, 4)
    AddKernel(SumArguments a, int tile_pixels, int largest_blocks) {
  const MapShape& s = a.shape;
  const int lane = static_cast<int>(blockIdx.y), stride = s.Stride();
  const int first = static_cast<int>(blockIdx.x) * tile_pixels;
  const int left = s.Pixels() - first, count = left < tile_pixels ? left : tile_pixels;
  const StageLayout layout =
      LayoutOfStage(tile_pixels, stride, a.mask != nullptr, a.faults.collects, kSumThreads);
  const CodeTile tile{nullptr, nullptr, stride, first, count, s.MapPixels(), s.channels, 0, stride};
  Stage stage(SharedMemory(), layout, a.faults, lane, tile, a.codes + lane * s.LaneElements(),
              a.mask == nullptr ? nullptr : a.mask + lane * s.LaneElements() / 8);
  const int aligned = AlignedExponentOf(a, lane);
  int exponent;
  if (a.largest != nullptr) {
    int32_t largest = 0;
    for (int b = 0; b < largest_blocks; ++b) {
      const int32_t other = a.largest[lane * largest_blocks + b];
      largest = other > largest ? other : largest;
    }
    exponent = ExponentFor(static_cast<float>(largest) * PowerOfTwo(aligned), a.bits);
    if (blockIdx.x == 0 && threadIdx.x == 0) a.exponent[lane] = exponent;
  } else {
    exponent = a.exponent[lane];
  }
  const int groups = stride / 8;
  for (int i = static_cast<int>(threadIdx.x); i < count * groups; i += kSumThreads) {
    int32_t sum[8];
    SumEight(a, lane, aligned, lane * s.LaneElements() + int64_t{first} * stride + 8 * i, sum);
    CodePack pack;
    FTT_UNROLL
    for (int k = 0; k < 8; ++k) {
      const int64_t v = RoundShift(sum[k], exponent - aligned);
      const int code = SaturateCode64(v, a.bits);
      pack.Set(k, code, code == v);
    }
    stage.Put(i / groups, i % groups, pack);
  }
  stage.Finish();
}

// One output code of a concatenation.
__device__ __forceinline__ int ConcatCode(const SumArguments& a, int lane, int64_t pixel, int c,
                                          int exponent) {
  for (int k = 0; k < a.count; ++k) {
    const SumOperand& in = a.inputs[k];
    if (c < in.channels) {
      int code = in.codes[pixel * PaddedChannels(in.channels) + c];
      code = in.relu && code < 0 ? 0 : code;
      return SaturateCode64(RoundShift(code, exponent - in.exponent[lane]), a.bits);
    }
    c -= in.channels;
  }
  return 0;
}

__global__ void __launch_bounds__(kSumThreads, 4)
    ConcatKernel(SumArguments a, int tile_pixels, bool fixed_exponent) {
  const MapShape& s = a.shape;
  const int lane = static_cast<int>(blockIdx.y), stride = s.Stride();
  const int first = static_cast<int>(blockIdx.x) * tile_pixels;
  const int left = s.Pixels() - first, count = left < tile_pixels ? left : tile_pixels;
  const StageLayout layout =
      LayoutOfStage(tile_pixels, stride, false, a.faults.collects, kSumThreads);
  const CodeTile tile{nullptr, nullptr, stride, first, count, s.MapPixels(), s.channels, 0, stride};
  Stage stage(SharedMemory(), layout, a.faults, lane, tile, a.codes + lane * s.LaneElements(),
              nullptr);
  int exponent = fixed_exponent ? a.exponent[lane] : a.inputs[0].exponent[lane];
  for (int k = 1; !fixed_exponent && k < a.count; ++k) {
    const int e = a.inputs[k].exponent[lane];
    exponent = e > exponent ? e : exponent;
  }
  if (!fixed_exponent && blockIdx.x == 0 && threadIdx.x == 0) a.exponent[lane] = exponent;
  const int groups = stride / 8;
  for (int i = static_cast<int>(threadIdx.x); i < count * groups; i += kSumThreads) {
    const int pixel = i / groups, group = i % groups;
    CodePack pack;
    FTT_UNROLL
    for (int k = 0; k < 8; ++k) {
      const int64_t at = int64_t{lane} * s.Pixels() + first + pixel;
      pack.Set(k, ConcatCode(a, lane, at, 8 * group + k, exponent), true);
    }
    stage.Put(pixel, group, pack);
  }
  stage.Finish();
}

}  // namespace ftt::cuda
