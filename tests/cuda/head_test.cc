// Classifier, loss and optimizer on the device against the reference and the engine's formulas.
#include "kernels/cuda/head.h"

#include <fmt/format.h>

#include <cmath>
#include <deque>
#include <limits>
#include <numeric>

#include "engine/loss.h"
#include "engine/optimizer.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/ref_backend.h"
#include "tests/cuda/gradients.h"
#include "tests/kernels/parity_util.h"

namespace ftt::cuda::test {
namespace {

using ftt::test::MakeWeights;
using ftt::test::Operands;
using ftt::test::RelativeError;

struct HeadCase {
  int lanes, images, in, out;
  bool keep;
};

class CudaHeadTest : public ::testing::TestWithParam<HeadCase> {};

TEST_P(CudaHeadTest, Linear) {
  const HeadCase c = GetParam();
  Operands operands(3);
  const std::vector<uint32_t> ids(static_cast<size_t>(c.images));
  const std::vector<int8_t> x = operands.Codes(int64_t{c.lanes} * c.images * c.in);
  const WeightCodes w = MakeWeights(operands, int64_t{c.in} * c.out, c.lanes, false);
  const std::vector<float> unit = operands.Floats(c.lanes), bias = operands.Floats(c.out);
  std::vector<uint8_t> keep(static_cast<size_t>(c.images * c.in));
  for (uint8_t& k : keep) k = static_cast<uint8_t>(operands.Below(3) != 0);
  std::vector<float> want(static_cast<size_t>(c.lanes * c.images * c.out));
  RefBackend().Linear({c.lanes, c.images, ids.data()}, c.in, c.out, x.data(), w, unit.data(),
                      bias.data(), c.keep ? keep.data() : nullptr, want.data());
  const DeviceBuffer<int8_t> d_x(Padded(x, c.in)), d_w(w.codes);
  const DeviceBuffer<float> d_unit(unit), d_bias(bias), logits(want.size());
  const DeviceBuffer<uint8_t> d_keep(keep);
  InBothOrders([&] {
    Linear({c.lanes, c.images, c.in, c.out, d_x.Data(), d_w.Data(), false, d_unit.Data(),
            d_bias.Data(), c.keep ? d_keep.Data() : nullptr, logits.Data()},
           {});
    EXPECT_EQ(want, logits.Get());
  });
}

TEST_P(CudaHeadTest, LinearBackward) {
  const HeadCase c = GetParam();
  Operands operands(5);
  const std::vector<uint32_t> ids(static_cast<size_t>(c.images));
  const int64_t rows = int64_t{c.lanes} * c.images;
  const std::vector<int8_t> x = operands.Codes(rows * c.in);
  const std::vector<float> grad = operands.Floats(rows * c.out);
  std::vector<int> exponents;
  std::vector<float> units;
  for (int l = 0; l < c.lanes; ++l) {
    exponents.push_back(l % 3 - 6);
    units.push_back(PowerOfTwo(exponents.back()));
  }
  std::vector<uint8_t> keep(static_cast<size_t>(c.images * c.in));
  for (uint8_t& k : keep) k = static_cast<uint8_t>(operands.Below(3) != 0);
  const std::vector<float> before_w = operands.Floats(int64_t{c.in} * c.out);
  const std::vector<float> before_bias = operands.Floats(c.out);
  const float keep_scale = c.keep ? 1.5f : 1.0f;
  for (const int copies : {1, c.lanes}) {
    const WeightCodes w = MakeWeights(operands, int64_t{c.in} * c.out, copies, c.keep);
    std::vector<float> want_x(x.size()), want_w = before_w, want_bias = before_bias;
    RefBackend().LinearBackward({c.lanes, c.images, ids.data()}, c.in, c.out, x.data(),
                                units.data(), w, c.keep ? keep.data() : nullptr, keep_scale,
                                grad.data(), want_x.data(), want_w.data(), want_bias.data());
    InBothOrders([&] {
      const DeviceBuffer<int8_t> d_x(Padded(x, c.in)), d_w(w.codes);
      const DeviceBuffer<uint8_t> d_keep(keep), weight_keep(w.keep);
      const DeviceBuffer<int> x_exponents(exponents), w_exponent(std::vector<int>{w.exponent});
      const DeviceBuffer<float> d_grad(grad), grad_w(before_w), grad_bias(before_bias);
      const DeviceBuffer<Bf16> grad_x(static_cast<size_t>(rows * PaddedChannels(c.in)));
      LinearBackward({c.lanes, c.images, c.in, c.out, d_x.Data(), x_exponents.Data(), d_w.Data(),
                      w.keep.empty() ? nullptr : weight_keep.Data(), copies == 1, w_exponent.Data(),
                      c.keep ? d_keep.Data() : nullptr, keep_scale, d_grad.Data(), grad_x.Data(),
                      grad_w.Data(), grad_bias.Data()},
                     {});
      ExpectRounded(want_x, grad_x.Get(), c.in, 1e-6);
      EXPECT_LT(RelativeError(want_w, grad_w.Get()), 1e-5);
      EXPECT_LT(RelativeError(want_bias, grad_bias.Get()), 1e-5);
    });
  }
}

TEST_P(CudaHeadTest, Loss) {
  const HeadCase c = GetParam();
  Operands operands(8);
  const int64_t per_lane = int64_t{c.images} * c.out;
  std::vector<float> logits = operands.Floats(c.lanes * per_lane);
  for (float& z : logits) z = std::rint(z * 8) / 2;  // ties
  std::vector<uint8_t> labels(static_cast<size_t>(c.images));
  for (uint8_t& l : labels) l = static_cast<uint8_t>(operands.Below(static_cast<uint32_t>(c.out)));
  const std::vector<float> weight = operands.Floats(c.lanes);
  const DeviceBuffer<float> d_logits(logits), d_weight(weight), d_grad(logits.size());
  const DeviceBuffer<uint8_t> d_labels(labels);
  const DeviceBuffer<LaneLoss> losses(static_cast<size_t>(c.lanes));
  SoftmaxCrossEntropy({c.lanes, c.images, c.out, d_logits.Data(), d_labels.Data(), d_weight.Data(),
                       d_grad.Data(), losses.Data()},
                      {});
  std::vector<float> want_grad(logits.size());
  for (int lane = 0; lane < c.lanes; ++lane) {
    const LossResult want = ftt::SoftmaxCrossEntropy(
        c.images, c.out, logits.data() + lane * per_lane, labels.data(),
        weight[static_cast<size_t>(lane)], want_grad.data() + lane * per_lane);
    const LaneLoss got = losses.Get()[static_cast<size_t>(lane)];
    EXPECT_NEAR(want.mean, got.mean, 1e-9);
    EXPECT_EQ(want.correct, got.correct);
  }
  EXPECT_LT(RelativeError(want_grad, d_grad.Get()), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(
    All, CudaHeadTest,
    ::testing::Values(HeadCase{1, 1, 1, 1, false}, HeadCase{2, 3, 17, 10, true},
                      HeadCase{5, 2, 80, 7, true}, HeadCase{2, 300, 40, 10, false},
                      HeadCase{2, 3, 260, 103, true}, HeadCase{1, 2, 600, 5, false}));

// Parameters of odd sizes on the device and in a store, with the same state and gradient.
class UpdateCase {
 public:
  explicit UpdateCase(bool adam) : operands_(2) {
    for (const int n : {1, 3, kUpdateChunk, 777}) {
      const ParamInfo info{fmt::format("p{}", n), ParamKind::kGamma, {n}};
      program_.params.push_back(info);
      Param& p = params_.Get(info);
      p.value = operands_.Floats(n);
      p.momentum = operands_.Floats(n);
      if (adam) p.second_moment = Squared(operands_.Floats(n));
      p.updates = n;
      const std::vector<float> gradient = operands_.Floats(n);
      gradient_.insert(gradient_.end(), gradient.begin(), gradient.end());
      values_.emplace_back(p.value);
      momenta_.emplace_back(p.momentum);
      second_.emplace_back(p.second_moment);
      gradients_.emplace_back(gradient);
    }
  }
  // The chunks for the next update.
  UpdateArguments Arguments(const OptimizerOptions& o) {
    std::vector<UpdateChunk> chunks;
    for (size_t k = 0; k < values_.size(); ++k) {
      const int64_t updates = params_.Get(program_.params[k]).updates + 1;
      const AdamCorrections corrections = CorrectionsOf(o, updates);
      chunks.push_back({values_[k].Data(), momenta_[k].Data(), second_[k].Data(),
                        gradients_[k].Data(), static_cast<int>(values_[k].Size()),
                        corrections.first, corrections.second});
    }
    chunks_.emplace_back(chunks);
    return {chunks_.back().Data(),
            static_cast<int>(chunks.size()),
            rate_.Data(),
            o.weight_decay,
            o.clip,
            partials_.Data(),
            norm_.Data()};
  }
  // Updates the store and compares everything with the device.
  void Check(const OptimizerOptions& o) {
    std::vector<float> gradient = gradient_;
    const double norm = OptimizerStep(o, program_, params_, gradient, kRate);
    EXPECT_NEAR(norm, norm_.Get()[0], 1e-9 * norm);
    for (size_t k = 0; k < values_.size(); ++k) {
      const Param& p = params_.Get(program_.params[k]);
      EXPECT_EQ(p.value, values_[k].Get());
      EXPECT_EQ(p.momentum, momenta_[k].Get());
      EXPECT_EQ(p.second_moment, second_[k].Get());
    }
  }

 private:
  static constexpr float kRate = 0.1f;
  static std::vector<float> Squared(std::vector<float> v) {
    for (float& x : v) x *= x;
    return v;
  }

  Operands operands_;
  Program program_;
  ParamStore params_{1};
  std::vector<float> gradient_;
  std::deque<DeviceBuffer<float>> values_, momenta_, second_, gradients_;
  std::deque<DeviceBuffer<UpdateChunk>> chunks_;
  DeviceBuffer<float> rate_{std::vector<float>{kRate}};
  DeviceBuffer<double> partials_{4}, norm_{1};
};

TEST(CudaOptimizerTest, SgdFollowsTheEngine) {
  for (const bool nesterov : {false, true}) {
    for (const float clip : {0.0f, 5.0f}) {
      OptimizerOptions o;
      o.nesterov = nesterov;
      o.weight_decay = 1e-2f;
      o.clip = clip;
      UpdateCase c(false);
      SgdStep({c.Arguments(o), o.momentum, nesterov}, {});
      c.Check(o);
    }
  }
}

TEST(CudaOptimizerTest, AdamFollowsTheEngine) {
  for (const float clip : {0.0f, 5.0f}) {
    OptimizerOptions o;
    o.kind = "adam";
    o.weight_decay = 1e-2f;
    o.clip = clip;
    UpdateCase c(true);
    for (int step = 0; step < 2; ++step) {
      SCOPED_TRACE(step);
      AdamStep({c.Arguments(o), o.beta1, o.beta2, o.epsilon}, {});
      c.Check(o);
    }
  }
}

TEST(CudaOptimizerTest, NothingMovesWhenTheGradientIsNotFinite) {
  const std::vector<float> before = {1.0f, 2.0f};
  const DeviceBuffer<float> value(before), momentum(before), second(before);
  const DeviceBuffer<float> gradient(
      std::vector<float>{std::numeric_limits<float>::quiet_NaN(), 1.0f});
  const DeviceBuffer<float> rate(std::vector<float>{0.1f});
  const DeviceBuffer<UpdateChunk> chunks(
      std::vector<UpdateChunk>{{value.Data(), momentum.Data(), second.Data(), gradient.Data(), 2}});
  const DeviceBuffer<double> partials(1), norm(1);
  const UpdateArguments update{chunks.Data(), 1, rate.Data(), 0, 5, partials.Data(), norm.Data()};
  SgdStep({update, 0.9f, false}, {});
  EXPECT_TRUE(std::isnan(norm.Get()[0]));
  AdamStep({update}, {});
  EXPECT_TRUE(std::isnan(norm.Get()[0]));
  EXPECT_EQ(before, value.Get());
  EXPECT_EQ(before, momentum.Get());
  EXPECT_EQ(before, second.Get());
}

}  // namespace
}  // namespace ftt::cuda::test
