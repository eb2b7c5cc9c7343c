// Elementwise backward passes on the device against the reference.
#include "kernels/cuda/backward.h"

#include <cmath>
#include <numeric>

#include "core/half.h"
#include "kernels/ref_backend.h"
#include "tests/cuda/gradients.h"
#include "tests/kernels/parity_util.h"

namespace ftt::cuda::test {
namespace {

using ftt::test::MakeNorm;
using ftt::test::Operands;
using ftt::test::RelativeError;

constexpr double kTolerance = 1e-5;
constexpr int kRawShift = 3;

// As a convolution stores them; exact below 2048.
std::vector<uint16_t> Halves(const std::vector<int32_t>& acc) {
  std::vector<uint16_t> halves;
  for (const int32_t v : acc)
    halves.push_back(ftt::FloatToHalf(std::ldexp(static_cast<float>(v), -kRawShift)));
  return halves;
}

struct BackwardCase {
  int lanes, images;
  Shape map;
  bool batch_norm, affine, masked;
  RawType raw = RawType::kInt32;
};

class CudaBackwardTest : public ::testing::TestWithParam<BackwardCase> {
 protected:
  CudaBackwardTest()
      : case_(GetParam()),
        shape_{case_.lanes, case_.images, case_.map.h, case_.map.w, case_.map.c},
        ids_(static_cast<size_t>(case_.images)),
        dims_{case_.lanes, case_.images, ids_.data()},
        maps_(int64_t{case_.lanes} * case_.images),
        n_(maps_ * case_.map.Elements()),
        mask_(operands_.Mask(maps_, case_.map.Elements())),
        x_(operands_.Codes(n_)),
        grad_(ShortFloats(operands_, n_)) {}

  const uint8_t* HostMask() const { return case_.masked ? mask_.data() : nullptr; }
  void CheckNorm(bool in_place);
  void CheckSum(int offset);
  std::vector<float> Applied(const OutputGradient& y, const DeviceBuffer<float>& map,
                             const std::vector<int32_t>& raw, std::vector<float> grad) const;

