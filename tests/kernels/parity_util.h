// Random operands and comparisons for the parity cases.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "core/half.h"
#include "core/philox.h"
#include "kernels/backend.h"
#include "kernels/quantize_math.h"

namespace ftt::test {

class Operands {
 public:
  explicit Operands(uint32_t seed) : draws_(seed, Stream::kShuffle, 77) {}
  std::vector<int8_t> Codes(int64_t n) {
    std::vector<int8_t> out(static_cast<size_t>(n));
    for (int8_t& v : out) v = static_cast<int8_t>(static_cast<int>(draws_.Below(256)) - 128);
    return out;
  }
  std::vector<float> Floats(int64_t n) {
    std::vector<float> out(static_cast<size_t>(n));
    for (float& v : out) v = 2 * draws_.Uniform() - 1;
    return out;
  }
  std::vector<uint8_t> Mask(int64_t rows, int64_t elements) {
    std::vector<uint8_t> out(static_cast<size_t>(rows * MaskBytes(elements)));
    for (uint8_t& v : out) v = static_cast<uint8_t>(draws_.Next() | draws_.Next());
    return out;
  }
  uint32_t Below(uint32_t n) { return draws_.Below(n); }

 private:
  PhiloxSequence draws_;
};

// The same accumulators as int32 and, without an error, in half precision.
class Accumulators {
 public:
  Accumulators(Operands& operands, int64_t n, int low, int high) {
    for (int64_t i = 0; i < n; ++i) {
      const auto steps = static_cast<uint32_t>((high - low) >> kShift);
      const int v = low + (static_cast<int>(operands.Below(steps)) << kShift);
      ints_.push_back(v);
      halves_.push_back(FloatToHalf(static_cast<float>(v) / (1 << kShift)));
    }
  }
  RawMap Of(RawType type) {
    if (type == RawType::kInt32) return {ints_.data()};
    return {halves_.data(), type, kShift};
  }
  size_t Size() const { return ints_.size(); }

 private:
  static constexpr int kShift = 4;
  std::vector<int32_t> ints_;
  std::vector<uint16_t> halves_;
};

inline constexpr RawType kRawTypes[] = {RawType::kInt32, RawType::kHalf};

inline double RelativeError(const std::vector<float>& want, const std::vector<float>& got) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(double{want[i]} - got[i], 2);
    norm += std::pow(double{want[i]}, 2);
  }
  return std::sqrt(difference / std::max(norm, 1e-30));
}

inline WeightCodes MakeWeights(Operands& operands, int64_t n, int copies, bool keep) {
  WeightCodes w;
  w.n = n;
  w.copies = copies;
  w.exponent = -6;
  w.codes = operands.Codes(n * copies);
  if (keep) {
    for (int64_t i = 0; i < n * copies; ++i)
      w.keep.push_back(static_cast<uint8_t>(operands.Below(4) != 0));
  }
  return w;
}

inline LaneNorm MakeNorm(Operands& operands, int channels, float scale, bool batch_norm) {
  LaneNorm norm;
  norm.unit = 0.25f;
  for (int c = 0; c < channels; ++c) {
    norm.scale.push_back(scale * (0.5f + static_cast<float>(operands.Below(100)) / 100));
    norm.shift.push_back(static_cast<float>(operands.Below(20)) - 10);
    if (!batch_norm) continue;
    norm.mean.push_back(static_cast<float>(operands.Below(100)) - 50);
    norm.inv_std.push_back(0.01f + static_cast<float>(operands.Below(100)) / 1000);
  }
  return norm;
}

// Operands of one window op on several lanes.
struct WindowCase {
  const char* name;
  WindowShape shape;
  int images, lanes;

  // For the names of test cases.
  friend void PrintTo(const WindowCase& c, std::ostream* out) { *out << c.name; }
};

