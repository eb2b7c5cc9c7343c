// The elementwise passes of every instruction set that this machine has against the plain loops,
// over sizes around the vectors' lengths and unaligned starts. Integers, codes and single float
// operations agree bit for bit, sums of floats up to their order.
#include "kernels/cpu/elementwise.h"
#include "core/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <limits>

#include "tests/kernels/parity_util.h"

namespace ftt::test {
namespace {

using cpu::Elementwise;

constexpr int64_t kSizes[] = {1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 517};
constexpr int kGuard = 40;  // elements before and behind what a pass may write

// What a pass writes: n elements at an odd place, between guards that must stay.
template <typename T>
struct Output {
  Output(int64_t n, T fill) : size(n), memory(static_cast<size_t>(n + 2 * kGuard + 1), fill) {}
  Output(const std::vector<T>& start, T guard) : Output(std::ssize(start), guard) {
    std::copy(start.begin(), start.end(), Data());
  }
  T* Data() { return memory.data() + kGuard + 1; }
  int64_t size;
  std::vector<T> memory;
};

// The bits of floats, so that NaN and signed zeros count.
std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits(values.size());
  std::memcpy(bits.data(), values.data(), values.size() * sizeof(float));
  return bits;
}

class ElementwiseTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    tested_ = cpu::GetElementwise(GetParam());
    if (tested_ == nullptr) GTEST_SKIP() << "this machine lacks " << GetParam();
  }
  // A vector with `n` elements from an odd place on.
  template <typename T>
  static const T* Odd(std::vector<T>& v) {
    v.insert(v.begin(), T{});
    return v.data() + 1;
  }
  std::vector<int32_t> Sums(int64_t n, int32_t range) {
    std::vector<int32_t> out(static_cast<size_t>(n));
    for (int32_t& v : out)
      v = static_cast<int32_t>(operands_.Below(2 * static_cast<uint32_t>(range))) - range;
    return out;
  }

  Operands operands_{17};
  const Elementwise* tested_ = nullptr;
  const Elementwise& plain_ = *cpu::GetElementwise("generic");
};

TEST_P(ElementwiseTest, CodesToOtherTypes) {
  for (const int64_t n : kSizes) {
    std::vector<int8_t> codes = operands_.Codes(n);
    codes.front() = -128;
    codes.back() = 127;
    const int8_t* x = Odd(codes);
    Output<uint8_t> want_u8(n, 9), got_u8(n, 9);
    plain_.relu_u8(x, n, want_u8.Data());
    tested_->relu_u8(x, n, got_u8.Data());
    EXPECT_EQ(want_u8.memory, got_u8.memory) << n;
    Output<int32_t> want_wide(n, 9), got_wide(n, 9);
    plain_.widen_codes(x, n, want_wide.Data());
    tested_->widen_codes(x, n, got_wide.Data());
    EXPECT_EQ(want_wide.memory, got_wide.memory) << n;
    for (const bool relu : {false, true}) {
      Output<float> want(n, 9), got(n, 9);
      plain_.to_float(x, n, relu, want.Data());
      tested_->to_float(x, n, relu, got.Data());
      EXPECT_EQ(Bits(want.memory), Bits(got.memory)) << n << " " << relu;
      Output<uint16_t> want_bf16(n, 9), got_bf16(n, 9);
      plain_.to_bf16(x, n, relu, want_bf16.Data());
      tested_->to_bf16(x, n, relu, got_bf16.Data());
      EXPECT_EQ(want_bf16.memory, got_bf16.memory) << n << " " << relu;
    }
  }
}

TEST_P(ElementwiseTest, AddFloats) {
  for (const int64_t n : kSizes) {
    std::vector<float> floats;
    for (const int32_t v : Sums(n, 1 << 24)) floats.push_back(static_cast<float>(v));
    const float* x = Odd(floats);
    for (const bool accumulate : {false, true}) {
      Output<int32_t> want(Sums(n, 1 << 24), 9), got = want;
      plain_.add_floats(x, n, accumulate, want.Data());
      tested_->add_floats(x, n, accumulate, got.Data());
      EXPECT_EQ(want.memory, got.memory) << n << " " << accumulate;
    }
  }
}

