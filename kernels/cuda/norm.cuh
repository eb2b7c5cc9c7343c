// Kernels of norm.h. A thread has a channel of a lane, or two where there are many.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/divider.h"
#include "kernels/cuda/moments.cuh"
#include "kernels/cuda/norm.h"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

inline constexpr int kNormThreads = 1024;
inline constexpr int kFewNormThreads = 256;   // leave each all the registers that its loads want
inline constexpr int kNormChannels = 2;       // of a thread, at most
inline constexpr float kNormEpsilon = 1e-5f;  // as in engine/norm.h

// What a channel's map is made of.
struct ChannelInput {
  ChannelMoments moments;
  float gamma = 1, beta = 0, fixed_mean = 0, fixed_var = 0;

  __device__ __forceinline__ void LoadParameters(const NormArguments& a, int c) {
    if (a.gamma != nullptr) gamma = a.gamma[c];
    if (a.beta != nullptr) beta = a.beta[c];
    if (a.fixed_mean != nullptr) {
      fixed_mean = a.fixed_mean[c];
      fixed_var = a.fixed_var[c];
    }
  }
};

// Rows of a channel's moments, to be merged later: the compiler takes nothing out of the block that
// loads them, so all are under way before the first is used.
struct ChannelRows {
  ChannelMoments rows[kMomentRows];

