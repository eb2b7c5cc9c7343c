#include "engine/cuda/bench_operands.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>

#include "core/half.h"
#include "core/philox.h"

namespace ftt::cuda {
namespace {

// A prime: what repeats has another place in each image and channel.
constexpr int64_t kDrawnCodes = 65521;

}  // namespace

std::vector<int8_t> BenchCodes(int64_t n, int low, int high, uint64_t seed) {
  PhiloxSequence draws(seed, ftt::Stream::kShapes, 98);
  std::vector<int8_t> codes(static_cast<size_t>(n));
  const auto span = static_cast<uint32_t>(high - low + 1);
  const int64_t drawn = std::min(n, kDrawnCodes);
  for (int64_t i = 0; i < drawn; ++i)
    codes[static_cast<size_t>(i)] = static_cast<int8_t>(low + static_cast<int>(draws.Below(span)));
  for (int64_t at = drawn; at < n; at += drawn)
    std::copy_n(codes.begin(), std::min(drawn, n - at), codes.begin() + at);
  return codes;
}

std::vector<uint16_t> Halves(const std::vector<int8_t>& codes) {
  std::array<uint16_t, 256> half;
  for (int v = -128; v < 128; ++v)
    half[static_cast<uint8_t>(v)] = FloatToHalf(static_cast<float>(v));
  std::vector<uint16_t> out(codes.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = half[static_cast<uint8_t>(codes[i])];
  return out;
}

int32_t RoundToHalf(int32_t acc) {
  const auto magnitude = static_cast<uint32_t>(std::abs(acc));
  const int drop = static_cast<int>(std::bit_width(magnitude)) - 11;
  if (drop <= 0) return acc;
  const uint32_t rest = magnitude & ((1u << drop) - 1), middle = 1u << (drop - 1);
  uint32_t kept = magnitude >> drop;
  if (rest > middle || (rest == middle && kept % 2 == 1)) ++kept;
  const auto rounded = static_cast<int32_t>(kept << drop);
  return acc < 0 ? -rounded : rounded;
}

LaneNorm BenchNorm(const std::vector<int32_t>& acc, int channels, uint64_t seed) {
  double squares = 0;
  for (const int32_t v : acc) squares += static_cast<double>(v) * v;
  const double spread = std::sqrt(squares / static_cast<double>(acc.size())) + 1;
  PhiloxSequence draws(seed, ftt::Stream::kShapes, 97);
  LaneNorm norm;
  for (int c = 0; c < channels; ++c) {
    norm.scale.push_back(static_cast<float>(32 / spread) * (0.5f + draws.Uniform()));
    norm.shift.push_back(16 * draws.Uniform() - 8);
  }
  return norm;
}

std::string CodeDifference::Text() const {
  if (largest == 0) return "equal";
  return fmt::format("{:.2g} % of codes differ, by {} at most", 100 * share, largest);
}

CodeDifference Compare(const std::vector<int8_t>& a, const std::vector<int8_t>& b) {
  if (a.size() != b.size()) return {256, 1};
  CodeDifference difference;
  int64_t different = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const int by = std::abs(a[i] - b[i]);
    difference.largest = std::max(difference.largest, by);
    different += by != 0 ? 1 : 0;
  }
  difference.share = static_cast<double>(different) / static_cast<double>(a.size());
  return difference;
}

}  // namespace ftt::cuda
