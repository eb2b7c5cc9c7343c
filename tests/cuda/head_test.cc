// Classifier, loss and optimizer on the device against the reference and the engine's formulas.
#include "kernels/cuda/head.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "engine/loss.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/ref_backend.h"
#include "tests/cuda/layout.h"
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
      const DeviceBuffer<float> grad_x(static_cast<size_t>(rows * PaddedChannels(c.in)));
      LinearBackward({c.lanes, c.images, c.in, c.out, d_x.Data(), x_exponents.Data(), d_w.Data(),
                      w.keep.empty() ? nullptr : weight_keep.Data(), copies == 1, w_exponent.Data(),
                      c.keep ? d_keep.Data() : nullptr, keep_scale, d_grad.Data(), grad_x.Data(),
                      grad_w.Data(), grad_bias.Data()},
                     {});
      EXPECT_LT(RelativeError(want_x, Dense(grad_x.Get(), c.in)), 1e-6);
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

INSTANTIATE_TEST_SUITE_P(All, CudaHeadTest,
                         ::testing::Values(HeadCase{1, 1, 1, 1, false},
                                           HeadCase{2, 3, 17, 10, true},
                                           HeadCase{5, 2, 80, 7, true},
                                           HeadCase{2, 300, 40, 10, false}));

// The update of engine/optimizer.cc on one flat list.
TEST(CudaOptimizerTest, SgdFollowsTheEngine) {
  for (const bool nesterov : {false, true}) {
    for (const float clip : {0.0f, 5.0f}) {
      Operands operands(2);
      const std::vector<int> counts = {1, 3, kSgdChunk, 777};
      std::deque<DeviceBuffer<float>> values, velocities, gradients;
      std::vector<std::vector<float>> value, velocity, gradient;
      std::vector<SgdChunk> chunks;
      double squares = 0;
      for (const int n : counts) {
        value.push_back(operands.Floats(n));
        velocity.push_back(operands.Floats(n));
        gradient.push_back(operands.Floats(n));
        for (const float g : gradient.back()) squares += double{g} * g;
        values.emplace_back(value.back());
        velocities.emplace_back(velocity.back());
        gradients.emplace_back(gradient.back());
        chunks.push_back(
            {values.back().Data(), velocities.back().Data(), gradients.back().Data(), n});
      }
      const DeviceBuffer<SgdChunk> d_chunks(chunks);
      const DeviceBuffer<double> partials(chunks.size()), norm(1);
      SgdStep({d_chunks.Data(), static_cast<int>(chunks.size()), 0.1f, 0.9f, nesterov, 1e-2f, clip,
               partials.Data(), norm.Data()},
              {});
      const double want_norm = std::sqrt(squares);
      EXPECT_NEAR(want_norm, norm.Get()[0], 1e-9 * want_norm);
      const float scale =
          clip > 0 && want_norm > clip ? static_cast<float>(clip / want_norm) : 1.0f;
      for (size_t k = 0; k < value.size(); ++k) {
        for (size_t i = 0; i < value[k].size(); ++i) {
          const float g = gradient[k][i] * scale + 1e-2f * value[k][i];
          const float v = 0.9f * velocity[k][i] + g;
          velocity[k][i] = v;
          value[k][i] -= 0.1f * (nesterov ? g + 0.9f * v : v);
        }
        EXPECT_EQ(value[k], values[k].Get());
        EXPECT_EQ(velocity[k], velocities[k].Get());
      }
    }
  }
}

TEST(CudaOptimizerTest, NothingMovesWhenTheGradientIsNotFinite) {
  const std::vector<float> before = {1.0f, 2.0f};
  const DeviceBuffer<float> value(before), velocity(before);
  const DeviceBuffer<float> gradient(
      std::vector<float>{std::numeric_limits<float>::quiet_NaN(), 1.0f});
  const DeviceBuffer<SgdChunk> chunks(
      std::vector<SgdChunk>{{value.Data(), velocity.Data(), gradient.Data(), 2}});
  const DeviceBuffer<double> partials(1), norm(1);
  SgdStep({chunks.Data(), 1, 0.1f, 0.9f, false, 0, 5, partials.Data(), norm.Data()}, {});
  EXPECT_TRUE(std::isnan(norm.Get()[0]));
  EXPECT_EQ(before, value.Get());
  EXPECT_EQ(before, velocity.Get());
}

}  // namespace
}  // namespace ftt::cuda::test
