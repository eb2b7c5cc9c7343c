#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "kernels/cpu/depthwise.h"
#include "tests/kernels/cpu_conv_naive.h"

namespace ftt::cpu {
namespace {

DepthwiseShape Depth(const ConvShape& s) {
  return {s.images, s.in_h,   s.in_w,   s.out_h, s.out_w,
          s.in_c,   s.kernel, s.stride, s.pad,   s.dilation};
}

std::vector<ConvShape> Shapes() {
  std::vector<ConvShape> shapes;
  const auto add = [&](int images, int h, int w, int c, int kernel, int stride, int dilation) {
    shapes.push_back(SameShape(images, h, w, c, c, kernel, stride, dilation, c));
  };
  for (const int kernel : {1, 3, 5}) {
    for (const int stride : {1, 2}) {
      for (const int dilation : {1, 2}) {
        for (const int c : {1, 3, 7, 16, 17, 20, 60}) add(2, 9, 9, c, kernel, stride, dilation);
        add(1, 1, 1, 20, kernel, stride, dilation);
        add(1, 2, 3, 5, kernel, stride, dilation);
        add(5, 5, 7, 20, kernel, stride, dilation);
        add(1, 8, 8, 80, kernel, stride, dilation);
        add(1, 4, 4, 200, kernel, stride, dilation);
        add(1, 32, 32, 20, kernel, stride, dilation);
      }
    }
  }
  add(2, 6, 7, 20, 2, 1, 1);
  add(2, 6, 7, 20, 4, 2, 1);
  ConvShape valid = SameShape(2, 9, 9, 20, 20, 3, 1, 1, 20);  // no padding
  valid.pad = 0;
  valid.out_h = valid.out_w = 7;
  shapes.push_back(valid);
  return shapes;
}

class Depthwises : public testing::TestWithParam<const DepthwiseTable*> {
 protected:
  void ExpectExact(const ConvShape& s, bool relu, const std::vector<int8_t>& x,
                   const std::vector<int8_t>& w) {
    std::vector<int8_t> clipped = x;
    if (relu) {
      for (int8_t& code : clipped) code = std::max<int8_t>(code, 0);
    }
    const auto want = NaiveForward(s, clipped.data(), w);
    DepthwiseShape pack_shape = Depth(s);
    pack_shape.images = 7;  // packed weights serve any number of images
    DepthwiseWeights packed;
    kernels_.PackForward(pack_shape, w.data(), packed);
    std::vector<int32_t> raw(want.size() + kGuard, kCanary);
    kernels_.Forward(Depth(s), x.data(), relu, packed, raw.data(), scratch_);
    for (size_t i = 0; i < kGuard; ++i) ASSERT_EQ(raw[want.size() + i], kCanary) << Name(s);
    raw.resize(want.size());
    ASSERT_EQ(raw, want) << Name(s) << (relu ? " with ReLU" : "");
    const int all = s.images * s.out_h;
    for (const int rows : {1, 3, all}) {
      const size_t row = static_cast<size_t>(s.out_w) * s.out_c;
      std::vector<int32_t> piece(row * static_cast<size_t>(rows) + kGuard, kCanary), taken;
      kernels_.ForwardRows(
          Depth(s), x.data(), relu, packed, piece.data(), rows,
          [&](int first, int count) {
            EXPECT_EQ(taken.size(), static_cast<size_t>(first) * row) << Name(s);
            EXPECT_LE(count, rows);
            taken.insert(taken.end(), piece.begin(),
                         piece.begin() + count * static_cast<int64_t>(row));
          },
          scratch_);
      for (size_t i = 0; i < kGuard; ++i) ASSERT_EQ(piece[piece.size() - 1 - i], kCanary);
      ASSERT_EQ(taken, want) << Name(s) << " by " << rows << " rows";
    }
  }

  // Writing behind the end of a shard would hit the next thread's images.
  void ExpectGuard(const std::vector<float>& out, size_t size, const ConvShape& s) {
    for (size_t i = size; i < out.size(); ++i) ASSERT_EQ(out[i], 1e30f) << Name(s);
  }

  std::string Name(const ConvShape& s) {
    return fmt::format("{}: {}x{}x{}x{} -> {}x{} k{} s{} d{}", kernels_.Name(), s.images, s.in_h,
                       s.in_w, s.in_c, s.out_h, s.out_w, s.kernel, s.stride, s.dilation);
  }

