#include "engine/weights.h"

#include <algorithm>
#include <cmath>

#include "kernels/quantize_math.h"

namespace ftt {

WeightCodes QuantizeWeights(const std::vector<float>& weights, int bits, bool want_keep) {
  WeightCodes out;
  out.n = static_cast<int64_t>(weights.size());
  float largest = 0;
  for (const float w : weights) largest = std::max(largest, std::fabs(w));
  out.exponent = ExponentFor(largest, bits);
  out.codes.resize(weights.size());
  const float scale = PowerOfTwo(-out.exponent);
  const auto high = static_cast<float>(CodeMax(bits)), low = static_cast<float>(CodeMin(bits));
  bool saturated = false;
  for (size_t i = 0; i < weights.size(); ++i) {
    const float code = std::rint(weights[i] * scale);
    saturated |= code > high || code < low;
    out.codes[i] = static_cast<int8_t>(std::min(std::max(code, low), high));
  }
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