  const BackwardCase case_;
  const MapShape shape_;
  std::vector<uint32_t> ids_;
  const BatchDims dims_;
  Operands operands_{6};
  const int64_t maps_, n_;
  const std::vector<uint8_t> mask_;
  const std::vector<int8_t> x_;
  const std::vector<float> grad_;
};

void CudaBackwardTest::CheckNorm(bool in_place) {
  const int c = case_.map.c;
  std::vector<int32_t> acc(static_cast<size_t>(n_));
  for (int32_t& v : acc) v = static_cast<int32_t>(operands_.Below(2001)) - 1000;
  std::vector<LaneNorm> norms;
  std::vector<float> mean, inv_std, unit;
  for (int l = 0; l < case_.lanes; ++l) {
    norms.push_back(MakeNorm(operands_, c, 1, case_.batch_norm));
    mean.insert(mean.end(), norms.back().mean.begin(), norms.back().mean.end());
    inv_std.insert(inv_std.end(), norms.back().inv_std.begin(), norms.back().inv_std.end());
    unit.push_back(norms.back().unit);
  }
  const std::vector<float> gamma = operands_.Floats(c);
  const auto channels = static_cast<size_t>(c);
  std::vector<float> want = grad_, want_gamma(channels, 0.5f), want_beta(channels, 0.25f);
  RefBackend().NormBackward(dims_, case_.map, acc.data(), norms.data(),
                            case_.affine ? gamma.data() : nullptr, HostMask(), want.data(),
                            case_.batch_norm && case_.affine ? want_gamma.data() : nullptr,
                            case_.affine ? want_beta.data() : nullptr, nullptr, nullptr);
  InBothOrders([&] {
    const DeviceBuffer<int32_t> raw(Padded(acc, c, 777));
    const DeviceBuffer<uint16_t> halves(Halves(raw.Get()));
    const DeviceBuffer<float> d_mean(Padded(mean, c)), d_inv_std(Padded(inv_std, c)), d_unit(unit);
    const DeviceBuffer<float> d_gamma(gamma);
    const DeviceBuffer<Bf16> grad(ToBf16(Padded(grad_, c, 9.0f)));
    const DeviceBuffer<uint8_t> mask(PaddedMask(mask_, shape_));
    const size_t rows = static_cast<size_t>(case_.lanes) * static_cast<size_t>(shape_.Stride());
    const DeviceBuffer<GradSums> partials(rows * static_cast<size_t>(NormBackwardBlocks(shape_)));
    const DeviceBuffer<float> map(3 * rows);
    const DeviceBuffer<float> got_gamma(std::vector<float>(channels, 0.5f));
    const DeviceBuffer<float> got_beta(std::vector<float>(channels, 0.25f));
    NormBackwardArguments a;
    a.shape = shape_;
    a.raw_type = case_.raw;
    a.raw_shift = case_.raw == RawType::kHalf ? kRawShift : 0;
    a.raw = raw.Data();
    if (case_.raw == RawType::kHalf) a.raw = halves.Data();
    a.mean = case_.batch_norm ? d_mean.Data() : nullptr;
    a.inv_std = d_inv_std.Data();
    a.unit = d_unit.Data();
    a.gamma = case_.affine ? d_gamma.Data() : nullptr;
    a.mask = case_.masked ? mask.Data() : nullptr;
    a.grad = grad.Data();
    a.partials = partials.Data();
    a.map = map.Data();
    a.grad_gamma = case_.batch_norm && case_.affine ? got_gamma.Data() : nullptr;
    a.grad_beta = case_.affine ? got_beta.Data() : nullptr;
    const OutputGradient y = NormBackward(a, {});
    if (in_place) {
      MapGradient(shape_, y, grad.Data(), {});
      ExpectRounded(want, grad.Get(), c, kTolerance);
    } else {
      const std::vector<float> grads = FromBf16(grad.Get());
      EXPECT_LT(RelativeError(want, Applied(y, map, raw.Get(), grads)), kTolerance);
    }
    EXPECT_LT(RelativeError(want_gamma, got_gamma.Get()), kTolerance);
    EXPECT_LT(RelativeError(want_beta, got_beta.Get()), kTolerance);
  });
}

// What a kernel reads through a deferred gradient, dense.
std::vector<float> CudaBackwardTest::Applied(const OutputGradient& y,
                                             const DeviceBuffer<float>& map,
                                             const std::vector<int32_t>& raw,
                                             std::vector<float> grad) const {
  const auto stride = static_cast<size_t>(shape_.Stride());
  const size_t n = static_cast<size_t>(shape_.lanes) * stride, lane = grad.size() / n * stride;
  const std::vector<uint8_t> mask = PaddedMask(mask_, shape_);
  EXPECT_EQ(y.mask != nullptr, case_.masked);
  EXPECT_EQ(y.raw != nullptr, case_.batch_norm);
  const std::vector<float> pqr = y.raw == nullptr ? std::vector<float>(3 * n) : map.Get();
  for (size_t i = 0; i < grad.size(); ++i) {
    const size_t at = i / lane * stride + i % stride;
    if (i % stride >= static_cast<size_t>(shape_.channels)) {
      EXPECT_EQ(pqr[at], 0.0f);
      EXPECT_EQ(pqr[n + at], 0.0f);
      EXPECT_EQ(pqr[2 * n + at], 0.0f);
      grad[i] = 0;
      continue;
    }
    if (y.mask != nullptr && (mask[i / 8] >> i % 8 & 1) == 0) grad[i] = 0;
    if (y.raw == nullptr) continue;
    const int shift = case_.raw == RawType::kHalf ? kRawShift : 0;
    grad[i] = std::fmaf(std::ldexp(static_cast<float>(raw[i]), -shift), pqr[n + at],
                        std::fmaf(grad[i], pqr[at], pqr[2 * n + at]));
  }
  return Dense(grad, shape_.channels);
}

TEST_P(CudaBackwardTest, Norm) { CheckNorm(false); }
TEST_P(CudaBackwardTest, NormInPlace) { CheckNorm(true); }

void CudaBackwardTest::CheckSum(int offset) {
  const int c = case_.map.c, width = c - offset;
  const int64_t inputs = n_ / c * width;
  const std::vector<int8_t> x = operands_.Codes(inputs);
  const std::vector<float> before = ShortFloats(operands_, inputs);
  for (const bool accumulate : {false, true}) {
    std::vector<float> want = before;
    const int exponent = 0;
    const SumInput input{x.data(), &exponent, width, true};
    RefBackend().SumBackward(dims_, case_.map, input, offset, HostMask(), grad_.data(), want.data(),
                             accumulate);
    const DeviceBuffer<int8_t> d_x(Padded(x, width));
    const DeviceBuffer<uint8_t> mask(PaddedMask(mask_, shape_));
    const DeviceBuffer<Bf16> grad_y(ToBf16(Padded(grad_, c, 9.0f)));
    const DeviceBuffer<Bf16> grad_x(ToBf16(Padded(before, width)));
    SumBackward({shape_, width, offset, true, d_x.Data(), case_.masked ? mask.Data() : nullptr,
                 grad_y.Data(), grad_x.Data(), accumulate},
                {});
    EXPECT_EQ(RoundedToBf16(want), Dense(FromBf16(grad_x.Get()), width));
  }
}

TEST_P(CudaBackwardTest, SumAndConcat) {
  // With and without vectors of four channels in common with the output.
  for (const int offset : {0, 3, 4}) {
    if (offset < case_.map.c) CheckSum(offset);
  }
}

// Several inputs in one launch: what each would get alone.
TEST_P(CudaBackwardTest, SumOfSeveralInputs) {
  const int c = case_.map.c;
  const DeviceBuffer<uint8_t> mask(PaddedMask(mask_, shape_));
  const DeviceBuffer<Bf16> grad_y(ToBf16(Padded(grad_, c, 9.0f)));
  std::vector<DeviceBuffer<int8_t>> codes;
  std::vector<DeviceBuffer<Bf16>> apart, together;
  std::vector<SumBackwardArguments> inputs;
  for (int k = 0; k < 3; ++k) {
    codes.emplace_back(Padded(operands_.Codes(n_), c));
    const std::vector<Bf16> before = ToBf16(Padded(operands_.Floats(n_), c));
    apart.emplace_back(before);
    together.emplace_back(before);
    SumBackwardArguments a{shape_,
                           c,
                           0,
                           k != 1,
                           codes.back().Data(),
                           case_.masked ? mask.Data() : nullptr,
                           grad_y.Data(),
                           apart.back().Data(),
                           k == 2};
    SumBackward(a, {});
    a.grad_x = together.back().Data();
    inputs.push_back(a);
  }
  SumBackwardAll(inputs, {}, {});
  for (size_t k = 0; k < 3; ++k) EXPECT_EQ(apart[k].Get(), together[k].Get()) << k;
}

// Inputs that share the sum's gradient, alone and beside one that does not.
TEST_P(CudaBackwardTest, MasksOfSharedGradients) {
  const int c = case_.map.c;
  const std::vector<uint8_t> sum = PaddedMask(mask_, shape_);
  const DeviceBuffer<uint8_t> mask(sum);
  const DeviceBuffer<Bf16> grad_y(ToBf16(Padded(grad_, c)));
  const std::vector<float> want_x = Dense(
      FromBf16([&] {
        const DeviceBuffer<Bf16> grad_x(grad_y.Size());
        SumBackward(
            {shape_, c, 0, false, nullptr, mask.Data(), grad_y.Data(), grad_x.Data(), false}, {});
        return grad_x.Get();
      }()),
      c);
  for (const bool beside : {false, true}) {
    std::vector<DeviceBuffer<uint8_t>> masks;
    std::vector<std::vector<uint8_t>> want;
    CutMasksArguments cut{shape_, mask.Data()};
    for (; cut.count < 3; ++cut.count) {
      want.push_back(PaddedMask(operands_.Mask(maps_, case_.map.Elements()), shape_));
      masks.emplace_back(want.back());
      for (size_t i = 0; i < sum.size(); ++i)
        want.back()[i] = static_cast<uint8_t>(want.back()[i] & sum[i]);
      cut.masks[cut.count] = masks.back().Data();
    }
    const DeviceBuffer<Bf16> grad_x(grad_y.Size());
    std::vector<SumBackwardArguments> inputs;
    if (beside) {
      inputs.push_back(
          {shape_, c, 0, false, nullptr, mask.Data(), grad_y.Data(), grad_x.Data(), false});
    }
    SumBackwardAll(inputs, cut, {});
    for (size_t k = 0; k < 3; ++k) EXPECT_EQ(want[k], masks[k].Get()) << k;
    if (beside) {
      EXPECT_EQ(want_x, Dense(FromBf16(grad_x.Get()), c));
    }
  }
}

TEST_P(CudaBackwardTest, GlobalSum) {
  const int c = case_.map.c;
  const std::vector<float> grad_y = ShortFloats(operands_, maps_ * c);
  const std::vector<uint8_t> mask = operands_.Mask(maps_, c);
  const MapShape pooled{case_.lanes, case_.images, 1, 1, c};
  for (const bool accumulate : {false, true}) {
    std::vector<float> want = grad_;
    RefBackend().GlobalSumBackward(dims_, case_.map, true, x_.data(),
                                   case_.masked ? mask.data() : nullptr, grad_y.data(), want.data(),
                                   accumulate);
    const DeviceBuffer<int8_t> x(Padded(x_, c));
    const DeviceBuffer<uint8_t> d_mask(PaddedMask(mask, pooled));
    const DeviceBuffer<Bf16> d_y(ToBf16(Padded(grad_y, c, 9.0f)));
    const DeviceBuffer<Bf16> grad_x(ToBf16(Padded(grad_, c)));
    GlobalSumBackward({shape_, true, x.Data(), case_.masked ? d_mask.Data() : nullptr, d_y.Data(),
                       grad_x.Data(), accumulate},
                      {});
    EXPECT_EQ(RoundedToBf16(want), Dense(FromBf16(grad_x.Get()), c));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, CudaBackwardTest,
    ::testing::Values(BackwardCase{1, 1, {1, 1, 1}, true, true, true},
                      BackwardCase{2, 3, {7, 5, 20}, true, false, true},
                      BackwardCase{5, 2, {3, 5, 7}, true, true, false},
                      BackwardCase{2, 3, {11, 13, 17}, false, true, true},
                      BackwardCase{2, 1, {5, 5, 40}, false, false, true},
                      BackwardCase{1, 1, {3, 3, 600}, true, true, true},
                      // More channels than threads take at once.
                      BackwardCase{1, 2, {2, 1, 1100}, true, true, true},
                      // More lanes than a block adds up at once.
                      BackwardCase{35, 1, {3, 2, 5}, true, true, true},
                      // Many rows of sums.
                      BackwardCase{2, 3, {32, 32, 20}, true, true, true},
                      // More pixels than blocks take at once, planned for one multiprocessor.
                      BackwardCase{1, 2, {25, 26, 1100}, true, true, true},
                      BackwardCase{1, 2, {25, 26, 1100}, false, true, false, RawType::kHalf},
                      BackwardCase{3, 2, {9, 8, 50}, true, true, true, RawType::kHalf}));

}  // namespace
}  // namespace ftt::cuda::test
