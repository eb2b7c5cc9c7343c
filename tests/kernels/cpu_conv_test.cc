#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "core/error.h"
#include "kernels/cpu/conv_bf16.h"
#include "tests/kernels/cpu_conv_naive.h"

namespace ftt::cpu {
namespace {

std::string Name(const ConvShape& s) {
  return fmt::format("{}x{}x{}x{} -> {}x{}x{} k{} s{} d{} g{}", s.images, s.in_h, s.in_w, s.in_c,
                     s.out_h, s.out_w, s.out_c, s.kernel, s.stride, s.dilation, s.groups);
}

std::vector<ConvShape> Shapes() {
  return {
      SameShape(1, 1, 1, 1, 1, 1),           SameShape(1, 1, 1, 16, 17, 3),
      SameShape(2, 5, 7, 3, 16, 3),          SameShape(5, 8, 8, 20, 20, 1),
      SameShape(2, 9, 9, 17, 7, 3),          SameShape(2, 8, 8, 60, 20, 1),
      SameShape(1, 8, 8, 20, 60, 1),         SameShape(2, 9, 9, 20, 20, 5),
      SameShape(1, 9, 9, 16, 16, 3, 2),      SameShape(2, 8, 8, 7, 20, 3, 2),
      SameShape(5, 5, 7, 20, 16, 3, 1, 2),   SameShape(1, 9, 9, 16, 20, 5, 1, 2),
      SameShape(2, 9, 9, 20, 40, 1, 2),      SameShape(1, 32, 32, 3, 60, 3),
      SameShape(1, 32, 32, 16, 16, 3),       SameShape(2, 5, 7, 1, 3, 5, 2),
      SameShape(2, 7, 5, 12, 8, 3, 1, 1, 4), SameShape(1, 4, 4, 160, 40, 3),
      SameShape(1, 2, 2, 512, 17, 3),
  };
}

class Dense : public testing::Test {
 protected:
  // Convolves codes in [low, high] on `engine` and expects the exact sums.
  void ExpectExact(ConvEngine& engine, const ConvShape& s, int x_low, int x_high, int w_low,
                   int w_high) {
    ConvWorker worker(engine);
    const bool x_unsigned = x_low >= 0;
    const auto x = RandomCodes(s.InElements(), x_low, x_high, 1),
               w = RandomCodes(s.WeightElements(), w_low, w_high, 2);
    ConvShape pack_shape = s;
    pack_shape.images = 3;  // packed weights serve any number of images
    const PackedWeights packed = engine.PackInt8(pack_shape, w.data(), x_unsigned, worker);
    std::vector<int32_t> raw(s.OutElements(), -1);
    engine.ConvInt8(s, x.data(), x_unsigned, packed, raw.data(), worker);
    const auto want = NaiveForward(s, x.data(), w);
    ASSERT_EQ(raw, want) << Name(s) << " x in [" << x_low << ", " << x_high << "]";
  }

  void ExpectExactEverywhere(ConvEngine& engine) {
    for (const ConvShape& s : Shapes()) {
      ExpectExact(engine, s, -128, 127, -128, 127);
      ExpectExact(engine, s, 0, 127, -128, 127);
      ExpectExact(engine, s, -128, -128, -128, -128);
      ExpectExact(engine, s, 127, 127, -128, -128);
      ExpectExact(engine, s, 127, 127, 126, 127);
      ExpectExact(engine, s, -128, -127, -128, -127);
      if (HasFatalFailure()) return;
    }
  }

  double BackwardDataError(const ConvShape& s, GradPrecision precision) {
    ConvWorker worker(engine_);
    const auto w = RandomCodes(s.WeightElements(), -128, 127, 3);
    const auto diff_y = RandomFloats(s.OutElements(), 4);
    std::vector<uint16_t> rounded(diff_y.size());
    FloatsToBf16(diff_y.data(), diff_y.size(), rounded.data());
    ConvShape pack_shape = s;
    pack_shape.images = 3;
    const PackedWeights packed =
        engine_.PackBackwardData(pack_shape, w.data(), 0.25f, precision, worker);
    std::vector<float> diff_x(s.InElements(), 1e30f);
    const void* in = precision == GradPrecision::kBf16 ? static_cast<const void*>(rounded.data())
                                                       : diff_y.data();
    engine_.BackwardData(s, in, packed, diff_x.data(), worker);
    for (float& v : diff_x) v *= 4;
    return RelativeError(diff_x.data(), NaiveBackwardData(s, diff_y, w));
  }

  // Two shards of different sizes, added in packed form.
  double BackwardWeightsError(ConvShape s, GradPrecision precision) {
    ConvWorker worker(engine_);
    const auto x = RandomCodes(s.InElements(), -128, 127, 5);
    const auto diff_y = RandomFloats(s.OutElements(), 6);
    const auto want = NaiveBackwardWeights(s, x, false, diff_y);
    const size_t elements = engine_.DiffWeightElements(s, precision);
    std::vector<float> sum(elements), part(elements);
    const int images = s.images;
    for (int first = 0; first < images; first += s.images) {
      s.images = first == 0 ? (images + 1) / 2 : images - first;
      const size_t x_at = first * s.InElements() / s.images,
                   y_at = first * s.OutElements() / s.images;
      RunBackwardWeights(s, precision, x.data() + x_at, diff_y.data() + y_at, part.data(), worker);
      for (size_t i = 0; i < elements; ++i) sum[i] += part[i];
    }
    std::vector<float> diff_w(want.size(), 1e30f);
    engine_.UnpackDiffWeights(s, precision, sum.data(), diff_w.data(), worker);
    return RelativeError(diff_w.data(), want);
  }

