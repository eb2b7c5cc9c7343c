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
__device__ __forceinline__ void AddToLane(int64_t* moments, int lane, unsigned block, int stride,
                                          int channel, const ChannelMoments& m) {
  const MomentRow to(moments, lane, static_cast<int>(block % kMomentRows), stride);
  AtomicAdd(&to.sum[channel], m.sum);
  AtomicAdd(&to.sum_squares[channel], m.sum_squares);
  AtomicMax(&to.min_keys[channel], MomentRow::MinKey(m.min));
  AtomicMax(&to.max_keys[channel], MomentRow::MaxKey(m.max));
}

}  // namespace ftt::cuda
