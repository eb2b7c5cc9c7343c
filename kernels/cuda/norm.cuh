// Kernels of norm.h: one block a lane. The threads that share a channel add up a part of the blocks
// each; sums are whole numbers below 2^53, so their order does not matter.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/norm.h"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

inline constexpr int kNormThreads = 1024;
inline constexpr float kNormEpsilon = 1e-5f;  // as in engine/norm.h

__device__ __forceinline__ void MergeMoments(ChannelMoments& total, const ChannelMoments& m) {
  total.sum += m.sum;
  total.sum_squares += m.sum_squares;
  total.min = m.min < total.min ? m.min : total.min;
  total.max = m.max > total.max ? m.max : total.max;
}

// The moments of channel threadIdx.x of the lane, in threads below the number of padded channels.
__device__ inline ChannelMoments AddPartials(const NormArguments& a, int lane) {
  const int stride = PaddedChannels(a.channels), parts = static_cast<int>(blockDim.x) / stride;
  const int part = static_cast<int>(threadIdx.x) / stride;
  const int channel = static_cast<int>(threadIdx.x) - part * stride;
  const ChannelMoments* from = a.partials + int64_t{lane} * a.blocks * stride + channel;
  ChannelMoments total{0, 0, INT32_MAX, INT32_MIN};
  const bool works = part < parts && channel < a.channels;
  for (int block = part; works && block < a.blocks; block += parts)
    MergeMoments(total, from[int64_t{block} * stride]);
  struct Moments {
    double sum, sum_squares;
    int32_t min, max;
  };
  using Shared = Moments[kNormThreads];
  FTT_SHARED(Shared, shared);
  shared[threadIdx.x] = {total.sum, total.sum_squares, total.min, total.max};
  SyncThreads();
  for (int p = 1; part == 0 && p < parts; ++p) {
    const Moments& m = shared[p * stride + channel];
    MergeMoments(total, {m.sum, m.sum_squares, m.min, m.max});
  }
  return total;
}

__device__ __forceinline__ float LargerMagnitude(float largest, float v) {
  v = fabsf(v);
  return largest < v ? v : largest;
}

// The largest value of all threads of a block, for all threads.
__device__ inline float BlockLargest(float v) {
  using WarpLargest = float[kNormThreads / kWarpSize];
  FTT_SHARED(WarpLargest, warp_largest);
  for (int step = kWarpSize / 2; step > 0; step /= 2) v = LargerMagnitude(v, ShuffleXor(v, step));
  if (threadIdx.x % kWarpSize == 0) warp_largest[threadIdx.x / kWarpSize] = v;
  SyncThreads();
  for (unsigned w = 0; w < blockDim.x / kWarpSize; ++w) v = LargerMagnitude(v, warp_largest[w]);
  return v;
}

__global__ void __launch_bounds__(kNormThreads) FinishNormKernel(NormArguments a) {
  const int lane = static_cast<int>(blockIdx.x), c = static_cast<int>(threadIdx.x);
  const int stride = PaddedChannels(a.channels);
  const int weight_exponent = a.weight_exponent == nullptr ? 0 : *a.weight_exponent;
  const float unit = a.unit_scale * PowerOfTwo(a.x_exponent[lane] + weight_exponent);
  float scale = 0, shift = 0, largest = 0;
  const ChannelMoments m = AddPartials(a, lane);
  if (c < a.channels) {
    const float beta = a.beta == nullptr ? 0.0f : a.beta[c];
    scale = unit;
    shift = beta;
    if (a.batch_norm) {
      const double mean_steps = m.sum / a.count;
      const double variance_steps = m.sum_squares / a.count - mean_steps * mean_steps;
      auto mean = static_cast<float>(mean_steps * unit);
      auto variance = static_cast<float>((variance_steps > 0 ? variance_steps : 0.0) * unit * unit);
      if (a.fixed_mean != nullptr) {
        mean = a.fixed_mean[c];
        variance = a.fixed_var[c];
      }
      const float inv_std = 1.0f / sqrtf(variance + kNormEpsilon);
      const float gain = (a.gamma == nullptr ? 1.0f : a.gamma[c]) * inv_std;
      scale = gain * unit;
      shift = beta - mean * gain;
      a.mean[lane * stride + c] = mean;
      a.inv_std[lane * stride + c] = inv_std;
      a.variance[lane * stride + c] = variance;
    }
    largest = LargerMagnitude(0.0f, fmaf(static_cast<float>(m.min), scale, shift));
    largest = LargerMagnitude(largest, fmaf(static_cast<float>(m.max), scale, shift));
  }
  largest = BlockLargest(largest);
  const int exponent = ExponentFor(largest, a.bits);
  const float factor = PowerOfTwo(-exponent);
  if (c < stride) {
    a.scale[lane * stride + c] = scale * factor;
    a.shift[lane * stride + c] = shift * factor;
    if (a.batch_norm && c >= a.channels) {
      a.mean[lane * stride + c] = 0;
      a.inv_std[lane * stride + c] = 0;
    }
  }
  if (c == 0) {
    a.exponent[lane] = exponent;
    a.unit[lane] = unit;
  }
}

// Lanes in order, after FinishNormKernel.
__global__ void __launch_bounds__(128) RunningStatsKernel(NormArguments a) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (c >= a.channels) return;
  const int stride = PaddedChannels(a.channels);
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

}  // namespace ftt::cuda
