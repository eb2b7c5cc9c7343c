// Kernels of weights.h.
#pragma once

#include "kernels/cuda/faults.cuh"
#include "kernels/cuda/weights.h"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

inline constexpr int kWeightThreads = 256;

// A thread takes four neighbouring weights at a time.
inline constexpr int kWeightQuads = kWeightChunk / (4 * kWeightThreads);
__device__ inline int QuadAt(int quad) {
  return 4 * (quad * kWeightThreads + static_cast<int>(threadIdx.x));
}

// The thread's weights of a chunk of `count`, 0 beyond its end; all loads are under way at once.
__device__ inline void LoadWeights(const float* from, int count, float (&v)[kWeightQuads][4]) {
  const bool aligned = reinterpret_cast<uintptr_t>(from) % 16 == 0;
  FTT_UNROLL
  for (int quad = 0; quad < kWeightQuads; ++quad) {
    const int i = QuadAt(quad);
    if (aligned && i + 4 <= count) {
      const float4 four = *reinterpret_cast<const float4*>(from + i);
      v[quad][0] = four.x, v[quad][1] = four.y, v[quad][2] = four.z, v[quad][3] = four.w;
      continue;
    }
    FTT_UNROLL
    for (int k = 0; k < 4; ++k) v[quad][k] = i + k < count ? from[i + k] : 0.0f;
  }
}

// The first `count` bytes of a word; copies of tensors of odd sizes are not aligned.
__device__ inline void StoreBytes(void* to, int count, uint32_t word) {
  if (count >= 4 && reinterpret_cast<uintptr_t>(to) % 4 == 0) {
    *static_cast<uint32_t*>(to) = word;
    return;
  }
  for (int k = 0; k < 4; ++k) {
    if (k < count) static_cast<uint8_t*>(to)[k] = static_cast<uint8_t>(word >> 8 * k);
  }
}

__device__ inline float LargestOfWarp(float largest) {
  for (int step = kWarpSize / 2; step > 0; step /= 2)
    largest = fmaxf(largest, ShuffleXor(largest, step));
  return largest;
}

// A block per chunk looks for its largest weight.
__global__ void __launch_bounds__(kWeightThreads) WeightLargestKernel(WeightArguments a) {
  StartKernel();
  const WeightChunk chunk = a.chunks[blockIdx.x];
  const WeightTensor& t = a.tensors[chunk.tensor];
  const int left = t.n - chunk.first;
  float v[kWeightQuads][4];
  LoadWeights(t.value + chunk.first, left < kWeightChunk ? left : kWeightChunk, v);
  float largest = 0;
  FTT_UNROLL
  for (int quad = 0; quad < kWeightQuads; ++quad) {
    FTT_UNROLL
    for (int k = 0; k < 4; ++k) largest = fmaxf(largest, fabsf(v[quad][k]));
  }
  largest = LargestOfWarp(largest);
  using WarpValues = float[kWeightThreads / kWarpSize];
  FTT_SHARED(WarpValues, warps);
  if (threadIdx.x % kWarpSize == 0) warps[threadIdx.x / kWarpSize] = largest;
  SyncThreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < kWeightThreads / kWarpSize; ++w) largest = fmaxf(largest, warps[w]);
  t.largest[chunk.first / kWeightChunk] = largest;
}

// A tensor's exponent from its chunks' largest weights. Called by whole warps; each finds it anew.
__device__ inline int ExponentOf(const WeightTensor& t, int bits) {
  float largest = 0;
  for (int c = static_cast<int>(threadIdx.x) % kWarpSize; c < WeightChunks(t.n); c += kWarpSize)
    largest = fmaxf(largest, t.largest[c]);
  return ExponentFor(LargestOfWarp(largest), bits);
}

// Shared memory of a block: the chunk's codes, what they were before a fault step, fault scratch.
inline int WeightSharedBytes(bool collects) {
  return 2 * kWeightChunk + FaultScratchBytes(collects, kWeightThreads);
}

// A block per chunk and copy. A weight that one step moves further than the step's model allows
// gets no gradient, so training runs the steps one at a time.
__global__ void __launch_bounds__(kWeightThreads, 3) QuantizeWeightsKernel(WeightArguments a) {
  StartKernel();
  const WeightChunk chunk = a.chunks[blockIdx.x];
  const WeightTensor& t = a.tensors[chunk.tensor];
  const int copy = static_cast<int>(blockIdx.y), left = t.n - chunk.first;
  if (copy >= t.copies) return;
  const int count = left < kWeightChunk ? left : kWeightChunk;
  auto* codes = reinterpret_cast<int8_t*>(SharedMemory());
  int8_t* before = codes + kWeightChunk;
  auto* scratch = reinterpret_cast<uint32_t*>(before + kWeightChunk);
  float v[kWeightQuads][4];
  LoadWeights(t.value + chunk.first, count, v);
  const int exponent = ExponentOf(t, a.bits);
  if (chunk.first == 0 && copy == 0 && threadIdx.x == 0) *t.exponent = exponent;
  const float scale = PowerOfTwo(-exponent);
  const auto high = static_cast<float>(CodeMax(a.bits)), low = static_cast<float>(CodeMin(a.bits));
  const int64_t out = int64_t{copy} * t.n + chunk.first;
  const bool faulty = t.faults != nullptr && t.faults[copy].count > 0;
  FTT_UNROLL
  for (int quad = 0; quad < kWeightQuads; ++quad) {
    const int i = QuadAt(quad);
    uint32_t word = 0, keep = 0;
    FTT_UNROLL
    for (int k = 0; k < 4; ++k) {
      const float rounded = rintf(v[quad][k] * scale);
      const auto code = static_cast<int8_t>(fminf(fmaxf(rounded, low), high));
      word |= (static_cast<uint32_t>(code) & 0xFF) << 8 * k;
      keep |= (rounded <= high && rounded >= low ? 1u : 0u) << 8 * k;
    }
    if (i >= count) continue;
    if (t.keep != nullptr) StoreBytes(t.keep + out + i, count - i, keep);
    if (faulty) {
      *reinterpret_cast<uint32_t*>(codes + i) = word;
      *reinterpret_cast<uint32_t*>(before + i) = word;
    } else {
      StoreBytes(t.codes + out + i, count - i, word);
    }
  }
  if (!faulty) return;
  ClearFaultScratch(scratch, a.collects);
  SyncThreads();
  const LaneFaultSteps& all = t.faults[copy];
  const CodeTile tile{codes, nullptr, 1, chunk.first, count, t.n, 0, 1, 0, 1};
  if (t.keep == nullptr) InjectTile<FaultUse::kWeights>(all, a.zero, tile, scratch, a.collects);
  for (int s = 0; t.keep != nullptr && s < all.count; ++s) {
    LaneFaultSteps one = all;
    one.steps += s;
    one.count = 1;
    InjectTile<FaultUse::kWeights>(one, a.zero, tile, scratch, a.collects);
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kWeightThreads) {
      const int moved = codes[i] - before[i];
      if ((moved < 0 ? -moved : moved) > one.steps->mask_above) t.keep[out + i] = 0;
      before[i] = codes[i];
    }
    SyncThreads();
  }
  for (int i = QuadAt(0); i < count; i += 4 * kWeightThreads)
    StoreBytes(t.codes + out + i, count - i, *reinterpret_cast<const uint32_t*>(codes + i));
}

}  // namespace ftt::cuda