  __device__ __forceinline__ void Load(const NormArguments& a, int lane, int stride, int c) {
    FTT_UNROLL
    for (int row = 0; row < kMomentRows; ++row)
      rows[row] = MomentRow(a.moments, lane, row, stride).Read(c);
  }
  __device__ __forceinline__ void MergeInto(ChannelMoments& total) const {
    FTT_UNROLL
    for (int row = 0; row < kMomentRows; ++row) MergeMoments(total, rows[row]);
  }
};
__device__ __forceinline__ void EmptyMoments(const NormArguments& a, int lane, int stride, int c) {
  FTT_UNROLL
  for (int row = 0; row < kMomentRows; ++row) {
    const MomentRow at(a.moments, lane, row, stride);
    at.sum[c] = at.sum_squares[c] = 0;
    at.min_keys[c] = at.max_keys[c] = 0;
  }
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
__device__ __forceinline__ void NormChannel(const NormArguments& a, const ChannelInput& in, int at,
                                            float unit, float* scale, float* shift) {
  const ChannelMoments& m = in.moments;
  *scale = unit;
  *shift = in.beta;
  if (!a.batch_norm) return;
  const double mean_steps = static_cast<double>(m.sum) / a.count;
  const double variance_steps =
      static_cast<double>(m.sum_squares) / a.count - mean_steps * mean_steps;
  auto mean = static_cast<float>(mean_steps * unit);
  auto variance = static_cast<float>((variance_steps > 0 ? variance_steps : 0.0) * unit * unit);
  if (a.fixed_mean != nullptr) {
    mean = in.fixed_mean;
    variance = in.fixed_var;
  }
  const float inv_std = 1.0f / sqrtf(variance + kNormEpsilon);
  const float gain = in.gamma * inv_std;
  *scale = gain * unit;
  *shift = in.beta - mean * gain;
  a.mean[at] = mean;
  a.inv_std[at] = inv_std;
  a.variance[at] = variance;
}

// The running statistics of one channel.
struct RunningStats {
  float mean = 0, variance = 0;

  __device__ __forceinline__ void Load(const NormArguments& a, int c) {
    if (c >= a.channels) return;
    mean = a.running_mean[c];
    variance = a.running_var[c];
  }
  // Lanes in order, after all of them.
  __device__ __forceinline__ void Update(const NormArguments& a, int stride, int c) {
    const float share = a.momentum / static_cast<float>(a.lanes);
    const auto unbias = static_cast<float>(a.count > 1 ? a.count / (a.count - 1) : 1.0);
    mean *= 1.0f - a.momentum;
    variance *= 1.0f - a.momentum;
    for (int lane = 0; lane < a.lanes; ++lane) {
      mean += share * a.mean[lane * stride + c];
      variance += share * a.variance[lane * stride + c] * unbias;
    }
    a.running_mean[c] = mean;
    a.running_var[c] = variance;
  }
};

// `threads` threads, whole warps, share the channels of a lane; a block takes `block_lanes` lanes,
// with running statistics all of them, `groups` at once.
struct NormPlan {
  Divider threads;
  int groups = 1, block_lanes = 1;
};

// kThreads, kChannels: of a block, of a thread, at most.
template <int kThreads, int kChannels>
__global__ void __launch_bounds__(kThreads)
    FinishNormKernel(FTT_IN_PLACE NormArguments a, FTT_IN_PLACE NormPlan plan) {
  const int lane_threads = plan.threads.Divisor(), block_lanes = plan.block_lanes;
  const int group = plan.threads(static_cast<int>(threadIdx.x));
  const int thread = static_cast<int>(threadIdx.x) - group * lane_threads;
  const int groups = plan.groups;
  StartKernel(thread);
  const int stride = PaddedChannels(a.channels);
  const int weight_exponent = a.weight_exponent == nullptr ? 0 : *a.weight_exponent;
  const bool updates = a.batch_norm && a.running_mean != nullptr;
  // Loads wait neither for each other nor for a store: a store may change what a later load reads,
  // so what comes behind it would be loaded after it.
  RunningStats running;
  if (updates) running.Load(a, static_cast<int>(threadIdx.x));
  for (int first = 0; first < block_lanes; first += groups) {
    const int lane = static_cast<int>(blockIdx.x) * block_lanes + first + group;
    const bool works = first + group < block_lanes;
    const int x_exponent = works ? a.x_exponent[lane] : 0;
    ChannelInput in[kChannels];
    if constexpr (kChannels == 1) {
      ChannelRows rows;
      if (works && thread < a.channels) {
        rows.Load(a, lane, stride, thread);
        in[0].LoadParameters(a, thread);
      }
      rows.MergeInto(in[0].moments);
    } else {  // no registers for that
      FTT_UNROLL
      for (int k = 0; k < kChannels; ++k) {
        const int c = thread + k * lane_threads;
        if (!works || c >= a.channels) continue;
        FTT_UNROLL
        for (int row = 0; row < kMomentRows; ++row)
          MergeMoments(in[k].moments, MomentRow(a.moments, lane, row, stride).Read(c));
        in[k].LoadParameters(a, c);
      }
    }
    const float unit = a.unit_scale * PowerOfTwo(x_exponent + weight_exponent);
    float scale[kChannels] = {}, shift[kChannels] = {}, largest = 0;
    FTT_UNROLL
    for (int k = 0; k < kChannels; ++k) {
      const int c = thread + k * lane_threads, at = lane * stride + c;
      if (!works || c >= a.channels) continue;
      const ChannelMoments& m = in[k].moments;
      NormChannel(a, in[k], at, unit, &scale[k], &shift[k]);
      largest = LargerMagnitude(largest, fmaf(static_cast<float>(m.min), scale[k], shift[k]));
      largest = LargerMagnitude(largest, fmaf(static_cast<float>(m.max), scale[k], shift[k]));
    }
    largest = GroupLargest(largest, group, lane_threads);
    if (!works) continue;
    const int exponent = ExponentFor(largest, a.bits);
    const float factor = PowerOfTwo(-exponent);
    FTT_UNROLL
    for (int k = 0; k < kChannels; ++k) {
      const int c = thread + k * lane_threads, at = lane * stride + c;
      if (c >= stride) continue;
      EmptyMoments(a, lane, stride, c);  // of pads, too: the next op has another stride
      a.scale[at] = scale[k] * factor;
      a.shift[at] = shift[k] * factor;
      if (a.batch_norm && c >= a.channels) a.mean[at] = a.inv_std[at] = 0;
    }
    if (thread == 0) {
      a.exponent[lane] = exponent;
      a.unit[lane] = unit;
    }
  }
  if (!updates) return;
  // The statistics of all lanes are there: GroupLargest waited for their writers.
  const int threads = static_cast<int>(blockDim.x);
  for (int c = static_cast<int>(threadIdx.x); c < a.channels; c += threads) {
    running.Update(a, stride, c);
    running.Load(a, c + threads);
  }
}

}  // namespace ftt::cuda
