// FinishNorm against the arithmetic of engine/norm.cc.
#include "kernels/cuda/norm.h"

#include <algorithm>
#include <cmath>

#include "engine/norm.h"
#include "kernels/quantize_math.h"
#include "tests/cuda/layout.h"
#include "tests/kernels/parity_util.h"

namespace ftt::cuda::test {
namespace {

struct NormCase {
  int lanes, channels;
  bool batch_norm, affine;
};

class CudaNormTest : public ::testing::TestWithParam<NormCase> {};

TEST_P(CudaNormTest, EqualsEngine) {
  const NormCase c = GetParam();
  ftt::test::Operands operands(4);
  const auto channels = static_cast<size_t>(c.channels);
  const auto stride = static_cast<size_t>(PaddedChannels(c.channels));
  const double count = 640;
  std::vector<ChannelMoments> moments(static_cast<size_t>(c.lanes * kMomentRows) * stride);
  for (size_t i = 0; i < moments.size(); ++i) {
    ChannelMoments& m = moments[i];
    // Lanes whose extremes are so many deviations away that their exponents differ.
    const auto lane = static_cast<int64_t>(i / stride / kMomentRows);
    m.min = -static_cast<int32_t>(operands.Below(3000));
    m.max = static_cast<int32_t>(operands.Below(3000)) + m.min;
    m.sum = static_cast<int64_t>(operands.Below(100000)) - 50000;
    m.sum_squares = (1000000 + static_cast<int64_t>(operands.Below(1000000))) << 3 * (lane % 4);
  }
  const std::vector<float> gamma = operands.Floats(c.channels), beta = operands.Floats(c.channels);
  const std::vector<float> mean0 = operands.Floats(c.channels);
  std::vector<float> var0 = operands.Floats(c.channels);
  std::vector<int> x_exponent;
  for (int l = 0; l < c.lanes; ++l) x_exponent.push_back(-5 - l % 3);

  DeviceBuffer<int64_t> d_moments = EmptyMoments(c.lanes, static_cast<int>(stride));
  std::vector<int64_t> rows = d_moments.Get();
  for (size_t i = 0; i < moments.size(); ++i) {
    const auto row = static_cast<int>(i / stride);
    PutMoments(rows, row / kMomentRows, row % kMomentRows, static_cast<int>(stride),
               static_cast<int>(i % stride), moments[i]);
  }
  d_moments.Set(rows);
  const DeviceBuffer<float> d_gamma(gamma), d_beta(beta), running_mean(mean0), running_var(var0);
  const DeviceBuffer<int> d_x(x_exponent), d_w(std::vector<int>{-6});
  const size_t floats = static_cast<size_t>(c.lanes) * stride;
  const DeviceBuffer<float> scale(floats), shift(floats), mean(floats), inv_std(floats),
      variance(floats);
  const DeviceBuffer<float> unit(static_cast<size_t>(c.lanes));
  const DeviceBuffer<int> exponent(static_cast<size_t>(c.lanes));
  NormArguments a;
  a.lanes = c.lanes;
  a.channels = c.channels;
  a.moments = d_moments.Data();
  a.count = count;
  a.batch_norm = c.batch_norm;
  a.gamma = c.affine ? d_gamma.Data() : nullptr;
  a.beta = c.affine ? d_beta.Data() : nullptr;
  a.unit_scale = 0.25f;
  a.x_exponent = d_x.Data();
  a.weight_exponent = d_w.Data();
  a.scale = scale.Data();
  a.shift = shift.Data();
  a.mean = mean.Data();
  a.inv_std = inv_std.Data();
  a.variance = variance.Data();
  a.unit = unit.Data();
  a.exponent = exponent.Data();
  a.running_mean = running_mean.Data();
  a.running_var = running_var.Data();
  FinishNorm(a, {});
  const std::vector<ChannelMoments> left =
      Merged(d_moments.Get(), c.lanes, static_cast<int>(stride));
  for (size_t i = 0; i < left.size(); ++i) {
    EXPECT_EQ(left[i].sum_squares, 0) << "moments are not left empty";
    EXPECT_EQ(left[i].min, INT32_MAX);
  }

  std::vector<float> want_scale, want_shift, want_mean, want_inv_std;
  std::vector<Moments> lane_moments;
  for (int l = 0; l < c.lanes; ++l) {
    std::vector<ChannelStats> stats(channels);
    for (size_t k = 0; k < channels; ++k) {
      for (int b = 0; b < kMomentRows; ++b) {
        const ChannelMoments& m = moments[static_cast<size_t>(l * kMomentRows + b) * stride + k];
        stats[k].sum += static_cast<double>(m.sum);
        stats[k].sum_squares += static_cast<double>(m.sum_squares);
        stats[k].min = b == 0 ? m.min : std::min(stats[k].min, m.min);
        stats[k].max = b == 0 ? m.max : std::max(stats[k].max, m.max);
      }
    }
    const float lane_unit = 0.25f * PowerOfTwo(x_exponent[static_cast<size_t>(l)] - 6);
    lane_moments.push_back(MomentsOf(stats.data(), c.channels, count, lane_unit));
    LaneNorm norm = RealNorm({c.channels, c.batch_norm, c.affine ? gamma.data() : nullptr,
                              c.affine ? beta.data() : nullptr, lane_unit},
                             &lane_moments.back());
    const int e = ExponentFor(LargestOutput(norm, stats.data()), 8);
    ScaleToCodes(norm, e);
    EXPECT_EQ(e, exponent.Get()[static_cast<size_t>(l)]);
    EXPECT_EQ(lane_unit, unit.Get()[static_cast<size_t>(l)]);
    want_scale.insert(want_scale.end(), norm.scale.begin(), norm.scale.end());
    want_shift.insert(want_shift.end(), norm.shift.begin(), norm.shift.end());
    want_mean.insert(want_mean.end(), norm.mean.begin(), norm.mean.end());
    want_inv_std.insert(want_inv_std.end(), norm.inv_std.begin(), norm.inv_std.end());
  }
  EXPECT_EQ(want_scale, Dense(scale.Get(), c.channels));
  EXPECT_EQ(want_shift, Dense(shift.Get(), c.channels));
  if (!c.batch_norm) return;
  EXPECT_EQ(want_mean, Dense(mean.Get(), c.channels));
  EXPECT_EQ(want_inv_std, Dense(inv_std.Get(), c.channels));
  const float share = 0.1f / static_cast<float>(c.lanes);
  const auto unbias = static_cast<float>(count / (count - 1));
  for (size_t k = 0; k < channels; ++k) {
    float want_m = mean0[k] * (1.0f - 0.1f), want_v = var0[k] * (1.0f - 0.1f);
    for (const Moments& m : lane_moments) {
      want_m += share * m.mean[k];
      want_v += share * m.variance[k] * unbias;
    }
    EXPECT_EQ(want_m, running_mean.Get()[k]);
    EXPECT_EQ(want_v, running_var.Get()[k]);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, CudaNormTest,
    ::testing::Values(NormCase{1, 1, true, true}, NormCase{2, 20, true, false},
                      NormCase{5, 40, true, true}, NormCase{2, 17, false, true},
                      NormCase{2, 33, true, true}, NormCase{3, 120, true, true},
                      NormCase{2, 120, true, true}, NormCase{4, 250, true, true},
                      NormCase{1, 1000, true, true}, NormCase{2, 1280, true, true},
                      NormCase{3, 1025, false, true}));

// Calibration: the given statistics instead of the batch's, whose extremes still set the exponent.
TEST(CudaNormFixedTest, EqualsEngine) {
  const std::vector<float> given_mean(3, 0.5f), given_var(3, 2.0f);
  DeviceBuffer<int64_t> d_moments = EmptyMoments(1, 16);
  std::vector<int64_t> rows = d_moments.Get();
  for (int c = 0; c < 16; ++c) PutMoments(rows, 0, 1, 16, c, {12, 400, -90, 70});
  d_moments.Set(rows);
  const DeviceBuffer<float> d_mean(given_mean), d_var(given_var);
  const DeviceBuffer<float> scale(16), shift(16), mean(16), inv_std(16), variance(16), unit(1);
  const DeviceBuffer<int> d_x(std::vector<int>{-4}), exponent(1);
  NormArguments a;
  a.lanes = 1;
  a.channels = 3;
  a.moments = d_moments.Data();
  a.count = 20;
  a.batch_norm = true;
  a.x_exponent = d_x.Data();
  a.scale = scale.Data();
  a.shift = shift.Data();
  a.mean = mean.Data();
  a.inv_std = inv_std.Data();
  a.variance = variance.Data();
  a.unit = unit.Data();
  a.exponent = exponent.Data();
  a.fixed_mean = d_mean.Data();
  a.fixed_var = d_var.Data();
  FinishNorm(a, {});
  const Moments given{given_mean, given_var};
  const std::vector<ChannelStats> stats(3, ChannelStats{12, 400, -90, 70});
  LaneNorm want = RealNorm({3, true, nullptr, nullptr, PowerOfTwo(-4)}, &given);
  const int e = ExponentFor(LargestOutput(want, stats.data()), 8);
  ScaleToCodes(want, e);
  EXPECT_EQ(exponent.Get()[0], e);
  EXPECT_EQ(Dense(scale.Get(), 3), want.scale);
  EXPECT_EQ(Dense(shift.Get(), 3), want.shift);
}

}  // namespace
}  // namespace ftt::cuda::test
