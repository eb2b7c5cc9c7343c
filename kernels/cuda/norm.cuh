// Kernels of norm.h. A thread has a channel of a lane, or two where there are many.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/moments.cuh"
#include "kernels/cuda/norm.h"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

inline constexpr int kNormThreads = 1024;
inline constexpr int kNormChannels = 2;       // of a thread, at most
inline constexpr float kNormEpsilon = 1e-5f;  // as in engine/norm.h

// Merges the rows of a channel and leaves them empty.
__device__ __forceinline__ ChannelMoments TakeMoments(const NormArguments& a, int lane, int stride,
                                                      int channel) {
  ChannelMoments* from = a.moments + int64_t{lane} * kMomentRows * stride + channel;
  ChannelMoments total;
  FTT_UNROLL
  for (int row = 0; row < kMomentRows; ++row) MergeMoments(total, from[row * stride]);
  FTT_UNROLL
  for (int row = 0; row < kMomentRows; ++row) from[row * stride] = ChannelMoments{};
  return total;
}

__device__ __forceinline__ float LargerMagnitude(float largest, float v) {
  v = fabsf(v);
  return largest < v ? v : largest;
}

// The largest value of all threads of a group of whole warps, for these threads.
__device__ __forceinline__ float GroupLargest(float v, int group, int threads) {
  using WarpLargest = float[kNormThreads / kWarpSize];
  FTT_SHARED(WarpLargest, warp_largest);
  for (int step = kWarpSize / 2; step > 0; step /= 2) v = LargerMagnitude(v, ShuffleXor(v, step));
  if (threadIdx.x % kWarpSize == 0) warp_largest[threadIdx.x / kWarpSize] = v;
  SyncThreads();
  const int warps = threads / kWarpSize;
  for (int w = 0; w < warps; ++w) v = LargerMagnitude(v, warp_largest[group * warps + w]);
  SyncThreads();
  return v;
}

// The affine map of one channel to real values; its statistics out.
__device__ __forceinline__ void NormChannel(const NormArguments& a, int at, int c, float unit,
                                            const ChannelMoments& m, float* scale, float* shift) {
  const float beta = a.beta == nullptr ? 0.0f : a.beta[c];
  *scale = unit;
  *shift = beta;
  if (!a.batch_norm) return;
  const double mean_steps = static_cast<double>(m.sum) / a.count;
  const double variance_steps =
      static_cast<double>(m.sum_squares) / a.count - mean_steps * mean_steps;
  auto mean = static_cast<float>(mean_steps * unit);
  auto variance = static_cast<float>((variance_steps > 0 ? variance_steps : 0.0) * unit * unit);
  if (a.fixed_mean != nullptr) {
    mean = a.fixed_mean[c];
    variance = a.fixed_var[c];
  }
  const float inv_std = 1.0f / sqrtf(variance + kNormEpsilon);
  const float gain = (a.gamma == nullptr ? 1.0f : a.gamma[c]) * inv_std;
  *scale = gain * unit;
  *shift = beta - mean * gain;
  a.mean[at] = mean;
  a.inv_std[at] = inv_std;
  a.variance[at] = variance;
}

// Lanes in order, after all of them.
__device__ __forceinline__ void UpdateRunningStats(const NormArguments& a, int stride, int c) {
  const float share = a.momentum / static_cast<float>(a.lanes);
  const auto unbias = static_cast<float>(a.count > 1 ? a.count / (a.count - 1) : 1.0);
  float mean = a.running_mean[c] * (1.0f - a.momentum);
  float variance = a.running_var[c] * (1.0f - a.momentum);
  for (int lane = 0; lane < a.lanes; ++lane) {
    mean += share * a.mean[lane * stride + c];
    variance += share * a.variance[lane * stride + c] * unbias;
  }
  a.running_mean[c] = mean;
  a.running_var[c] = variance;
}

// `lane_threads` threads, whole warps, share the channels of a lane; a block takes `block_lanes`
// lanes, with running statistics all of them.
__global__ void __launch_bounds__(kNormThreads)
    FinishNormKernel(NormArguments a, int lane_threads, int block_lanes) {
  StartKernel();
  const int group = static_cast<int>(threadIdx.x) / lane_threads;
  const int thread = static_cast<int>(threadIdx.x) - group * lane_threads;
  const int groups = static_cast<int>(blockDim.x) / lane_threads;
  const int stride = PaddedChannels(a.channels);
  const int weight_exponent = a.weight_exponent == nullptr ? 0 : *a.weight_exponent;
  for (int first = 0; first < block_lanes; first += groups) {
    const int lane = static_cast<int>(blockIdx.x) * block_lanes + first + group;
    const bool works = first + group < block_lanes;
    const float unit = works ? a.unit_scale * PowerOfTwo(a.x_exponent[lane] + weight_exponent) : 0;
    float scale[kNormChannels] = {}, shift[kNormChannels] = {}, largest = 0;
    FTT_UNROLL
    for (int k = 0; k < kNormChannels; ++k) {
      const int c = thread + k * lane_threads, at = lane * stride + c;
      if (!works || c >= a.channels) continue;
      const ChannelMoments m = TakeMoments(a, lane, stride, c);
      NormChannel(a, at, c, unit, m, &scale[k], &shift[k]);
      largest = LargerMagnitude(largest, fmaf(static_cast<float>(m.min), scale[k], shift[k]));
      largest = LargerMagnitude(largest, fmaf(static_cast<float>(m.max), scale[k], shift[k]));
    }
    largest = GroupLargest(largest, group, lane_threads);
    if (!works) continue;
    const int exponent = ExponentFor(largest, a.bits);
    const float factor = PowerOfTwo(-exponent);
    FTT_UNROLL
    for (int k = 0; k < kNormChannels; ++k) {
      const int c = thread + k * lane_threads, at = lane * stride + c;
      if (c >= stride) continue;
      a.scale[at] = scale[k] * factor;
      a.shift[at] = shift[k] * factor;
      if (a.batch_norm && c >= a.channels) a.mean[at] = a.inv_std[at] = 0;
    }
    if (thread == 0) {
      a.exponent[lane] = exponent;
      a.unit[lane] = unit;
    }
  }
  if (!a.batch_norm || a.running_mean == nullptr) return;
  SyncThreads();
  for (int c = static_cast<int>(threadIdx.x); c < a.channels; c += static_cast<int>(blockDim.x))
    UpdateRunningStats(a, stride, c);
}

__global__ void __launch_bounds__(256) ClearMomentsKernel(ChannelMoments* moments, int count) {
  StartKernel();
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) moments[i] = ChannelMoments{};
}

}  // namespace ftt::cuda