  void RunBackwardWeights(const ConvShape& s, GradPrecision precision, const int8_t* codes,
                          const float* diff_y, float* diff_w, ConvWorker& worker) {
    if (precision == GradPrecision::kBf16) {
      std::vector<uint16_t> x(s.InElements()), dy(s.OutElements());
      CodesToBf16(codes, x.size(), false, x.data());
      FloatsToBf16(diff_y, dy.size(), dy.data());
      engine_.BackwardWeights(s, x.data(), dy.data(), precision, diff_w, worker);
    } else {
      const std::vector<float> x(codes, codes + s.InElements());
      engine_.BackwardWeights(s, x.data(), diff_y, precision, diff_w, worker);
    }
  }

  ConvEngine engine_;
};

TEST_F(Dense, Int8ForwardIsExact) { ExpectExactEverywhere(engine_); }

TEST_F(Dense, Int8ForwardIsExactWithoutEightBitDotProducts) {
  ConvEngine engine(/*force_no_vnni=*/true);
  ConvWorker worker(engine);
  EXPECT_STREQ(engine.Int8KernelName(Shapes()[2], false, worker), "f32 groups");
  ExpectExactEverywhere(engine);
  // A group too large for one exact float sum.
  ExpectExact(engine, SameShape(1, 3, 3, 300, 4, 3, 1, 1, 2), -128, 127, -128, 127);
}

TEST_F(Dense, PackedWeightsOfAnotherShapeAreRefused) {
  ConvWorker worker(engine_);
  const ConvShape s = SameShape(1, 8, 8, 4, 4, 3), other = SameShape(1, 8, 8, 4, 5, 3);
  const std::vector<int8_t> w(other.WeightElements()), x(s.InElements());
  std::vector<int32_t> raw(s.OutElements());
  const PackedWeights packed = engine_.PackInt8(other, w.data(), true, worker);
  EXPECT_THROW(engine_.ConvInt8(s, x.data(), true, packed, raw.data(), worker), Error);
  EXPECT_THROW(engine_.ConvInt8(other, x.data(), false, packed, raw.data(), worker), Error);
  EXPECT_THROW(engine_.BackwardData(other, x.data(), packed, nullptr, worker), Error);
  ConvShape wrong = s;
  wrong.out_h = 12;
  EXPECT_THROW(engine_.PackInt8(wrong, w.data(), true, worker), Error);
  wrong = s;
  wrong.groups = 3;
  EXPECT_THROW(engine_.PackInt8(wrong, w.data(), true, worker), Error);
}

TEST_F(Dense, BackwardDataAgreesInFloat32) {
  for (const ConvShape& s : Shapes())
    EXPECT_LT(BackwardDataError(s, GradPrecision::kF32), 1e-5) << Name(s);
}

TEST_F(Dense, BackwardWeightsAgreesInFloat32) {
  for (const ConvShape& s : Shapes())
    EXPECT_LT(BackwardWeightsError(s, GradPrecision::kF32), 1e-5) << Name(s);
}

TEST_F(Dense, GradientsAgreeInBfloat16) {
  if (!engine_.HasFastBf16()) GTEST_SKIP() << "this CPU has no bfloat16 instructions";
  for (const ConvShape& s : Shapes()) {
    EXPECT_LT(BackwardDataError(s, GradPrecision::kBf16), 1e-2) << Name(s);
    EXPECT_LT(BackwardWeightsError(s, GradPrecision::kBf16), 1e-2) << Name(s);
  }
}

// One engine, first use of each primitive from several threads at the same time.
TEST_F(Dense, ThreadsShareOneEngine) {
  const ConvShape s = SameShape(2, 9, 9, 20, 20, 3);
  const auto x = RandomCodes(s.InElements(), -128, 127, 7),
             w = RandomCodes(s.WeightElements(), -128, 127, 8);
  const auto want = NaiveForward(s, x.data(), w);
  std::vector<std::vector<int32_t>> raw(4, std::vector<int32_t>(s.OutElements()));
  std::vector<std::thread> threads;
  for (auto& out : raw) {
    threads.emplace_back([&] {
      ConvWorker worker(engine_);
      for (int repeat = 0; repeat < 5; ++repeat) {
        const PackedWeights packed = engine_.PackInt8(s, w.data(), false, worker);
        engine_.ConvInt8(s, x.data(), false, packed, out.data(), worker);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& out : raw) EXPECT_EQ(out, want);
}

TEST(Bf16, RoundsToNearestEvenAndKeepsCodes) {
  EXPECT_EQ(FloatToBf16(1.0f), 0x3f80);
  EXPECT_EQ(FloatToBf16(1.0f + 0x1p-8f), 0x3f80);  // tie to even
  EXPECT_EQ(FloatToBf16(1.0f + 0x1p-8f + 0x1p-20f), 0x3f81);
  EXPECT_EQ(FloatToBf16(1.0f + 3 * 0x1p-8f), 0x3f82);  // tie to even
  for (int code = -128; code < 128; ++code) EXPECT_EQ(CodeToBf16(code), FloatToBf16(float(code)));
  const int8_t codes[] = {-128, -1, 0, 127};
  uint16_t out[4];
  CodesToBf16(codes, 4, true, out);
  EXPECT_EQ(out[0], 0);
  EXPECT_EQ(out[3], CodeToBf16(127));
}

}  // namespace
}  // namespace ftt::cpu
