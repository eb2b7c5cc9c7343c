// The CPU backend against the reference: forward bit for bit, backward within 1e-5 relative in norm
// (1e-2 where the CPU computes gradients from bfloat16).
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/half.h"
#include "faults/plan.h"
#include "faults/spec.h"
#include "tests/kernels/parity_util.h"

namespace ftt::test {
namespace {

constexpr double kGradientTolerance = 1e-5;
constexpr double kBf16Tolerance = 1e-2;

class ParityTest : public ::testing::Test {
 protected:
  std::unique_ptr<Backend> ref_ = MakeRefBackend();
  std::unique_ptr<Backend> cpu_ = MakeCpuBackend(2);
};

std::vector<uint32_t> Ids(int images) {
  std::vector<uint32_t> ids(static_cast<size_t>(images));
  std::iota(ids.begin(), ids.end(), 1000u);
  return ids;
}

class WindowParityTest : public ParityTest, public ::testing::WithParamInterface<WindowCase> {};

TEST_P(WindowParityTest, AccumulateIsExact) {
  const WindowCase& c = GetParam();
  Operands operands(1);
  const std::vector<uint32_t> ids = Ids(c.images);
  const BatchDims dims{c.lanes, c.images, ids.data()};
  const int64_t copies = c.lanes * c.images;
  const std::vector<int8_t> x = operands.Codes(copies * c.shape.in.Elements());
  WeightCodes w = MakeWeights(operands,
                              c.shape.out.c * c.shape.conv.kernel * c.shape.conv.kernel *
                                  c.shape.in.c / c.shape.conv.groups,
                              c.lanes, false);
  WeightCodes w2 = w;
  const auto n = static_cast<size_t>(copies * c.shape.out.Elements());
  std::vector<int32_t> want(n, -1), got(n, -2);
  std::vector<ChannelStats> want_stats(static_cast<size_t>(c.lanes * c.shape.out.c)),
      got_stats(want_stats.size());
  ref_->Accumulate(dims, c.shape, x.data(), &w, want.data(), want_stats.data());
  cpu_->Accumulate(dims, c.shape, x.data(), &w2, got.data(), got_stats.data());
  EXPECT_EQ(want, got);
  for (size_t i = 0; i < want_stats.size(); ++i) {
    EXPECT_EQ(want_stats[i].min, got_stats[i].min) << i;
    EXPECT_EQ(want_stats[i].max, got_stats[i].max) << i;
    const double scale =
        std::sqrt(want_stats[i].sum_squares * c.images * c.shape.out.h * c.shape.out.w) + 1;
    EXPECT_NEAR(want_stats[i].sum, got_stats[i].sum, 1e-6 * scale) << i;
    EXPECT_NEAR(want_stats[i].sum_squares, got_stats[i].sum_squares,
                1e-6 * want_stats[i].sum_squares)
        << i;
  }
}

// In half precision it keeps the sums rounded, and the statistics of the exact ones.
TEST_P(WindowParityTest, AccumulateRoundsToHalves) {
  const WindowCase& c = GetParam();
  Operands operands(1);
  const std::vector<uint32_t> ids = Ids(c.images);
  const BatchDims dims{c.lanes, c.images, ids.data()};
  const std::vector<int8_t> x = operands.Codes(c.lanes * c.images * c.shape.in.Elements());
  WeightCodes w = MakeWeights(operands,
                              c.shape.out.c * c.shape.conv.kernel * c.shape.conv.kernel *
                                  c.shape.in.c / c.shape.conv.groups,
                              c.lanes, false);
  const auto n = static_cast<size_t>(c.lanes * c.images * c.shape.out.Elements());
  std::vector<int32_t> exact(n);
  std::vector<uint16_t> want, got(n, 0xffff);
  std::vector<ChannelStats> want_stats(static_cast<size_t>(c.lanes * c.shape.out.c)),
      got_stats(want_stats.size());
  cpu_->Accumulate(dims, c.shape, x.data(), &w, exact.data(), want_stats.data());
  constexpr int kShift = 6;
  for (const int32_t v : exact) want.push_back(FloatToHalf(static_cast<float>(v) / (1 << kShift)));
  cpu_->Accumulate(dims, c.shape, x.data(), &w, {got.data(), RawType::kHalf, kShift},
                   got_stats.data());
  EXPECT_EQ(want, got);
  for (size_t i = 0; i < want_stats.size(); ++i) {
    EXPECT_EQ(want_stats[i].min, got_stats[i].min) << i;
    EXPECT_EQ(want_stats[i].max, got_stats[i].max) << i;
    EXPECT_NEAR(
        want_stats[i].sum, got_stats[i].sum,
        1e-6 * std::sqrt(want_stats[i].sum_squares * c.images * c.shape.out.h * c.shape.out.w) + 1)
        << i;
    EXPECT_NEAR(want_stats[i].sum_squares, got_stats[i].sum_squares,
                1e-6 * want_stats[i].sum_squares)
        << i;
  }
}

TEST_P(WindowParityTest, DeployIsExactWithFaults) {
  const WindowCase& c = GetParam();
  Operands operands(2);
  const std::vector<uint32_t> ids = Ids(c.images);
  const BatchDims dims{c.lanes, c.images, ids.data()};
  const std::vector<int8_t> x = operands.Codes(c.lanes * c.images * c.shape.in.Elements());
  WeightCodes w = MakeWeights(operands,
                              c.shape.out.c * c.shape.conv.kernel * c.shape.conv.kernel *
                                  c.shape.in.c / c.shape.conv.groups,
                              1, false);
  WeightCodes w2 = w;
  const LaneNorm norm = MakeNorm(operands, c.shape.out.c, c.shape.pool ? 1.2f : 0.003f, false);
  FaultSite site;
  site.id = 3;
  site.kind = c.shape.pool ? SiteKind::kPool : SiteKind::kConv;
  site.macs = 9;
  site.h = c.shape.out.h;
  site.w = c.shape.out.w;
  site.c = c.shape.out.c;
  site.elements = c.shape.out.Elements();
  const FaultSpec spec = ParseFaultSpec("mibb:0.01+ibf-feature:0.02");
  const SiteFaults faults = PlanSite(spec, site, 8, 11);
  std::vector<FaultCounts> want_counts(static_cast<size_t>(c.lanes)),
      got_counts(want_counts.size());
  std::vector<LaneFaults> want_faults, got_faults;
  for (int lane = 0; lane < c.lanes; ++lane) {
    const FaultMoment moment{static_cast<uint32_t>(lane)};
    want_faults.push_back({&faults, moment, &want_counts[static_cast<size_t>(lane)], nullptr});
    got_faults.push_back({&faults, moment, &got_counts[static_cast<size_t>(lane)], nullptr});
  }
  const auto n = static_cast<size_t>(c.lanes * c.images * c.shape.out.Elements());
  std::vector<int8_t> want(n, 1), got(n, 2), clean(n);
  ref_->AccumulateQuantize(dims, c.shape, 8, x.data(), &w, norm, want_faults.data(), want.data());
  cpu_->AccumulateQuantize(dims, c.shape, 8, x.data(), &w2, norm, got_faults.data(), got.data());
  ref_->AccumulateQuantize(dims, c.shape, 8, x.data(), &w, norm, nullptr, clean.data());
  EXPECT_EQ(want, got);
  for (size_t lane = 0; lane < want_counts.size(); ++lane) {
    EXPECT_EQ(want_counts[lane].delivered, got_counts[lane].delivered);
    EXPECT_EQ(want_counts[lane].exposed, got_counts[lane].exposed);
  }
  if (n > 500) {
    EXPECT_TRUE(want != clean) << "the faults of this case never hit";
  }
}

TEST_P(WindowParityTest, Backward) {
  const WindowCase& c = GetParam();
  Operands operands(3);
  const std::vector<uint32_t> ids = Ids(c.images);
  const BatchDims dims{c.lanes, c.images, ids.data()};
  const int64_t copies = c.lanes * c.images;
  const std::vector<int8_t> x = operands.Codes(copies * c.shape.in.Elements());
  const std::vector<float> grad_y = operands.Floats(copies * c.shape.out.Elements());
  WeightCodes w = MakeWeights(operands,
                              c.shape.out.c * c.shape.conv.kernel * c.shape.conv.kernel *
                                  c.shape.in.c / c.shape.conv.groups,
                              c.lanes, true);
  std::vector<int> exponents;
  for (int lane = 0; lane < c.lanes; ++lane) exponents.push_back(-5 + lane);
  const std::unique_ptr<Backend> cpu_f32 = MakeCpuBackend(2, /*full_precision=*/true);
  for (Backend* cpu : {cpu_.get(), cpu_f32.get()}) {
    const double tolerance = cpu == cpu_.get() ? kBf16Tolerance : kGradientTolerance;
    WeightCodes w2 = w;
    w2.packed.reset();
    for (const int variant : {0, 1, 2, 3}) {
      const bool accumulate = (variant & 1) != 0;
      WindowShape shape = c.shape;
      shape.relu_masked = variant >= 2;  // who made x cuts the gradient where x is not above zero
      std::vector<float> want_x(x.size(), 0.5f), got_x(x.size(), 0.5f);
      std::vector<float> want_w(static_cast<size_t>(w.n), 0.25f), got_w(want_w.size(), 0.25f);
      float* want_wp = c.shape.pool ? nullptr : want_w.data();
      float* got_wp = c.shape.pool ? nullptr : got_w.data();
      ref_->WindowBackward(dims, c.shape, x.data(), exponents.data(), &w, grad_y.data(), nullptr,
                           want_x.data(), accumulate, want_wp, nullptr);
      cpu->WindowBackward(dims, shape, x.data(), exponents.data(), &w2, grad_y.data(), nullptr,
                          got_x.data(), accumulate, got_wp, nullptr);
      for (size_t i = 0; shape.relu && shape.relu_masked && i < x.size(); ++i) {
        if (x[i] <= 0) want_x[i] = got_x[i] = 0;
      }
      EXPECT_LT(RelativeError(want_x, got_x), tolerance) << cpu->Name() << " " << accumulate;
      EXPECT_LT(RelativeError(want_w, got_w), tolerance) << cpu->Name() << " " << accumulate;
    }
  }
}

// A window whose input is the output of a batch norm, and the gradient of its output.
struct NormedInput {
  NormedInput(const WindowCase& c, uint32_t seed)
      : operands(seed),
        ids(Ids(c.images)),
        dims{c.lanes, c.images, ids.data()},
        copies(c.lanes * c.images),
        n(c.shape.in.Elements()),
        x(operands.Codes(copies * n)),
        mask(operands.Mask(copies, n)),
        acc(operands, copies * n, -304, 496),
        exponents(static_cast<size_t>(c.lanes), -4) {
    for (int lane = 0; lane < c.lanes; ++lane)
      norms.push_back(MakeNorm(operands, c.shape.in.c, 0.1f, true));
    w = MakeWeights(operands,
                    c.shape.out.c * c.shape.conv.kernel * c.shape.conv.kernel * c.shape.in.c /
                        c.shape.conv.groups,
                    c.lanes, true);
    grad_y = operands.Floats(copies * c.shape.out.Elements());
  }
  Operands operands;
  std::vector<uint32_t> ids;
  BatchDims dims;
  int64_t copies, n;
  std::vector<int8_t> x;
  std::vector<uint8_t> mask;
  Accumulators acc;
  std::vector<LaneNorm> norms;
  std::vector<int> exponents;
  WeightCodes w;
  std::vector<float> grad_y;
};

// The sums of the input's batch norm, collected while its gradient is written, against those that
// its own backward pass takes.
TEST_P(WindowParityTest, BackwardCollectsTheSumsOfTheInput) {
  const WindowCase& c = GetParam();
  NormedInput in(c, 5);
  for (const int variant : {0, 1, 2, 3}) {
    const bool accumulate = (variant & 1) != 0;
    const RawMap raw = in.acc.Of(kRawTypes[variant / 2]);
    std::vector<float> grad(in.x.size(), 0.5f), want(static_cast<size_t>(c.shape.in.c) * 2),
        got(want.size());
    NormSums sums{raw, in.norms.data(), in.mask.data(), {}, {}};
    cpu_->WindowBackward(in.dims, c.shape, in.x.data(), in.exponents.data(), &in.w,
                         in.grad_y.data(), nullptr, grad.data(), accumulate, nullptr, &sums);
    ASSERT_EQ(sums.grad.size(), static_cast<size_t>(c.lanes * c.shape.in.c));
    NormGradient deferred;
    cpu_->NormBackward(in.dims, c.shape.in, raw, in.norms.data(), nullptr, in.mask.data(),
                       grad.data(), got.data(), got.data() + c.shape.in.c, &deferred, &sums);
    ref_->NormBackward(in.dims, c.shape.in, in.acc.Of(RawType::kInt32), in.norms.data(), nullptr,
                       in.mask.data(), grad.data(), want.data(), want.data() + c.shape.in.c,
                       nullptr, nullptr);
    EXPECT_LT(RelativeError(want, got), kGradientTolerance) << variant;
  }
}

// A gradient that goes through bfloat16 on its way from one convolution to the batch norm and the
// convolution before it, against the same in float32.
TEST_P(WindowParityTest, NarrowGradients) {
  const WindowCase& c = GetParam();
  if (c.shape.pool) GTEST_SKIP() << "pools write float32";
  NormedInput in(c, 6);
  // The convolution before: 1x1 over the same map.
  WindowShape before;
  before.in = before.out = c.shape.in;
  before.conv.kernel = 1;
  WeightCodes v = MakeWeights(in.operands, int64_t{before.in.c} * before.in.c, 1, false);
  std::vector<float> results[2];
  for (const bool narrow : {false, true}) {
    std::vector<float> floats(in.x.size());
    std::vector<uint16_t> halves(in.x.size(), 0xffff);
    const GradMap grad = narrow ? GradMap(halves.data(), true) : GradMap(floats.data());
    NormSums sums{in.acc.Of(RawType::kHalf), in.norms.data(), in.mask.data(), {}, {}};
    cpu_->WindowBackward(in.dims, c.shape, in.x.data(), in.exponents.data(), &in.w,
                         in.grad_y.data(), nullptr, grad, false, nullptr, &sums);
    std::vector<float>& result = results[narrow ? 1 : 0];
    std::vector<float> grad_norm(static_cast<size_t>(c.shape.in.c) * 2), to(in.x.size());
    NormGradient deferred;
    cpu_->NormBackward(in.dims, c.shape.in, in.acc.Of(RawType::kHalf), in.norms.data(), nullptr,
                       in.mask.data(), grad, grad_norm.data(), grad_norm.data() + c.shape.in.c,
                       &deferred, &sums);
    cpu_->WindowBackward(in.dims, before, in.x.data(), in.exponents.data(), &v, grad, &deferred,
                         to.data(), false, nullptr, nullptr);
    result = to;
    result.insert(result.end(), grad_norm.begin(), grad_norm.end());
  }
  EXPECT_LT(RelativeError(results[0], results[1]), 5e-3);
}

TEST_F(ParityTest, NarrowGradientsWithoutSumsAreRefused) {
  const Shape s{2, 2, 3};
  const std::vector<uint32_t> ids = Ids(1);
  const BatchDims dims{1, 1, ids.data()};
  WindowShape window;
  window.in = window.out = s;
  window.conv.kernel = 1;
  Operands operands(2);
  WeightCodes w = MakeWeights(operands, 9, 1, false);
  const std::vector<int8_t> x = operands.Codes(12);
  const std::vector<float> grad_y = operands.Floats(12);
  std::vector<uint16_t> narrow(12);
  const int exponent = 0;
  EXPECT_THROW(cpu_->WindowBackward(dims, window, x.data(), &exponent, &w, grad_y.data(), nullptr,
                                    {narrow.data(), true}, false, nullptr, nullptr),
               Error);
  EXPECT_THROW(ref_->WindowBackward(dims, window, x.data(), &exponent, &w, grad_y.data(), nullptr,
                                    {narrow.data(), true}, false, nullptr, nullptr),
               Error);
}

// The gradient map that the CPU backend leaves to the window's backward pass against ref's two
// steps.
void CheckDeferredNorm(const WindowCase& c, bool batch_norm) {
  const std::unique_ptr<Backend> ref = MakeRefBackend();
  Operands operands(31);
  const std::vector<uint32_t> ids = Ids(c.images);
  const BatchDims dims{c.lanes, c.images, ids.data()};
  const int64_t copies = c.lanes * c.images, n = c.shape.out.Elements();
  const std::vector<int8_t> x = operands.Codes(copies * c.shape.in.Elements());
  const std::vector<uint8_t> mask = operands.Mask(copies, n);
  Accumulators acc(operands, copies * n, -304, 496);
  std::vector<LaneNorm> norms;
  std::vector<int> exponents;
  for (int lane = 0; lane < c.lanes; ++lane) {
    norms.push_back(MakeNorm(operands, c.shape.out.c, 0.1f, batch_norm));
    exponents.push_back(-5 + lane);
  }
  WeightCodes w = MakeWeights(operands,
                              c.shape.out.c * c.shape.conv.kernel * c.shape.conv.kernel *
                                  c.shape.in.c / c.shape.conv.groups,
                              c.lanes, true);
  std::vector<float> want_grad = operands.Floats(copies * n);
  const std::vector<float> grad = want_grad;
  std::vector<float> want_x(x.size()), want_w(static_cast<size_t>(w.n));
  ref->NormBackward(dims, c.shape.out, acc.Of(RawType::kInt32), norms.data(), nullptr, mask.data(),
                    want_grad.data(), nullptr, nullptr, nullptr, nullptr);
  ref->WindowBackward(dims, c.shape, x.data(), exponents.data(), &w, want_grad.data(), nullptr,
                      want_x.data(), false, c.shape.pool ? nullptr : want_w.data(), nullptr);
  const std::unique_ptr<Backend> cpu_bf16 = MakeCpuBackend(2);
  const std::unique_ptr<Backend> cpu_f32 = MakeCpuBackend(2, /*full_precision=*/true);
  for (const int variant : {0, 1, 2, 3}) {
    Backend* cpu = variant % 2 == 0 ? cpu_bf16.get() : cpu_f32.get();
    const double tolerance = cpu == cpu_bf16.get() ? kBf16Tolerance : 10 * kGradientTolerance;
    WeightCodes w2 = w;
    w2.packed.reset();
    std::vector<float> got_grad = grad, got_x(x.size()), got_w(want_w.size());
    NormGradient norm;
    cpu->NormBackward(dims, c.shape.out, acc.Of(kRawTypes[variant / 2]), norms.data(), nullptr,
                      mask.data(), got_grad.data(), nullptr, nullptr, &norm, nullptr);
    cpu->WindowBackward(dims, c.shape, x.data(), exponents.data(), &w2, got_grad.data(), &norm,
                        got_x.data(), false, c.shape.pool ? nullptr : got_w.data(), nullptr);
    EXPECT_LT(RelativeError(want_x, got_x), tolerance) << cpu->Name() << " " << batch_norm;
    EXPECT_LT(RelativeError(want_w, got_w), tolerance) << cpu->Name() << " " << batch_norm;
  }
}

// The gradient map that the CPU backend leaves to the window's backward pass against ref's two
// steps.
TEST_P(WindowParityTest, BackwardBehindDeferredNorm) {
  const WindowCase& c = GetParam();
  for (const bool batch_norm : {true, false}) CheckDeferredNorm(c, batch_norm);
}

INSTANTIATE_TEST_SUITE_P(Windows, WindowParityTest, ::testing::ValuesIn(WindowCases()),
                         [](const auto& window) { return window.param.name; });

TEST_F(ParityTest, QuantizeWithMaskOverChannelCounts) {
  for (const int channels : {1, 3, 16, 17, 20, 60}) {
    Operands operands(static_cast<uint32_t>(channels));
    const Shape s{5, 3, channels};
    const std::vector<uint32_t> ids = Ids(3);
    const BatchDims dims{2, 3, ids.data()};
    Accumulators acc(operands, 6 * s.Elements(), -30000, 30000);
    const std::vector<LaneNorm> norms = {MakeNorm(operands, channels, 0.006f, false),
                                         MakeNorm(operands, channels, 0.004f, false)};
    std::vector<int8_t> want(acc.Size()), got(acc.Size());
    std::vector<uint8_t> want_mask(static_cast<size_t>(6 * MaskBytes(s.Elements()))),
        got_mask(want_mask.size());
    for (const int variant : {0, 1, 2, 3}) {
      const int bits = variant % 2 == 0 ? 4 : 8;
      for (const bool relu_mask : {false, true}) {
        ref_->Quantize(dims, s, bits, acc.Of(RawType::kInt32), norms.data(), nullptr, want.data(),
                       want_mask.data(), relu_mask);
        cpu_->Quantize(dims, s, bits, acc.Of(kRawTypes[variant / 2]), norms.data(), nullptr,
                       got.data(), got_mask.data(), relu_mask);
        EXPECT_EQ(want, got) << channels;
        EXPECT_EQ(want_mask, got_mask) << channels;
        for (int64_t i = 0; relu_mask && i < s.Elements(); ++i) {
          const bool pass = (got_mask[static_cast<size_t>(i / 8)] >> (i % 8) & 1) != 0;
          EXPECT_FALSE(pass && got[static_cast<size_t>(i)] <= 0) << i;
        }
      }
    }
  }
}

TEST_F(ParityTest, AddConcatAndGlobalSum) {
  for (const int channels : {1, 3, 17, 20}) {
    Operands operands(static_cast<uint32_t>(channels) + 50);
    const Shape s{5, 3, channels};
    const std::vector<uint32_t> ids = Ids(3);
    const BatchDims dims{2, 3, ids.data()};
    const std::vector<int8_t> x = operands.Codes(6 * s.Elements()),
                              y = operands.Codes(6 * s.Elements());
    for (const int gap : {0, 1, 5, 19, 25, -3}) {
      const int x_exponents[2] = {-4, -5}, y_exponents[2] = {-4 + gap, -5 + gap};
      for (const size_t parts : {0u, 1u, 2u}) {
        std::vector<SumInput> inputs = {{x.data(), x_exponents, channels, false},
                                        {y.data(), y_exponents, channels, true}};
        inputs.resize(parts);
        std::vector<int8_t> want(x.size(), 1), got(x.size(), 2);
        std::vector<uint8_t> want_mask(static_cast<size_t>(6 * MaskBytes(s.Elements()))),
            got_mask(want_mask.size());
        int want_e[2] = {-3, -6}, got_e[2] = {-3, -6};
        for (const bool derive : {true, false}) {
          ref_->Add(dims, s, 8, inputs, derive, want_e, nullptr, want.data(), want_mask.data(),
                    gap > 0);
          cpu_->Add(dims, s, 8, inputs, derive, got_e, nullptr, got.data(), got_mask.data(),
                    gap > 0);
          EXPECT_EQ(want, got) << channels << " " << gap << " " << parts << " " << derive;
          EXPECT_EQ(want_mask, got_mask);
          EXPECT_EQ(want_e[0], got_e[0]);
          EXPECT_EQ(want_e[1], got_e[1]);
        }
      }
      const Shape both{s.h, s.w, 2 * channels};
      const int exponent[2] = {-3, -4 + gap};
      std::vector<int8_t> want(2 * x.size(), 1), got(2 * x.size(), 2);
      const std::vector<SumInput> inputs = {{x.data(), x_exponents, channels, false},
                                            {y.data(), y_exponents, channels, true}};
      ref_->Concat(dims, both, 8, inputs, exponent, nullptr, want.data());
      cpu_->Concat(dims, both, 8, inputs, exponent, nullptr, got.data());
      EXPECT_EQ(want, got) << channels << " " << gap;
    }
    for (const bool relu : {false, true}) {
      std::vector<int32_t> want(static_cast<size_t>(6 * channels)), got(want.size());
      ref_->GlobalSum(dims, s, relu, x.data(), want.data());
      cpu_->GlobalSum(dims, s, relu, x.data(), got.data());
      EXPECT_EQ(want, got);
    }
  }
}

TEST_F(ParityTest, LinearForwardAndBackward) {
  Operands operands(9);
  const int in = 37, out = 10;
  const std::vector<uint32_t> ids = Ids(5);
  const BatchDims dims{2, 5, ids.data()};
  const std::vector<int8_t> x = operands.Codes(10 * in);
  const WeightCodes w = MakeWeights(operands, in * out, 2, true);
  const std::vector<float> bias = operands.Floats(out), grad = operands.Floats(10 * out);
  std::vector<uint8_t> keep;
  for (int i = 0; i < 5 * in; ++i) keep.push_back(static_cast<uint8_t>(operands.Below(3) != 0));
  const float unit[2] = {0.01f, 0.02f};
  for (const uint8_t* k :
       {static_cast<const uint8_t*>(nullptr), static_cast<const uint8_t*>(keep.data())}) {
    std::vector<float> want(10 * out), got(10 * out);
    ref_->Linear(dims, in, out, x.data(), w, unit, bias.data(), k, want.data());
    cpu_->Linear(dims, in, out, x.data(), w, unit, bias.data(), k, got.data());
    EXPECT_EQ(want, got);
    std::vector<float> want_x(10 * in), got_x(10 * in), want_w(in * out), got_w(in * out),
        want_b(out), got_b(out);
    ref_->LinearBackward(dims, in, out, x.data(), unit, w, k, 1.25f, grad.data(), want_x.data(),
                         want_w.data(), want_b.data());
    cpu_->LinearBackward(dims, in, out, x.data(), unit, w, k, 1.25f, grad.data(), got_x.data(),
                         got_w.data(), got_b.data());
    EXPECT_LT(RelativeError(want_x, got_x), kGradientTolerance);
    EXPECT_LT(RelativeError(want_w, got_w), kGradientTolerance);
    EXPECT_LT(RelativeError(want_b, got_b), kGradientTolerance);
  }
}

TEST_F(ParityTest, NormBackward) {
  for (const int channels : {1, 3, 16, 17, 20, 60}) {
    for (const bool batch_norm : {true, false}) {
      Operands operands(static_cast<uint32_t>(channels) + 7);
      const Shape s{5, 7, channels};
      const std::vector<uint32_t> ids = Ids(9);
      const BatchDims dims{2, 9, ids.data()};
      Accumulators acc(operands, 18 * s.Elements(), -304, 496);
      const std::vector<LaneNorm> norms = {MakeNorm(operands, channels, 0.1f, batch_norm),
                                           MakeNorm(operands, channels, 0.1f, batch_norm)};
      const std::vector<float> gamma = operands.Floats(channels);
      const std::vector<uint8_t> mask = operands.Mask(18, s.Elements());
      const std::vector<float> grad = operands.Floats(18 * s.Elements());
      std::vector<float> want = grad, want_g(static_cast<size_t>(channels)), want_b(want_g);
      ref_->NormBackward(dims, s, acc.Of(RawType::kInt32), norms.data(), gamma.data(), mask.data(),
                         want.data(), batch_norm ? want_g.data() : nullptr, want_b.data(), nullptr,
                         nullptr);
      for (const RawType type : kRawTypes) {
        std::vector<float> got = grad, got_g(want_g.size()), got_b(want_g.size());
        cpu_->NormBackward(dims, s, acc.Of(type), norms.data(), gamma.data(), mask.data(),
                           got.data(), batch_norm ? got_g.data() : nullptr, got_b.data(), nullptr,
                           nullptr);
        EXPECT_LT(RelativeError(want, got), kGradientTolerance) << channels;
        EXPECT_LT(RelativeError(want_g, got_g), kGradientTolerance) << channels;
        EXPECT_LT(RelativeError(want_b, got_b), kGradientTolerance) << channels;
      }
    }
  }
}

TEST_F(ParityTest, SumAndGlobalSumBackward) {
  Operands operands(21);
  const Shape s{5, 3, 20};
  const std::vector<uint32_t> ids = Ids(3);
  const BatchDims dims{2, 3, ids.data()};
  const std::vector<int8_t> x = operands.Codes(6 * s.Elements()), part = operands.Codes(6 * 15 * 7);
  const std::vector<uint8_t> mask = operands.Mask(6, s.Elements()), pooled = operands.Mask(6, s.c);
  const std::vector<float> grad = operands.Floats(6 * s.Elements()),
                           grad_pooled = operands.Floats(6 * s.c);
  const int exponents[2] = {-4, -4};
  for (const bool accumulate : {false, true}) {
    for (const bool relu : {false, true}) {
      std::vector<float> want(x.size(), 1), got(x.size(), 1), want_part(part.size(), 1),
          got_part(part.size(), 1);
      const SumInput whole{x.data(), exponents, 20, relu}, slice{part.data(), exponents, 7, relu};
      ref_->SumBackward(dims, s, whole, 0, mask.data(), grad.data(), want.data(), accumulate);
      cpu_->SumBackward(dims, s, whole, 0, mask.data(), grad.data(), got.data(), accumulate);
      EXPECT_EQ(want, got);
      ref_->SumBackward(dims, s, slice, 13, nullptr, grad.data(), want_part.data(), accumulate);
      cpu_->SumBackward(dims, s, slice, 13, nullptr, grad.data(), got_part.data(), accumulate);
      EXPECT_EQ(want_part, got_part);
      ref_->GlobalSumBackward(dims, s, relu, x.data(), pooled.data(), grad_pooled.data(),
                              want.data(), accumulate);
      cpu_->GlobalSumBackward(dims, s, relu, x.data(), pooled.data(), grad_pooled.data(),
                              got.data(), accumulate);
      EXPECT_LT(RelativeError(want, got), 1e-6);
    }
  }
}

}  // namespace
}  // namespace ftt::test