TEST_P(ElementwiseTest, FloatsToBf16) {
  for (const int64_t n : kSizes) {
    std::vector<float> floats = operands_.Floats(n);
    std::vector<uint8_t> mask = operands_.Mask(1, n);
    const float* x = Odd(floats);
    for (const uint8_t* m : {static_cast<const uint8_t*>(nullptr), Odd(mask)}) {
      Output<uint16_t> want(n, 9), got(n, 9);
      plain_.floats_to_bf16(x, m, n, want.Data());
      tested_->floats_to_bf16(x, m, n, got.Data());
      EXPECT_EQ(want.memory, got.memory) << n;
    }
  }
}

TEST_P(ElementwiseTest, PassGrad) {
  for (const int64_t n : kSizes) {
    std::vector<float> grad = operands_.Floats(n);
    std::vector<int8_t> codes = operands_.Codes(n);
    codes.front() = 0;  // not above 0
    const std::vector<float> before = operands_.Floats(n);
    std::vector<uint8_t> mask = operands_.Mask(1, n);
    const float* g = Odd(grad);
    const int8_t* x = Odd(codes);
    const uint8_t* odd_mask = Odd(mask);
    for (const uint8_t* m : {static_cast<const uint8_t*>(nullptr), odd_mask}) {
      for (const int flags : {0, 1, 2, 3}) {
        const bool relu = (flags & 1) != 0, accumulate = (flags & 2) != 0;
        for (const float scale : {1.0f, 0.0625f, 1.0f / 9}) {
          Output<float> want(before, 9), got(before, 9);
          plain_.pass_grad(g, scale, relu ? x : nullptr, relu, m, n, accumulate, want.Data());
          tested_->pass_grad(g, scale, relu ? x : nullptr, relu, m, n, accumulate, got.Data());
          EXPECT_EQ(Bits(want.memory), Bits(got.memory))
              << n << " flags " << flags << " scale " << scale << " mask " << (m != nullptr);
        }
      }
    }
  }
}

TEST_P(ElementwiseTest, PassSlice) {
  for (const int c : {1, 3, 4, 8, 12, 20, 33}) {
    const int64_t pixels = 5, step = c + 7;
    std::vector<float> grad = operands_.Floats(pixels * step);
    const std::vector<float> before = operands_.Floats(pixels * c);
    const float* g = Odd(grad);
    for (const bool accumulate : {false, true}) {
      Output<float> want(before, 9), got(before, 9);
      plain_.pass_slice(g, pixels, step, c, accumulate, want.Data());
      tested_->pass_slice(g, pixels, step, c, accumulate, got.Data());
      EXPECT_EQ(Bits(want.memory), Bits(got.memory)) << c << " " << accumulate;
    }
  }
}

TEST_P(ElementwiseTest, MaskRelu) {
  for (const int64_t n : kSizes) {
    std::vector<int8_t> codes = operands_.Codes(n);
    codes.front() = 0;  // not above 0
    const std::vector<uint8_t> before = operands_.Mask(1, n);
    const int8_t* x = Odd(codes);
    Output<uint8_t> want(before, 9), got(before, 9);
    plain_.mask_relu(x, n, want.Data());
    tested_->mask_relu(x, n, got.Data());
    EXPECT_EQ(want.memory, got.memory) << n;
    EXPECT_EQ(want.Data()[0] & 1, 0);
  }
}

