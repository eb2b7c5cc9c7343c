// Per-channel sum, sum of squares, minimum and maximum of a block's accumulators. Sums are integers
// until a block has its own, so they are exact and their order does not matter.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

struct IntegerMoments {
  int64_t sum = 0, sum_squares = 0;
  int32_t min = INT32_MAX, max = INT32_MIN;

  __device__ __forceinline__ void Add(int32_t v) {
    sum += v;
    sum_squares += int64_t{v} * v;
    min = v < min ? v : min;
    max = v > max ? v : max;
  }
  __device__ __forceinline__ void Merge(const IntegerMoments& other) {
    sum += other.sum;
    sum_squares += other.sum_squares;
    min = other.min < min ? other.min : min;
    max = other.max > max ? other.max : max;
  }
  __device__ ChannelMoments Finish() const {
    return {static_cast<double>(sum), static_cast<double>(sum_squares), min, max};
  }
};

}  // namespace ftt::cuda
