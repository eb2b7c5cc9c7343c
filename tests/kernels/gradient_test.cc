// Backward passes against finite differences, where the forward pass is smooth; straight-through
// rules directly.
//
// Convolutions, sums and the classifier are linear in each operand, so that a central difference
// over one code is exact. Batch norm is differentiated over accumulators that are large enough for
// a step to be small.
#include <gtest/gtest.h>

#include <functional>

#include "engine/loss.h"
#include "engine/norm.h"
#include "tests/kernels/parity_util.h"

namespace ftt::test {
namespace {

class GradientTest : public ::testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Backend> backend_ = MakeBackend(GetParam(), 2);
  Operands operands_{5};
  std::vector<uint32_t> ids_ = {4, 5, 6};
  BatchDims dims_{2, 3, ids_.data()};
};

// Codes in [-60, 60] at a distance of more than 2 from 0, so that no step crosses a ReLU or
// saturates.
std::vector<int8_t> SafeCodes(Operands& operands, int64_t n) {
  std::vector<int8_t> codes(static_cast<size_t>(n));
  for (int8_t& c : codes) {
    const int magnitude = 3 + static_cast<int>(operands.Below(57));
    c = static_cast<int8_t>(operands.Below(2) == 0 ? magnitude : -magnitude);
  }
  return codes;
}

// One image whose codes lie at least 4 apart within any 3x3 window of a channel, and at least 2
// from zero: a step of one changes neither which tap is the maximum nor its sign.
std::vector<int8_t> CodesWithoutTies(Operands& operands, const Shape& s) {
  std::vector<int8_t> codes;
  for (int h = 0; h < s.h; ++h) {
    for (int w = 0; w < s.w; ++w) {
      for (int c = 0; c < s.c; ++c) {
        const int level = (5 * (3 * (h % 3) + w % 3) + c) % 9;
        codes.push_back(static_cast<int8_t>(-22 + 6 * level + static_cast<int>(operands.Below(3))));
      }
    }
  }
  return codes;
}

double Dot(const std::vector<float>& g, const std::vector<int32_t>& acc, int lanes,
           const std::vector<int>& exponents) {
  double total = 0;
  const size_t per_lane = acc.size() / static_cast<size_t>(lanes);
  for (size_t i = 0; i < acc.size(); ++i) {
    total += double{g[i]} * acc[i] * PowerOfTwo(exponents[i / per_lane]);
  }
  return total;
}

TEST_P(GradientTest, ConvolutionMatchesFiniteDifferences) {
  for (const WindowCase& c : WindowCases()) {
    if (c.shape.pool) continue;
    const BatchDims dims{2, 1, ids_.data()};
    std::vector<int8_t> x = SafeCodes(operands_, 2 * c.shape.in.Elements());
    WeightCodes w;
    w.n = c.shape.out.c * c.shape.conv.kernel * c.shape.conv.kernel * c.shape.in.c /
          c.shape.conv.groups;
    w.exponent = -6;
    w.codes = SafeCodes(operands_, w.n);
    const std::vector<float> g = operands_.Floats(2 * c.shape.out.Elements());
    const std::vector<int> x_exponents = {-4, -5}, y_exponents = {-10, -11};
    const auto loss = [&] {
      WeightCodes fresh = w;
      fresh.packed.reset();
      std::vector<int32_t> acc(g.size());
      backend_->Accumulate(dims, c.shape, x.data(), &fresh, acc.data(), nullptr);
      return Dot(g, acc, 2, y_exponents);
    };
    std::vector<float> gx(x.size()), gw(static_cast<size_t>(w.n));
    backend_->WindowBackward(dims, c.shape, x.data(), x_exponents.data(), &w, g.data(), nullptr,
                             gx.data(), false, gw.data(), nullptr);
    for (int probe = 0; probe < 12; ++probe) {
      const size_t i = probe == 0 ? 0
                                  : (probe == 1 ? x.size() - 1
                                                : operands_.Below(static_cast<uint32_t>(x.size())));
      const int8_t old = x[i];
      x[i] = static_cast<int8_t>(old + 1);
      const double up = loss();
      x[i] = static_cast<int8_t>(old - 1);
      const double down = loss();
      x[i] = old;
      const double step = 2 * PowerOfTwo(x_exponents[i / (x.size() / 2)]);
      EXPECT_NEAR(gx[i], (up - down) / step, 1e-4 * (1 + std::fabs(gx[i]))) << c.name << " x " << i;
    }
    for (int probe = 0; probe < 12; ++probe) {
      const size_t i =
          probe == 0
              ? 0
              : (probe == 1 ? gw.size() - 1 : operands_.Below(static_cast<uint32_t>(gw.size())));
      const int8_t old = w.codes[i];
      w.codes[i] = static_cast<int8_t>(old + 1);
      const double up = loss();
      w.codes[i] = static_cast<int8_t>(old - 1);
      const double down = loss();
      w.codes[i] = old;
      EXPECT_NEAR(gw[i], (up - down) / (2 * PowerOfTwo(w.exponent)), 1e-4 * (1 + std::fabs(gw[i])))
          << c.name << " w " << i;
    }
  }
}

TEST_P(GradientTest, MaxPoolFollowsTheMaximumAndAverageSharesByValidTaps) {
  for (const WindowCase& c : WindowCases()) {
    if (!c.shape.pool) continue;
    const BatchDims dims{1, 1, ids_.data()};
    const bool average = c.shape.pool_kind == PoolKind::kAverage;
    // An average moves by an even number of codes, so that ties round alike, when an input moves by
    // twice a multiple of all tap counts. The step leads away from zero: no ReLU is crossed.
    const int magnitude = average ? 72 : 1;
    std::vector<int8_t> x = average ? SafeCodes(operands_, c.shape.in.Elements())
                                    : CodesWithoutTies(operands_, c.shape.in);
    if (average) {
      for (int8_t& v : x) v = static_cast<int8_t>(v > 0 ? 40 + v / 4 : -40 + v / 4);
    }
    const std::vector<float> g = operands_.Floats(c.shape.out.Elements());
    const auto loss = [&] {
      std::vector<int32_t> acc(g.size());
      backend_->Accumulate(dims, c.shape, x.data(), nullptr, acc.data(), nullptr);
      return Dot(g, acc, 1, {0});
    };
    std::vector<float> gx(x.size());
    const int zero = 0;
    backend_->WindowBackward(dims, c.shape, x.data(), &zero, nullptr, g.data(), nullptr, gx.data(),
                             false, nullptr, nullptr);
    const double base = loss();
    for (int probe = 0; probe < 20; ++probe) {
      const size_t i = probe == 0 ? 0
                                  : (probe == 1 ? x.size() - 1
                                                : operands_.Below(static_cast<uint32_t>(x.size())));
      const int8_t old = x[i];
      const int step = average && old < 0 ? -magnitude : magnitude;
      x[i] = static_cast<int8_t>(old + step);
      const double up = loss();
      x[i] = old;
      const bool passes = !c.shape.relu || old > 0;
      EXPECT_NEAR(gx[i], passes ? (up - base) / step : 0.0, 1e-4) << c.name << " " << i;
    }
    double total = 0, want = 0;
    for (const float v : gx) total += v;
    for (const float v : g) want += v;
    if (!c.shape.relu) {  // gradient is neither lost nor made
      EXPECT_NEAR(total, want, 1e-3) << c.name;
    }
  }
}

TEST_P(GradientTest, BatchNormMatchesFiniteDifferences) {
  const Shape s{4, 3, 5};
  const int64_t n = dims_.images * s.Elements();
  std::vector<int32_t> acc(static_cast<size_t>(2 * n));
  for (int32_t& v : acc) v = static_cast<int32_t>(operands_.Below(2'000'000)) - 700'000;
  const std::vector<float> gamma = {0.5f, 1.0f, 2.0f, -1.0f, 0.3f}, beta = {0, 1, -1, 0.5f, 2};
  const std::vector<float> g = operands_.Floats(2 * n);
  const float unit = 0x1p-18f;
  const auto norm_of = [&](int lane) {
    std::vector<ChannelStats> stats(5);
    for (int64_t i = 0; i < n; ++i) {
      const double v = acc[static_cast<size_t>(lane * n + i)];
      stats[static_cast<size_t>(i % 5)].sum += v;
      stats[static_cast<size_t>(i % 5)].sum_squares += v * v;
    }
    const Moments moments = MomentsOf(stats.data(), 5, static_cast<double>(n) / 5, unit);
    return RealNorm({5, true, gamma.data(), beta.data(), unit}, &moments);
  };
  const auto loss = [&] {
    double total = 0;
    for (int lane = 0; lane < 2; ++lane) {
      const LaneNorm norm = norm_of(lane);
      for (int64_t i = 0; i < n; ++i) {
        const auto at = static_cast<size_t>(lane * n + i), c = static_cast<size_t>(i % 5);
        total += double{g[at]} * (double{norm.scale[c]} * acc[at] + norm.shift[c]);
      }
    }
    return total;
  };
  std::vector<float> grad = g, grad_gamma(5), grad_beta(5);
  const std::vector<LaneNorm> norms = {norm_of(0), norm_of(1)};
  backend_->NormBackward(dims_, s, acc.data(), norms.data(), gamma.data(), nullptr, grad.data(),
                         grad_gamma.data(), grad_beta.data(), nullptr, nullptr);
  for (const size_t i : {size_t{0}, size_t{7}, acc.size() / 2, acc.size() - 1}) {
    const int32_t step = 40'000;
    acc[i] += step;
    const double up = loss();
    acc[i] -= 2 * step;
    const double down = loss();
    acc[i] += step;
    EXPECT_NEAR(grad[i], (up - down) / (2.0 * step * unit), 2e-3 * (0.1 + std::fabs(grad[i]))) << i;
  }
  double want_beta = 0;
  for (size_t i = 2; i < g.size(); i += 5) want_beta += g[i];
  EXPECT_NEAR(grad_beta[2], want_beta, 1e-4);
}

TEST_P(GradientTest, FrozenBatchNormIsAnAffineMap) {
  const Shape s{3, 4, 5};
  const int64_t n = dims_.images * s.Elements();
  const std::vector<int32_t> acc(static_cast<size_t>(2 * n), 1000);
  const std::vector<float> gamma = {0.5f, 1.0f, 2.0f, -1.0f, 0.3f}, beta(5);
  const Moments running{{0.1f, 0.2f, -0.3f, 0, 1}, {1, 0.5f, 2, 0.25f, 4}};
  LaneNorm norm = RealNorm({5, true, gamma.data(), beta.data(), 0x1p-10f}, &running);
  norm.frozen = true;
  const std::vector<LaneNorm> norms = {norm, norm};
  const std::vector<float> g = operands_.Floats(2 * n);
  std::vector<float> grad = g, grad_gamma(5), grad_beta(5);
  backend_->NormBackward(dims_, s, acc.data(), norms.data(), gamma.data(), nullptr, grad.data(),
                         grad_gamma.data(), grad_beta.data(), nullptr, nullptr);
  std::vector<double> sums(5);
  for (size_t i = 0; i < g.size(); ++i) {
    const size_t c = i % 5;
    EXPECT_NEAR(grad[i], g[i] * gamma[c] * norm.inv_std[c], 1e-5f) << i;
    sums[c] += g[i];
  }
  for (size_t c = 0; c < 5; ++c) {
    EXPECT_NEAR(grad_beta[c], sums[c], 1e-4);
    const double xhat = (1000 * 0x1p-10 - running.mean[c]) * norm.inv_std[c];
    EXPECT_NEAR(grad_gamma[c], sums[c] * xhat, 1e-4 * (1 + std::fabs(sums[c] * xhat)));
  }
}

TEST_P(GradientTest, SaturatedValuesPassNoGradient) {
  const Shape s{1, 1, 16};
  const BatchDims dims{1, 1, ids_.data()};
  std::vector<int32_t> acc(16, 0);
  acc[0] = 127;
  acc[1] = 128;  // saturates
  acc[14] = -128;
  acc[15] = -129;  // saturates
  LaneNorm norm;
  norm.scale.assign(16, 1.0f);
  norm.shift.assign(16, 0.0f);
  std::vector<int8_t> codes(16);
  std::vector<uint8_t> mask(2);
  backend_->Quantize(dims, s, 8, acc.data(), &norm, nullptr, codes.data(), mask.data(), false);
  EXPECT_EQ(codes[1], 127);
  EXPECT_EQ(codes[15], -128);
  std::vector<float> grad(16, 1.0f), bias(16);
  backend_->NormBackward(dims, s, acc.data(), &norm, nullptr, mask.data(), grad.data(), nullptr,
                         bias.data(), nullptr, nullptr);
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(grad[i], i == 1 || i == 15 ? 0.0f : 1.0f) << i;
  EXPECT_EQ(bias[15], 0.0f);
  EXPECT_EQ(bias[14], 1.0f);
}

TEST_P(GradientTest, WeightsThatAFaultMovedGetNoGradientFromThatLane) {
  const BatchDims dims{2, 1, ids_.data()};
  const WindowShape s = MakeWindow({2, 2, 3}, 2, ConvParams{1, 1, 0, 1, 1, 0}, false);
  const std::vector<int8_t> x = SafeCodes(operands_, 2 * s.in.Elements());
  WeightCodes w = MakeWeights(operands_, 6, 2, false);
  w.keep.assign(12, 1);
  w.keep[6 + 4] = 0;  // lane 1, weight 4
  const std::vector<float> g(static_cast<size_t>(2 * s.out.Elements()), 1.0f);
  const int exponents[2] = {0, 0};
  std::vector<float> both(6), first(6);
  backend_->WindowBackward(dims, s, x.data(), exponents, &w, g.data(), nullptr, nullptr, false,
                           both.data(), nullptr);
  const BatchDims one{1, 1, ids_.data()};
  WeightCodes w1 = w;
  w1.packed.reset();
  backend_->WindowBackward(one, s, x.data(), exponents, &w1, g.data(), nullptr, nullptr, false,
                           first.data(), nullptr);
  EXPECT_FLOAT_EQ(both[4], first[4]);
  EXPECT_NE(both[3], first[3]);
}

TEST(LossTest, SoftmaxCrossEntropyMatchesFiniteDifferences) {
  std::vector<float> z = {0.5f, -1.0f, 2.0f, 0.0f, 3.0f, 1.0f};
  const std::vector<uint8_t> labels = {2, 0};
  std::vector<float> grad(6);
  const LossResult r = SoftmaxCrossEntropy(2, 3, z.data(), labels.data(), 0.7f, grad.data());
  EXPECT_EQ(r.correct, 1);
  for (size_t i = 0; i < z.size(); ++i) {
    const float old = z[i];
    z[i] = old + 1e-2f;
    const double up = SoftmaxCrossEntropy(2, 3, z.data(), labels.data(), 0.7f, nullptr).mean;
    z[i] = old - 1e-2f;
    const double down = SoftmaxCrossEntropy(2, 3, z.data(), labels.data(), 0.7f, nullptr).mean;
    z[i] = old;
    EXPECT_NEAR(grad[i], 0.7 * (up - down) / 2e-2, 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, GradientTest, ::testing::Values("ref", "cpu-f32"),
                         [](const auto& backend) { return std::string(backend.param, 3); });

}  // namespace
}  // namespace ftt::test