TEST_P(ElementwiseTest, Quantize) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const int channels : {1, 3, 16, 20, 48}) {
    const int period = cpu::ChannelPeriod(channels);
    std::vector<float> scale, shift;
    for (int j = 0; j < period; ++j) {
      scale.push_back(0.001f * static_cast<float>(1 + j % channels));
      shift.push_back(static_cast<float>(j % channels) - 2.5f);
    }
    for (const int64_t n : kSizes) {
      std::vector<int32_t> acc = Sums(n, 200000);
      for (int64_t i = 0; i < n; i += 5)
        acc[static_cast<size_t>(i)] = static_cast<int32_t>(500 * i);
      acc.front() = INT32_MIN;
      acc.back() = INT32_MAX;
      const int32_t* from = Odd(acc);
      for (const float factor : {1.0f, 1000.0f, 1e20f, kNan}) {
        std::vector<float> scales = scale;
        for (float& s : scales) s *= factor;
        for (const int bits : {2, 4, 8}) {
          Output<int8_t> want(n, 9), got(n, 9), unmasked(n, 9);
          Output<uint8_t> want_mask(MaskBytes(n), 9), got_mask(MaskBytes(n), 9);
          plain_.ints.quantize(from, n, period, scales.data(), shift.data(), CodeMin(bits),
                               CodeMax(bits), want.Data(), want_mask.Data());
          tested_->ints.quantize(from, n, period, scales.data(), shift.data(), CodeMin(bits),
                                 CodeMax(bits), got.Data(), got_mask.Data());
          tested_->ints.quantize(from, n, period, scales.data(), shift.data(), CodeMin(bits),
                                 CodeMax(bits), unmasked.Data(), nullptr);
          EXPECT_EQ(want.memory, got.memory) << n << " " << channels << " " << factor;
          EXPECT_EQ(want.memory, unmasked.memory) << n << " " << channels << " " << factor;
          EXPECT_EQ(want_mask.memory, got_mask.memory) << n << " " << channels << " " << factor;
        }
      }
    }
  }
}

TEST_P(ElementwiseTest, StatsAndNormGradients) {
  for (const int channels : {1, 3, 16, 17, 20, 64}) {
    const int period = cpu::ChannelPeriod(channels);
    const auto wide = static_cast<size_t>(period);
    const std::vector<float> p = operands_.Floats(period), q = operands_.Floats(period),
                             r = operands_.Floats(period);
    for (const int64_t pixels : {int64_t{1}, int64_t{5}, int64_t{64}, int64_t{323}}) {
      const int64_t n = pixels * channels;
      std::vector<int32_t> sums = Sums(n, 3000);
      std::vector<float> grads = operands_.Floats(n);
      std::vector<uint8_t> masks = operands_.Mask(1, n);
      const int32_t* acc = Odd(sums);
      const float* grad = Odd(grads);
      const uint8_t* odd_mask = Odd(masks);
      std::vector<double> want_s(wide, 1), want_q(wide, 2), got_s(want_s), got_q(want_q);
      std::vector<int32_t> want_min(wide, INT32_MAX), want_max(wide, INT32_MIN), got_min(want_min),
          got_max(want_max);
      plain_.stats(acc, n, period, want_s.data(), want_q.data(), want_min.data(), want_max.data(),
                   1, nullptr);
      tested_->stats(acc, n, period, got_s.data(), got_q.data(), got_min.data(), got_max.data(), 1,
                     nullptr);
      EXPECT_EQ(want_min, got_min);
      EXPECT_EQ(want_max, got_max);
      for (size_t j = 0; j < wide; ++j) {
        EXPECT_NEAR(want_s[j], got_s[j],
                    1e-6 * std::sqrt(want_q[j] * static_cast<double>(n)) + 1e-9);
        EXPECT_NEAR(want_q[j], got_q[j], 1e-6 * want_q[j]);
      }
      for (const uint8_t* mask : {static_cast<const uint8_t*>(nullptr), odd_mask}) {
        std::vector<double> want_g(wide, 1), want_gx(wide, 2), got_g(want_g), got_gx(want_gx);
        plain_.ints.norm_backward_sums(acc, n, period, q.data(), r.data(), mask, grad,
                                       want_g.data(), want_gx.data(), nullptr);
        tested_->ints.norm_backward_sums(acc, n, period, q.data(), r.data(), mask, grad,
                                         got_g.data(), got_gx.data(), nullptr);
        for (size_t j = 0; j < wide; ++j) {
          EXPECT_NEAR(want_g[j], got_g[j], 1e-6 * static_cast<double>(n) + 1e-9);
          EXPECT_NEAR(want_gx[j], got_gx[j], 1e-6 * 3000 * static_cast<double>(n));
        }
        const cpu::NormCoefficients k{p.data(), q.data(), r.data()};
        Output<float> want(n, 9), got(n, 9);
        plain_.ints.norm_backward_apply(acc, n, period, k, mask, grad, want.Data());
        tested_->ints.norm_backward_apply(acc, n, period, k, mask, grad, got.Data());
        EXPECT_EQ(Bits(want.memory), Bits(got.memory)) << n << " " << channels;
        Output<uint16_t> want_bf16(n, 9), got_bf16(n, 9);
        plain_.ints.norm_backward_bf16(acc, n, period, k, mask, grad, want_bf16.Data());
        tested_->ints.norm_backward_bf16(acc, n, period, k, mask, grad, got_bf16.Data());
        EXPECT_EQ(want_bf16.memory, got_bf16.memory) << n << " " << channels;
      }
    }
  }
}

