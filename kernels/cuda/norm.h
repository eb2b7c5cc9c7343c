// Statistics -> the affine map from accumulator to code, on the device, so that a step reads
// nothing back. The arithmetic of engine/norm.cc.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

struct NormArguments {
  int lanes = 1, channels = 0;  // at most 2048 channels
  int64_t* moments = nullptr;   // see MomentRow; left empty for the next one
  double count = 1;             // values per channel and lane
  int bits = 8;
  bool batch_norm = false;
  const float* gamma = nullptr;  // [channels]; null: 1
  const float* beta = nullptr;   // [channels]; null: 0; without batch norm the bias
  // One accumulator step is worth unit_scale * 2^(x_exponent[lane] + weight exponent).
  float unit_scale = 1;
  const int* x_exponent = nullptr;       // [lanes]
  const int* weight_exponent = nullptr;  // one for all lanes; null: 0
  // Out; arrays of floats are [lanes][padded channels], pads 0.
  float* scale = nullptr;
  float* shift = nullptr;
  float* mean = nullptr;      // of the real value; with batch norm only
  float* inv_std = nullptr;   // with batch norm only
  float* variance = nullptr;  // with batch norm only; pads are left alone
  float* unit = nullptr;      // [lanes]
  int* exponent = nullptr;    // [lanes]
  // With batch norm: these statistics instead of the batch's; null: the batch's.
  const float* fixed_mean = nullptr;  // [channels]
  const float* fixed_var = nullptr;
  // Running statistics, updated with equal weight of all lanes; null: left alone.
  float* running_mean = nullptr;  // [channels]
  float* running_var = nullptr;
  float momentum = 0.1f;
};

// Bytes of the moments of one op; to begin with they must be 0.
constexpr int64_t MomentBytes(int lanes, int padded_channels) {
  return int64_t{lanes} * kMomentRows * padded_channels * kMomentBytes;
}

// Throws ftt::Error on more channels than it can handle.
void FinishNorm(const NormArguments& arguments, DeviceStream stream);

}  // namespace ftt::cuda
