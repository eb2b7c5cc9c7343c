#include "engine/weights.h"

#include <algorithm>
#include <cmath>

#include "kernels/quantize_math.h"

namespace ftt {

namespace {

struct Extremes {
  float low = 0, high = 0;  // at most and at least 0
};

// By eight side by side, so that they fit a vector.
Extremes FindExtremes(const std::vector<float>& v) {
  constexpr size_t kLanes = 8;
  float low[kLanes] = {}, high[kLanes] = {};
  const size_t whole = v.size() / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t k = 0; k < kLanes; ++k) {
      low[k] = std::min(low[k], v[i + k]);
      high[k] = std::max(high[k], v[i + k]);
    }
  }
  Extremes e{*std::min_element(low, low + kLanes), *std::max_element(high, high + kLanes)};
  for (size_t i = whole; i < v.size(); ++i) {
    e.low = std::min(e.low, v[i]);
    e.high = std::max(e.high, v[i]);
  }
  return e;
}

// std::rint of what lies within +-2^22, in two additions.
float RoundSmall(float value) {
  constexpr float kOneAndAHalf = 1.5f * (1 << 23);
  return (value + kOneAndAHalf) - kOneAndAHalf;
}

}  // namespace

WeightCodes QuantizeWeights(const std::vector<float>& weights, int bits, bool want_keep) {
  WeightCodes out;
  out.n = static_cast<int64_t>(weights.size());
  const Extremes extremes = FindExtremes(weights);
  out.exponent = ExponentFor(std::max(-extremes.low, extremes.high), bits);
  const float scale = PowerOfTwo(-out.exponent);
  const auto high = static_cast<float>(CodeMax(bits)), low = static_cast<float>(CodeMin(bits));
  out.codes.resize(weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    const float bounded = std::min(std::max(weights[i] * scale, low), high);
    out.codes[i] = static_cast<int8_t>(static_cast<int32_t>(RoundSmall(bounded)));
  }
  const bool saturated =
      std::rint(extremes.low * scale) < low || std::rint(extremes.high * scale) > high;
  if (!want_keep || !saturated) return out;
  out.keep.resize(weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    const float code = std::rint(weights[i] * scale);
    out.keep[i] = static_cast<uint8_t>(code <= high && code >= low);
  }
  return out;
}

void ApplyWeightFaults(WeightCodes& weights, LanePlan& lanes, size_t op, bool want_keep) {
  if (!lanes.HasWeightFaults(op)) return;
  const std::vector<int8_t> clean = std::move(weights.codes);
  const std::vector<uint8_t> keep = want_keep && weights.keep.empty()
                                        ? std::vector<uint8_t>(clean.size(), 1)
                                        : std::move(weights.keep);
  weights.copies = lanes.Lanes();
  weights.codes.clear();
  weights.keep.clear();
  weights.packed.reset();
  for (int lane = 0; lane < lanes.Lanes(); ++lane) {
    weights.codes.insert(weights.codes.end(), clean.begin(), clean.end());
    if (want_keep) weights.keep.insert(weights.keep.end(), keep.begin(), keep.end());
  }
  for (int lane = 0; lane < lanes.Lanes(); ++lane) {
    const int64_t at = lane * weights.n;
    lanes.InjectLaneWeights(op, lane, weights.codes.data() + at, weights.n,
                            want_keep ? weights.keep.data() + at : nullptr);
  }
}

}  // namespace ftt