// Passes over halves against the same over the integers that they stand for, bit for bit.
TEST_P(ElementwiseTest, HalvesAsTheIntegersTheyStandFor) {
  constexpr int kShift = 7;
  const float up = 1 << kShift;
  for (const int channels : {1, 16, 17, 20, 544}) {
    const int period = cpu::ChannelPeriod(channels);
    const std::vector<float> p = operands_.Floats(period), r = operands_.Floats(period);
    std::vector<float> scale, scale_up;
    for (int j = 0; j < period; ++j) {
      scale.push_back(0.003f * static_cast<float>(1 + j % channels % 7));
      scale_up.push_back(scale.back() * up);
    }
    for (const int64_t pixels : {int64_t{1}, int64_t{37}, int64_t{150}}) {
      const int64_t n = pixels * channels;
      std::vector<int32_t> sums = Sums(n, 40000);
      std::vector<float> grads = operands_.Floats(n);
      std::vector<uint8_t> masks = operands_.Mask(1, n);
      const std::vector<int32_t> exact = sums;
      std::vector<double> s(static_cast<size_t>(period)), q(s);
      std::vector<int32_t> low(s.size(), INT32_MAX), high(s.size(), INT32_MIN);
      Output<uint16_t> halves(n, 9), want_halves(n, 9);
      tested_->stats(exact.data(), n, period, s.data(), q.data(), low.data(), high.data(), 1 / up,
                     halves.Data());
      for (int64_t i = 0; i < n; ++i) {
        const uint16_t half = FloatToHalf(static_cast<float>(sums[static_cast<size_t>(i)]) / up);
        want_halves.Data()[i] = half;
        sums[static_cast<size_t>(i)] = static_cast<int32_t>(HalfToFloat(half) * up);
      }
      ASSERT_EQ(want_halves.memory, halves.memory) << n << " " << channels;
      const uint16_t* h = halves.Data();
      const int32_t* acc = Odd(sums);
      const float* grad = Odd(grads);
      const uint8_t* mask = Odd(masks);
      Output<int8_t> want_codes(n, 9), codes(n, 9);
      Output<uint8_t> want_mask(MaskBytes(n), 9), inside(MaskBytes(n), 9);
      tested_->ints.quantize(acc, n, period, scale.data(), r.data(), -128, 127, want_codes.Data(),
                             want_mask.Data());
      tested_->halves.quantize(h, n, period, scale_up.data(), r.data(), -128, 127, codes.Data(),
                               inside.Data());
      EXPECT_EQ(want_codes.memory, codes.memory) << n << " " << channels;
      EXPECT_EQ(want_mask.memory, inside.memory) << n << " " << channels;
      const cpu::NormCoefficients k{p.data(), scale.data(), r.data()},
          k_up{p.data(), scale_up.data(), r.data()};
      Output<float> want(n, 9), got(n, 9);
      tested_->ints.norm_backward_apply(acc, n, period, k, mask, grad, want.Data());
      tested_->halves.norm_backward_apply(h, n, period, k_up, mask, grad, got.Data());
      EXPECT_EQ(Bits(want.memory), Bits(got.memory)) << n << " " << channels;
      Output<uint16_t> want_bf16(n, 9), got_bf16(n, 9);
      tested_->ints.norm_backward_bf16(acc, n, period, k, mask, grad, want_bf16.Data());
      tested_->halves.norm_backward_bf16(h, n, period, k_up, mask, grad, got_bf16.Data());
      EXPECT_EQ(want_bf16.memory, got_bf16.memory) << n << " " << channels;
      std::vector<double> want_g(s.size()), want_gx(want_g), got_g(want_g), got_gx(want_g);
      tested_->ints.norm_backward_sums(acc, n, period, scale.data(), r.data(), mask, grad,
                                       want_g.data(), want_gx.data(), nullptr);
      tested_->halves.norm_backward_sums(h, n, period, scale_up.data(), r.data(), mask, grad,
                                         got_g.data(), got_gx.data(), nullptr);
      EXPECT_EQ(want_g, got_g) << n << " " << channels;
      EXPECT_EQ(want_gx, got_gx) << n << " " << channels;
    }
  }
}

