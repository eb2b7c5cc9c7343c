#include "engine/norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/quantize_math.h"

namespace ftt {

Moments MomentsOf(const ChannelStats* stats, int channels, double count, float unit) {
  Moments m;
  for (int c = 0; c < channels; ++c) {
    const double mean = stats[c].sum / count;
    const double variance = std::max(0.0, stats[c].sum_squares / count - mean * mean);
    m.mean.push_back(static_cast<float>(mean * unit));
    m.variance.push_back(static_cast<float>(variance * unit * unit));
  }
  return m;
}

LaneNorm RealNorm(const NormInputs& in, const Moments* moments) {
  LaneNorm norm;
  norm.unit = in.unit;
  for (int c = 0; c < in.channels; ++c) {
    const auto i = static_cast<size_t>(c);
    const float shift = in.beta == nullptr ? 0.0f : in.beta[c];
    if (!in.batch_norm) {
      norm.scale.push_back(in.unit);
      norm.shift.push_back(shift);
      continue;
    }
    const float inv_std = 1.0f / std::sqrt(moments->variance[i] + kBatchNormEpsilon);
    const float gain = (in.gamma == nullptr ? 1.0f : in.gamma[c]) * inv_std;
    norm.mean.push_back(moments->mean[i]);
    norm.inv_std.push_back(inv_std);
    norm.scale.push_back(gain * in.unit);
    norm.shift.push_back(shift - moments->mean[i] * gain);
  }
  return norm;
}

float LargestOutput(const LaneNorm& real, const ChannelStats* stats) {
  float largest = 0;
  for (size_t c = 0; c < real.scale.size(); ++c) {
    for (const int32_t acc : {stats[c].min, stats[c].max}) {
      largest = std::max(
          largest, std::fabs(std::fmaf(static_cast<float>(acc), real.scale[c], real.shift[c])));
    }
  }
  return largest;
}

void ScaleToCodes(LaneNorm& norm, int exponent) {
  const float factor = PowerOfTwo(-exponent);
  for (float& v : norm.scale) v *= factor;
  for (float& v : norm.shift) v *= factor;
}

}  // namespace ftt