  static constexpr size_t kGuard = 64;
  static constexpr int32_t kCanary = 0x5a5a5a5a;
  Depthwise kernels_{*GetParam()};
  ConvScratch scratch_;
};

TEST_P(Depthwises, ForwardIsExact) {
  for (const ConvShape& s : Shapes()) {
    const size_t nx = s.InElements(), nw = s.WeightElements();
    ExpectExact(s, false, RandomCodes(nx, -128, 127, 1), RandomCodes(nw, -128, 127, 2));
    ExpectExact(s, true, RandomCodes(nx, -128, 127, 3), RandomCodes(nw, -128, 127, 4));
    if (HasFatalFailure()) return;
  }
}

TEST_P(Depthwises, ForwardIsExactForExtremeCodes) {
  for (const ConvShape& s :
       {SameShape(1, 9, 9, 20, 20, 5, 1, 1, 20), SameShape(1, 9, 9, 20, 20, 3, 2, 1, 20)}) {
    for (const int x : {-128, 127}) {
      for (const int w : {-128, 127}) {
        for (const bool relu : {false, true}) {
          ExpectExact(s, relu, RandomCodes(s.InElements(), x, x, 1),
                      RandomCodes(s.WeightElements(), w, w, 1));
        }
      }
    }
  }
}

TEST_P(Depthwises, BackwardDataAgrees) {
  for (const ConvShape& s : Shapes()) {
    const auto w = RandomCodes(s.WeightElements(), -128, 127, 5);
    const auto diff_y = RandomFloats(s.OutElements(), 6);
    DepthwiseWeights packed;
    kernels_.PackBackwardData(Depth(s), w.data(), 0.25f, packed);
    std::vector<float> diff_x(s.InElements() + kGuard, 1e30f);
    kernels_.BackwardData(Depth(s), diff_y.data(), packed, diff_x.data(), scratch_);
    ExpectGuard(diff_x, s.InElements(), s);
    for (float& v : diff_x) v *= 4;
    EXPECT_LT(RelativeError(diff_x.data(), NaiveBackwardData(s, diff_y, w)), 1e-5) << Name(s);
  }
}

TEST_P(Depthwises, BackwardWeightsAgrees) {
  for (const ConvShape& s : Shapes()) {
    const auto x = RandomCodes(s.InElements(), -128, 127, 7);
    const auto diff_y = RandomFloats(s.OutElements(), 8);
    for (const bool relu : {false, true}) {
      std::vector<float> diff_w(s.WeightElements() + kGuard, 1e30f);
      kernels_.BackwardWeights(Depth(s), x.data(), relu, diff_y.data(), diff_w.data(), scratch_);
      EXPECT_LT(RelativeError(diff_w.data(), NaiveBackwardWeights(s, x, relu, diff_y)), 1e-5)
          << Name(s);
      ExpectGuard(diff_w, s.WeightElements(), s);
    }
  }
}

// Scratch memory is reused as it is, whatever the call before left in it.
TEST_P(Depthwises, DirtyScratchDoesNotMatter) {
  const ConvShape s = SameShape(2, 9, 9, 20, 20, 5, 2, 1, 20);
  const auto x = RandomCodes(s.InElements(), -128, 127, 9);
  const auto diff_y = RandomFloats(s.OutElements(), 10);
  std::vector<float> first(s.WeightElements()), second(s.WeightElements());
  kernels_.BackwardWeights(Depth(s), x.data(), true, diff_y.data(), first.data(), scratch_);
  std::fill_n(static_cast<float*>(scratch_.Get(1 << 20)), (1 << 20) / sizeof(float), std::nanf(""));
  kernels_.BackwardWeights(Depth(s), x.data(), true, diff_y.data(), second.data(), scratch_);
  EXPECT_EQ(first, second);
}

TEST_P(Depthwises, BadShapesAndForeignWeightsAreRefused) {
  const DepthwiseShape good = Depth(SameShape(1, 8, 8, 4, 4, 3, 1, 1, 4));
  const std::vector<int8_t> w(4 * 49), x(8 * 8 * 4);
  std::vector<int32_t> raw(8 * 8 * 4);
  DepthwiseWeights packed;
  DepthwiseShape bad = good;
  bad.kernel = 7;
  EXPECT_THROW(kernels_.PackForward(bad, w.data(), packed), Error);
  bad = good;
  bad.out_w = 12;
  EXPECT_THROW(kernels_.PackForward(bad, w.data(), packed), Error);
  EXPECT_THROW(kernels_.Forward(good, x.data(), true, packed, raw.data(), scratch_), Error);
  kernels_.PackBackwardData(good, w.data(), 1.0f, packed);
  EXPECT_THROW(kernels_.Forward(good, x.data(), true, packed, raw.data(), scratch_), Error);
}

INSTANTIATE_TEST_SUITE_P(Isa, Depthwises, testing::ValuesIn(Depthwise::Supported()),
                         [](const auto& info) {
                           return std::string(Depthwise(*info.param).Name());
                         });

}  // namespace
}  // namespace ftt::cpu