TEST_P(ElementwiseTest, NarrowGradients) {
  for (const int channels : {1, 16, 17, 20, 544}) {
    const int period = cpu::ChannelPeriod(channels);
    const std::vector<float> p = operands_.Floats(period), q = operands_.Floats(period),
                             r = operands_.Floats(period);
    const cpu::NormCoefficients k{p.data(), q.data(), r.data()};
    for (const int64_t pixels : {int64_t{1}, int64_t{37}, int64_t{150}}) {
      const int64_t n = pixels * channels;
      std::vector<int32_t> sums = Sums(n, 3000);
      std::vector<float> grads = operands_.Floats(n);
      grads.front() = 0x1.018p-3f;  // a tie: away from zero
      std::vector<uint8_t> masks = operands_.Mask(1, n);
      masks.front() |= 1;
      const int32_t* acc = Odd(sums);
      const float* grad = Odd(grads);
      const uint8_t* odd_mask = Odd(masks);
      for (const uint8_t* mask : {static_cast<const uint8_t*>(nullptr), odd_mask}) {
        std::vector<double> s(static_cast<size_t>(period)), sx(s), narrow_s(s), narrow_sx(s);
        tested_->ints.norm_backward_sums(acc, n, period, q.data(), r.data(), mask, grad, s.data(),
                                         sx.data(), nullptr);
        Output<uint16_t> want(n, 9), got(n, 9);
        plain_.ints.norm_backward_sums(acc, n, period, q.data(), r.data(), mask, grad,
                                       narrow_s.data(), narrow_sx.data(), want.Data());
        std::fill(narrow_s.begin(), narrow_s.end(), 0);
        std::fill(narrow_sx.begin(), narrow_sx.end(), 0);
        tested_->ints.norm_backward_sums(acc, n, period, q.data(), r.data(), mask, grad,
                                         narrow_s.data(), narrow_sx.data(), got.Data());
        EXPECT_EQ(want.memory, got.memory) << n << " " << channels;
        EXPECT_EQ(got.Data()[0], 0x3e01);
        EXPECT_EQ(s, narrow_s);
        EXPECT_EQ(sx, narrow_sx);
        // The rounded gradient as float32.
        std::vector<float> rounded;
        for (int64_t i = 0; i < n; ++i)
          rounded.push_back(std::bit_cast<float>(uint32_t{got.Data()[i]} << 16));
        Output<float> want_out(n, 9), got_out(n, 9);
        tested_->ints.norm_backward_apply(acc, n, period, k, mask, rounded.data(), want_out.Data());
        tested_->ints.narrow_apply(acc, n, period, k, mask, got.Data(), got_out.Data());
        EXPECT_EQ(Bits(want_out.memory), Bits(got_out.memory)) << n << " " << channels;
        Output<uint16_t> want_bf16(n, 9), got_bf16(n, 9);
        tested_->ints.norm_backward_bf16(acc, n, period, k, mask, rounded.data(), want_bf16.Data());
        tested_->ints.narrow_bf16(acc, n, period, k, mask, got.Data(), got_bf16.Data());
        EXPECT_EQ(want_bf16.memory, got_bf16.memory) << n << " " << channels;
      }
    }
  }
}