inline WindowShape MakeWindow(Shape in, int out_c, ConvParams conv, bool relu) {
  WindowShape s;
  s.in = in;
  s.conv = conv;
  s.relu = relu;
  const int reach = conv.dilation * (conv.kernel - 1) + 1;
  s.out = {(in.h + 2 * conv.pad - reach) / conv.stride + 1,
           (in.w + 2 * conv.pad - reach) / conv.stride + 1, out_c};
  return s;
}

inline WindowShape MakePool(Shape in, PoolKind kind, ConvParams conv, bool relu) {
  WindowShape s = MakeWindow(in, in.c, conv, relu);
  s.pool = true;
  s.pool_kind = kind;
  return s;
}

// Awkward sizes on purpose: channels 1, 3, 17, 20, maps that are not square, one image, several
// lanes.
inline std::vector<WindowCase> WindowCases() {
  const auto conv = [](int k, int stride, int dilation, int groups) {
    return ConvParams{k, stride, dilation * (k - 1) / 2, dilation, groups, 0};
  };
  ConvParams offset = conv(1, 2, 1, 1);
  offset.offset = 1;
  return {
      {"dense3x3", MakeWindow({8, 8, 16}, 16, conv(3, 1, 1, 1), true), 5, 2},
      {"dense3x3_odd", MakeWindow({7, 5, 3}, 17, conv(3, 1, 1, 1), false), 3, 1},
      {"dense3x3_stride", MakeWindow({9, 7, 20}, 20, conv(3, 2, 1, 1), true), 2, 3},
      {"dense5x5", MakeWindow({6, 6, 7}, 5, conv(5, 1, 1, 1), true), 1, 2},
      {"dense3x3_wide", MakeWindow({5, 32, 16}, 16, conv(3, 1, 1, 1), true), 3, 2},
      {"dense3x3_three_blocks", MakeWindow({9, 16, 24}, 36, conv(3, 1, 1, 1), true), 2, 2},
      {"dense3x3_many_channels", MakeWindow({4, 4, 130}, 33, conv(3, 1, 1, 1), false), 2, 1},
      {"dense3x3_dilated", MakeWindow({9, 19, 10}, 50, conv(3, 2, 2, 1), true), 2, 2},
      {"dense3x3_valid", MakeWindow({9, 20, 5}, 12, ConvParams{3, 1, 0, 1, 1, 0}, true), 2, 1},
      {"one_pixel", MakeWindow({1, 1, 1}, 1, conv(1, 1, 1, 1), false), 1, 1},
      {"pointwise", MakeWindow({8, 8, 60}, 20, conv(1, 1, 1, 1), true), 17, 2},
      {"pointwise_stride", MakeWindow({8, 8, 20}, 10, conv(1, 2, 1, 1), true), 3, 2},
      {"pointwise_offset", MakeWindow({8, 6, 20}, 10, offset, true), 3, 2},
      {"depthwise3x3", MakeWindow({8, 8, 20}, 20, conv(3, 1, 1, 20), true), 3, 2},
      {"depthwise5x5_stride", MakeWindow({9, 9, 17}, 17, conv(5, 2, 1, 17), true), 2, 2},
      {"depthwise3x3_dilated", MakeWindow({8, 8, 40}, 40, conv(3, 1, 2, 40), false), 2, 2},
      {"depthwise5x5_dilated", MakeWindow({11, 7, 3}, 3, conv(5, 2, 2, 3), true), 2, 1},
      {"max_pool", MakePool({8, 8, 20}, PoolKind::kMax, conv(3, 1, 1, 1), false), 3, 2},
      {"max_pool_relu", MakePool({7, 9, 17}, PoolKind::kMax, conv(3, 2, 1, 1), true), 2, 2},
      {"max_pool_2x2", MakePool({8, 8, 16}, PoolKind::kMax, ConvParams{2, 2, 0, 1, 1, 0}, true), 2,
       1},
      {"average_pool", MakePool({8, 8, 20}, PoolKind::kAverage, conv(3, 1, 1, 1), false), 3, 2},
      {"average_pool_relu", MakePool({5, 3, 1}, PoolKind::kAverage, conv(3, 2, 1, 1), true), 1, 2},
  };
}

}  // namespace ftt::test
