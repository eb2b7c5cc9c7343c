// Kernels of weights.h.
#pragma once

#include "kernels/cuda/faults.cuh"
#include "kernels/cuda/weights.h"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

inline constexpr int kWeightThreads = 256;

// A block per tensor looks for its largest weight.
__global__ void __launch_bounds__(kWeightThreads) WeightExponentKernel(WeightArguments a) {
  const WeightTensor& t = a.tensors[blockIdx.x];
  float largest = 0;
  for (int i = static_cast<int>(threadIdx.x); i < t.n; i += kWeightThreads)
    largest = fmaxf(largest, fabsf(t.value[i]));
  for (int step = kWarpSize / 2; step > 0; step /= 2)
    largest = fmaxf(largest, ShuffleXor(largest, step));
  using WarpValues = float[kWeightThreads / kWarpSize];
  FTT_SHARED(WarpValues, warps);
  if (threadIdx.x % kWarpSize == 0) warps[threadIdx.x / kWarpSize] = largest;
  SyncThreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < kWeightThreads / kWarpSize; ++w) largest = fmaxf(largest, warps[w]);
  *t.exponent = ExponentFor(largest, a.bits);
}

// Shared memory of a block: the chunk's codes, what they were before a fault step, fault scratch.
inline int WeightSharedBytes(bool collects) {
  return 2 * kWeightChunk + FaultScratchBytes(collects, kWeightThreads);
}

// A block per chunk and copy. A weight that one step moves further than the step's model allows
// gets no gradient, so training runs the steps one at a time.
__global__ void __launch_bounds__(kWeightThreads) QuantizeWeightsKernel(WeightArguments a) {
  const WeightChunk chunk = a.chunks[blockIdx.x];
  const WeightTensor& t = a.tensors[chunk.tensor];
  const int copy = static_cast<int>(blockIdx.y), left = t.n - chunk.first;
  if (copy >= t.copies) return;
  const int count = left < kWeightChunk ? left : kWeightChunk;
  auto* codes = reinterpret_cast<int8_t*>(SharedMemory());
  int8_t* before = codes + kWeightChunk;
  auto* scratch = reinterpret_cast<uint32_t*>(before + kWeightChunk);
  const float scale = PowerOfTwo(-*t.exponent);
  const auto high = static_cast<float>(CodeMax(a.bits)), low = static_cast<float>(CodeMin(a.bits));
  const int64_t out = int64_t{copy} * t.n + chunk.first;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kWeightThreads) {
    const float rounded = rintf(t.value[chunk.first + i] * scale);
    codes[i] = static_cast<int8_t>(fminf(fmaxf(rounded, low), high));
    before[i] = codes[i];
    if (t.keep != nullptr)
      t.keep[out + i] = static_cast<uint8_t>(rounded <= high && rounded >= low ? 1 : 0);
  }
  if (t.faults != nullptr && t.faults[copy].count > 0) {
    ClearFaultScratch(scratch, a.collects);
    SyncThreads();
    const LaneFaultSteps& all = t.faults[copy];
    const CodeTile tile{codes, nullptr, 1, chunk.first, count, t.n, 1, 0, 1};
    if (t.keep == nullptr) InjectTile(all, a.zero, tile, scratch, a.collects);
    for (int s = 0; t.keep != nullptr && s < all.count; ++s) {
      LaneFaultSteps one = all;
      one.steps += s;
      one.count = 1;
      InjectTile(one, a.zero, tile, scratch, a.collects);
      for (int i = static_cast<int>(threadIdx.x); i < count; i += kWeightThreads) {
        const int moved = codes[i] - before[i];
        if ((moved < 0 ? -moved : moved) > one.steps->mask_above) t.keep[out + i] = 0;
        before[i] = codes[i];
      }
      SyncThreads();
    }
  }
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kWeightThreads)
    t.codes[out + i] = codes[i];
}

}  // namespace ftt::cuda