// Integers that are there as floats give the same.
TEST_P(ElementwiseTest, FloatsAsTheIntegersTheyAre) {
  for (const int channels : {1, 17, 20, 544}) {
    const int period = cpu::ChannelPeriod(channels);
    const std::vector<float> scale(static_cast<size_t>(period), 0.003f),
        shift = operands_.Floats(period);
    for (const int64_t pixels : {int64_t{1}, int64_t{150}}) {
      const int64_t n = pixels * channels;
      std::vector<int32_t> sums = Sums(n, 1 << 20);
      std::vector<float> floats(sums.begin(), sums.end());
      const int32_t* acc = Odd(sums);
      const float* same = Odd(floats);
      std::vector<double> s(static_cast<size_t>(period)), q(s), float_s(s), float_q(s);
      std::vector<int32_t> low(s.size(), INT32_MAX), high(s.size(), INT32_MIN), float_low(low),
          float_high(high);
      Output<uint16_t> want(n, 9), got(n, 9);
      tested_->stats(acc, n, period, s.data(), q.data(), low.data(), high.data(), 1 / 64.0f,
                     want.Data());
      tested_->stats_floats(same, n, period, float_s.data(), float_q.data(), float_low.data(),
                            float_high.data(), 1 / 64.0f, got.Data());
      EXPECT_EQ(want.memory, got.memory);
      EXPECT_EQ(s, float_s);
      EXPECT_EQ(q, float_q);
      EXPECT_EQ(low, float_low);
      EXPECT_EQ(high, float_high);
      Output<int8_t> want_codes(n, 9), codes(n, 9);
      Output<uint8_t> want_mask(MaskBytes(n), 9), mask(MaskBytes(n), 9);
      tested_->ints.quantize(acc, n, period, scale.data(), shift.data(), -128, 127,
                             want_codes.Data(), want_mask.Data());
      tested_->quantize_floats(same, n, period, scale.data(), shift.data(), -128, 127, codes.Data(),
                               mask.Data());
      EXPECT_EQ(want_codes.memory, codes.memory);
      EXPECT_EQ(want_mask.memory, mask.memory);
    }
  }
}

TEST_P(ElementwiseTest, Sums) {
  for (const int64_t n : kSizes) {
    std::vector<int8_t> xs = operands_.Codes(n), ys = operands_.Codes(n);
    xs.front() = ys.front() = -128;
    xs.back() = ys.back() = 127;
    const int8_t *x = Odd(xs), *odd_y = Odd(ys);
    for (const int8_t* y : {static_cast<const int8_t*>(nullptr), odd_y}) {
      for (const int shifts : {0, 1, 6, 7, 14, 16, 66, 107}) {  // of x, of y: two digits
        const int x_shift = shifts / 16, y_shift = shifts % 16;
        for (const bool relu : {false, true}) {
          EXPECT_EQ(plain_.sum_max(x, x_shift, relu, y, y_shift, !relu, n),
                    tested_->sum_max(x, x_shift, relu, y, y_shift, !relu, n));
          for (const int right : {-3, 0, 1, 2, 7, 14, 15, 40}) {
            for (const int bits : {4, 8}) {
              Output<int8_t> want(n, 9), got(n, 9), unmasked(n, 9);
              Output<uint8_t> want_mask(MaskBytes(n), 9), got_mask(MaskBytes(n), 9);
              plain_.sum_codes(x, x_shift, relu, y, y_shift, !relu, n, right, CodeMin(bits),
                               CodeMax(bits), want.Data(), want_mask.Data());
              tested_->sum_codes(x, x_shift, relu, y, y_shift, !relu, n, right, CodeMin(bits),
                                 CodeMax(bits), got.Data(), got_mask.Data());
              tested_->sum_codes(x, x_shift, relu, y, y_shift, !relu, n, right, CodeMin(bits),
                                 CodeMax(bits), unmasked.Data(), nullptr);
              EXPECT_EQ(want.memory, got.memory) << n << " " << shifts << " " << right;
              EXPECT_EQ(want.memory, unmasked.memory) << n << " " << shifts << " " << right;
              EXPECT_EQ(want_mask.memory, got_mask.memory) << n << " " << shifts << " " << right;
            }
          }
        }
      }
    }
  }
}

TEST_P(ElementwiseTest, Windows) {
  for (const int64_t c : kSizes) {
    for (const int taps : {0, 1, 3, 5}) {
      const int64_t pixels = 3, tap_step = c + 2, pixel_step = 2 * c + 1;
      const int64_t reach = 2 * pixel_step + 5 * tap_step + c;
      std::vector<int8_t> codes = operands_.Codes(reach);
      const int8_t* x = Odd(codes);
      Output<int8_t> want(pixels * c, 9), got(pixels * c, 9);
      plain_.max_windows(x, taps, tap_step, pixels, pixel_step, c, -7, want.Data());
      tested_->max_windows(x, taps, tap_step, pixels, pixel_step, c, -7, got.Data());
      EXPECT_EQ(want.memory, got.memory) << c << " " << taps;
      std::vector<int16_t> words;
      for (const int32_t v : Sums(reach, 6000)) words.push_back(static_cast<int16_t>(v));
      const int16_t* w = Odd(words);
      Output<int16_t> want_sum(pixels * c, 9), got_sum(pixels * c, 9);
      plain_.sum_windows(w, taps, tap_step, pixels, pixel_step, c, want_sum.Data());
      tested_->sum_windows(w, taps, tap_step, pixels, pixel_step, c, got_sum.Data());
      EXPECT_EQ(want_sum.memory, got_sum.memory) << c << " " << taps;
    }
  }
}

