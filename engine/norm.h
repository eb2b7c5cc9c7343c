// The affine map from accumulator to code: batch norm (or bias) and exponents in two floats per
// channel.
#pragma once

#include <vector>

#include "kernels/backend.h"

namespace ftt {

inline constexpr float kBatchNormEpsilon = 1e-5f;

struct NormInputs {
  int channels = 0;
  bool batch_norm = false;
  const float* gamma = nullptr;  // null: 1
  const float* beta = nullptr;   // null: 0; without batch norm the bias
  float unit = 1;                // real value of one accumulator step
};

// Mean and variance (biased) of the real values of one lane; count values per channel.
struct Moments {
  std::vector<float> mean, variance;
};
Moments MomentsOf(const ChannelStats* stats, int channels, double count, float unit);

// Real-valued map y = a * acc + b per channel. moments: null without batch norm.
LaneNorm RealNorm(const NormInputs&, const Moments* moments);
// max |a * acc + b| over channels from each channel's extremes: an affine map attains it there.
float LargestOutput(const LaneNorm& real, const ChannelStats* stats);
// Divides the map by 2^exponent, so that it yields codes.
void ScaleToCodes(LaneNorm& norm, int exponent);

}  // namespace ftt
