// Kernels of unfused.h: each reads a map and writes what it computes, eight channels a thread.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/stage.cuh"
#include "kernels/cuda/unfused.h"

namespace ftt::cuda {

inline constexpr int kUnfusedThreads = 256;
inline constexpr int kUnfusedPixels = 256;  // of a block
inline constexpr float kUnfusedEpsilon = 1e-5f;

template <typename Raw>
__device__ __forceinline__ void LoadEight(const void* from, int64_t at, float (&v)[8]) {
  constexpr int kVectors = static_cast<int>(8 * sizeof(Raw) / sizeof(uint4));
  Raw values[8];
  const auto* vectors = reinterpret_cast<const uint4*>(static_cast<const Raw*>(from) + at);
  uint4 packed[kVectors];
  for (int i = 0; i < kVectors; ++i) packed[i] = vectors[i];
  memcpy(values, packed, sizeof values);
  for (int i = 0; i < 8; ++i) {
    if constexpr (sizeof(Raw) == 2) {
      v[i] = HalfToFloat(values[i]);
    } else {
      v[i] = static_cast<float>(values[i]);
    }
  }
}

// The vectors of eight values of a block's pixels: thread by thread, `group` stays the same.
struct UnfusedRange {
  int stride, groups, rows, group, row, first, end;

  __device__ explicit UnfusedRange(const MapShape& s)
      : stride(s.Stride()),
        groups(stride / 8),
        rows(kUnfusedThreads / groups),
        group(static_cast<int>(threadIdx.x) % groups),
        row(static_cast<int>(threadIdx.x) / groups),
        first(static_cast<int>(blockIdx.x) * kUnfusedPixels),
        end(first + kUnfusedPixels < s.Pixels() ? first + kUnfusedPixels : s.Pixels()) {}
  // f(offset of eight values)
  template <typename F>
  __device__ __forceinline__ void ForEach(const F& f) const {
    if (row >= rows) return;
    for (int p = first + row; p < end; p += rows) f(int64_t{p} * stride + 8 * group);
  }
};

// Sums and sums of squares of a block's pixels, by channel.
template <typename Raw>
__global__ void __launch_bounds__(kUnfusedThreads) UnfusedSumsKernel(UnfusedArguments a) {
  StartKernel();
  using Sums = float[kUnfusedThreads][16];
  FTT_SHARED(Sums, shared);
  const UnfusedRange range(a.shape);
  float sums[16] = {};
  range.ForEach([&](int64_t at) {
    float v[8];
    LoadEight<Raw>(a.raw, at, v);
    for (int i = 0; i < 8; ++i) {
      sums[i] += v[i];
      sums[8 + i] += v[i] * v[i];
    }
  });
  for (int i = 0; i < 16; ++i) shared[threadIdx.x][i] = sums[i];
  SyncThreads();
  float* out = a.sums + int64_t{blockIdx.x} * 2 * range.stride;
  for (int i = static_cast<int>(threadIdx.x); i < 2 * range.stride; i += kUnfusedThreads) {
    const int channel = i % range.stride, part = i / range.stride;
    float sum = 0;
    for (int r = 0; r < range.rows; ++r)
      sum += shared[r * range.groups + channel / 8][part * 8 + channel % 8];
    out[i] = sum;
  }
}

// A warp a channel: scale and shift of the batch norm, in real values.
__global__ void __launch_bounds__(kUnfusedThreads)
    UnfusedAffineKernel(UnfusedArguments a, int blocks) {
  StartKernel();
  const int stride = a.shape.Stride(), lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) / kWarpSize;
  if (c >= stride) return;
  double sum = 0, squares = 0;
  for (int b = lane; b < blocks; b += kWarpSize) {
    sum += a.sums[(int64_t{b} * 2) * stride + c];
    squares += a.sums[(int64_t{b} * 2 + 1) * stride + c];
  }
  for (int step = kWarpSize / 2; step > 0; step /= 2) {
    sum += ShuffleXor(sum, step);
    squares += ShuffleXor(squares, step);
  }
  if (lane != 0) return;
  const double n = a.shape.Pixels(), mean = sum / n, variance = squares / n - mean * mean;
  const float unit = a.raw_unit;
  const auto spread = static_cast<float>((variance > 0 ? variance : 0.0) * unit * unit);
  const float gain = 1.0f / sqrtf(spread + kUnfusedEpsilon);
  a.affine[c] = gain * unit;
  a.affine[stride + c] = -static_cast<float>(mean * unit) * gain;
}