TEST_P(ElementwiseTest, PoolSums) {
  for (const int64_t n : kSizes) {
    std::vector<int8_t> codes = operands_.Codes(4 * n);
    const int8_t* x = Odd(codes);
    for (const bool relu : {false, true}) {
      std::vector<int16_t> start;
      for (const int32_t v : Sums(n, 6000)) start.push_back(static_cast<int16_t>(v));
      Output<int16_t> want(start, 9), got(start, 9);
      plain_.add_codes(x, n, relu, want.Data());
      tested_->add_codes(x, n, relu, got.Data());
      EXPECT_EQ(want.memory, got.memory) << n;
      Output<int32_t> want_pixels(n, 9), got_pixels(n, 9);
      plain_.sum_pixels(x, 4, n, relu, want_pixels.Data());
      tested_->sum_pixels(x, 4, n, relu, got_pixels.Data());
      EXPECT_EQ(want_pixels.memory, got_pixels.memory) << n;
    }
    Output<int8_t> want(4 * (n + 3), 9), got(4 * (n + 3), 9);
    plain_.copy_pixels(x, 4, n, n + 3, want.Data());
    tested_->copy_pixels(x, 4, n, n + 3, got.Data());
    EXPECT_EQ(want.memory, got.memory) << n;
  }
}

// Every sum that a window of that many taps can have, ties among them.
TEST_P(ElementwiseTest, AverageSums) {
  for (int taps = 1; taps <= 49; ++taps) {
    std::vector<int16_t> sums;
    for (int v = -128 * taps; v <= 128 * taps; ++v) sums.push_back(static_cast<int16_t>(v));
    const int64_t n = std::ssize(sums);
    Output<int32_t> want(n, 9), got(n, 9);
    plain_.average_sums(sums.data(), n, taps, want.Data());
    tested_->average_sums(sums.data(), n, taps, got.Data());
    EXPECT_EQ(want.memory, got.memory) << taps;
  }
}

TEST_P(ElementwiseTest, MaximumPoolGradients) {
  for (const int64_t n : kSizes) {
    std::vector<uint8_t> taps;
    for (int64_t i = 0; i < n; ++i)
      taps.push_back(operands_.Below(3) == 0 ? cpu::kNoTap
                                             : static_cast<uint8_t>(operands_.Below(9)));
    std::vector<int8_t> codes = operands_.Codes(n);
    const std::vector<int8_t> start = operands_.Codes(n);
    codes.back() = start.back();  // not better
    const int8_t* x = Odd(codes);
    Output<int8_t> want_best(start, 9), got_best(start, 9);
    Output<uint8_t> want_arg(taps, 9), got_arg(taps, 9);
    plain_.first_max(x, n, 4, want_best.Data(), want_arg.Data());
    tested_->first_max(x, n, 4, got_best.Data(), got_arg.Data());
    EXPECT_EQ(want_best.memory, got_best.memory) << n;
    EXPECT_EQ(want_arg.memory, got_arg.memory) << n;
    std::vector<float> grads = operands_.Floats(n);
    const std::vector<float> before = operands_.Floats(n);
    const float* g = Odd(grads);
    Output<float> want(before, 9), got(before, 9);
    plain_.route_grad(g, want_arg.Data(), 4, n, want.Data());
    tested_->route_grad(g, want_arg.Data(), 4, n, got.Data());
    EXPECT_EQ(Bits(want.memory), Bits(got.memory)) << n;
  }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, ElementwiseTest, ::testing::Values("avx2", "avx512"),
                         [](const auto& isa) { return std::string(isa.param); });

}  // namespace
}  // namespace ftt::test
