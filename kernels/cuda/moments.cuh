// Per-channel sum, sum of squares, minimum and maximum of accumulators: whole numbers, so they are
// exact and their order does not matter.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

__device__ __forceinline__ void AddValue(ChannelMoments& m, int32_t v) {
  m.sum += v;
  m.sum_squares += int64_t{v} * v;
  m.min = v < m.min ? v : m.min;
  m.max = v > m.max ? v : m.max;
}
__device__ __forceinline__ void MergeMoments(ChannelMoments& total, const ChannelMoments& m) {
  total.sum += m.sum;
  total.sum_squares += m.sum_squares;
  total.min = m.min < total.min ? m.min : total.min;
  total.max = m.max > total.max ? m.max : total.max;
}

// Adds a block's moments of one channel to the row of its lane that this block uses; `block`
// numbers the lane's blocks.
__device__ __forceinline__ void AddToLane(ChannelMoments* moments, int lane, unsigned block,
                                          int stride, int channel, const ChannelMoments& m) {
  ChannelMoments* to =
      moments + (int64_t{lane} * kMomentRows + block % kMomentRows) * stride + channel;
  AtomicAdd(&to->sum, m.sum);
  AtomicAdd(&to->sum_squares, m.sum_squares);
  AtomicMin(&to->min, m.min);
  AtomicMax(&to->max, m.max);
}

}  // namespace ftt::cuda
