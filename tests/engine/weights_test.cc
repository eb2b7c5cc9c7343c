// Quantized weights against their definition (docs/semantics.md), one by one.
#include "engine/weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/quantize_math.h"

namespace ftt {
namespace {

void ExpectTheDefinition(const std::vector<float>& weights, int bits) {
  float largest = 0;
  for (const float w : weights) largest = std::max(largest, std::fabs(w));
  const WeightCodes got = QuantizeWeights(weights, bits, true);
  ASSERT_EQ(got.exponent, ExponentFor(largest, bits));
  ASSERT_EQ(got.n, std::ssize(weights));
  for (size_t i = 0; i < weights.size(); ++i) {
    const float code = std::rint(weights[i] * PowerOfTwo(-got.exponent));
    const auto low = static_cast<float>(CodeMin(bits)), high = static_cast<float>(CodeMax(bits));
    ASSERT_EQ(got.codes[i], static_cast<int8_t>(std::min(std::max(code, low), high))) << i;
    const bool inside = code >= low && code <= high;
    ASSERT_EQ(got.keep.empty() || got.keep[i] != 0, inside) << i << " " << weights[i];
  }
}

TEST(QuantizeWeights, FollowsTheDefinition) {
  std::mt19937 rng(1);
  for (const int bits : {4, 6, 8}) {
    for (const size_t n : {1, 7, 8, 9, 31, 1000}) {
      for (const float size : {1e-30f, 0.013f, 1.0f, 60.0f, 1e20f}) {
        std::vector<float> weights(n);
        for (float& w : weights) w = size * (static_cast<float>(rng() % 2001) - 1000) / 1000;
        ExpectTheDefinition(weights, bits);
      }
    }
  }
}

TEST(QuantizeWeights, TiesGoToEvenAndTheLargestMaySaturate) {
  for (const int bits : {4, 8}) {
    const auto high = static_cast<float>(CodeMax(bits));
    for (const float last : {high, -high - 1, high + 0.5f, -high - 1.5f, high + 0.25f}) {
      std::vector<float> weights{0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 0, -0.0f, 0.49f};
      weights.push_back(last);
      ExpectTheDefinition(weights, bits);
    }
  }
  ExpectTheDefinition({0, 0, 0}, 8);
  ExpectTheDefinition({}, 8);
}

}  // namespace
}  // namespace ftt