template <typename Raw>
__global__ void __launch_bounds__(kUnfusedThreads) UnfusedNormKernel(UnfusedArguments a) {
  StartKernel();
  const UnfusedRange range(a.shape);
  float scale[8], shift[8];
  for (int i = 0; i < 8; ++i) {
    scale[i] = a.affine[8 * range.group + i];
    shift[i] = a.affine[range.stride + 8 * range.group + i];
  }
  range.ForEach([&](int64_t at) {
    float v[8];
    LoadEight<Raw>(a.raw, at, v);
    Half out[8];
    for (int i = 0; i < 8; ++i) out[i] = FloatToHalf(fmaf(v[i], scale[i], shift[i]));
    uint4 packed;
    memcpy(&packed, out, sizeof packed);
    *reinterpret_cast<uint4*>(static_cast<Half*>(a.normalized) + at) = packed;
  });
}

// The largest value of a block's threads, in thread 0.
__device__ inline float UnfusedBlockLargest(float v) {
  using WarpLargest = float[kUnfusedThreads / kWarpSize];
  FTT_SHARED(WarpLargest, warps);
  for (int step = kWarpSize / 2; step > 0; step /= 2) v = fmaxf(v, ShuffleXor(v, step));
  if (threadIdx.x % kWarpSize == 0) warps[threadIdx.x / kWarpSize] = v;
  SyncThreads();
  for (int w = 1; threadIdx.x == 0 && w < kUnfusedThreads / kWarpSize; ++w) v = fmaxf(v, warps[w]);
  return v;
}

__global__ void __launch_bounds__(kUnfusedThreads) UnfusedLargestKernel(UnfusedArguments a) {
  StartKernel();
  float largest = 0;
  UnfusedRange(a.shape).ForEach([&](int64_t at) {
    float v[8];
    LoadEight<Half>(a.normalized, at, v);
    for (int i = 0; i < 8; ++i) largest = fmaxf(largest, fabsf(v[i]));
  });
  largest = UnfusedBlockLargest(largest);
  if (threadIdx.x == 0) a.largest[blockIdx.x] = largest;
}

__global__ void __launch_bounds__(kUnfusedThreads)
    UnfusedExponentKernel(UnfusedArguments a, int blocks) {
  StartKernel();
  float largest = 0;
  for (int b = static_cast<int>(threadIdx.x); b < blocks; b += kUnfusedThreads)
    largest = fmaxf(largest, a.largest[b]);
  largest = UnfusedBlockLargest(largest);
  if (threadIdx.x == 0) *a.exponent = ExponentFor(largest, a.bits);
}

__global__ void __launch_bounds__(kUnfusedThreads) UnfusedCodesKernel(UnfusedArguments a) {
  StartKernel();
  const float factor = PowerOfTwo(-*a.exponent);
  UnfusedRange(a.shape).ForEach([&](int64_t at) {
    float v[8];
    LoadEight<Half>(a.normalized, at, v);
    for (int i = 0; i < 8; ++i) v[i] *= factor;
    CodePack pack;
    pack.Quantize(v, a.bits);
    *reinterpret_cast<uint2*>(a.codes + at) = make_uint2(pack.low, pack.high);
  });
}

__global__ void __launch_bounds__(kUnfusedThreads) UnfusedReluKernel(UnfusedArguments a) {
  StartKernel();
  UnfusedRange(a.shape).ForEach([&](int64_t at) {
    uint2 v = *reinterpret_cast<const uint2*>(a.codes + at);
    v.x &= ~BytePermute(v.x, 0, 0xBA98);
    v.y &= ~BytePermute(v.y, 0, 0xBA98);
    *reinterpret_cast<uint2*>(a.rectified + at) = v;
  });
}

}  // namespace ftt::cuda
