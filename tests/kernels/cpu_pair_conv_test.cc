// Convolutions by pairs against plain loops: exact sums for any codes, however the rows are cut.
#include <gtest/gtest.h>

#include "core/error.h"
#include "kernels/backend.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/pair_conv.h"
#include "tests/kernels/cpu_conv_naive.h"

namespace ftt::cpu {
namespace {

// Reads from an offset on, as strided 1x1 convolutions may.
ConvShape Shifted(ConvShape s, int offset) {
  s.pad -= offset;
  return s;
}

std::vector<ConvShape> Shapes() {
  return {SameShape(1, 1, 1, 1, 1, 1),
          SameShape(1, 1, 1, 16, 17, 3),
          SameShape(2, 5, 7, 3, 16, 3),
          SameShape(5, 8, 8, 20, 20, 1),
          SameShape(2, 9, 9, 17, 7, 3),
          SameShape(3, 4, 4, 33, 31, 1),
          SameShape(2, 7, 5, 6, 12, 3),
          SameShape(2, 9, 9, 20, 40, 1, 2),
          Shifted(SameShape(2, 8, 8, 20, 9, 1, 2), 1),
          SameShape(1, 9, 9, 16, 20, 5, 1, 2),
          SameShape(2, 8, 8, 7, 20, 3, 2),
          SameShape(2, 5, 7, 1, 3, 5, 2),
          SameShape(1, 32, 32, 3, 60, 3),
          SameShape(1, 2, 2, 512, 17, 3),
          SameShape(3, 33, 31, 16, 24, 1),
          SameShape(1, 40, 40, 24, 16, 3, 1, 2)};
}

std::vector<int32_t> Sums(const ConvShape& s, const std::vector<int8_t>& x, bool relu,
                          const std::vector<int8_t>& w, int rows) {
  const PairConv conv(
      {s.in_h, s.in_w, s.in_c, s.out_h, s.out_w, s.out_c, s.kernel, s.stride, s.pad, s.dilation},
      relu, w.data());
  PairConv::Scratch scratch;
  std::vector<int32_t> sums(s.OutElements(), -1);
  int next = 0;
  conv.Run(x.data(), s.images, rows, scratch, [&](const int32_t* part, int first, int count) {
    EXPECT_EQ(first, next);
    EXPECT_LE(count, rows);
    next = first + count;
    std::copy_n(part, count * s.out_w * s.out_c, sums.data() + first * s.out_w * s.out_c);
  });
  EXPECT_EQ(next, s.images * s.out_h);
  return sums;
}

class Pairs : public testing::Test {
 protected:
  void SetUp() override {
    if (!PairConv::Available()) GTEST_SKIP() << "this CPU has no AVX2, or better than it";
  }
};

TEST_F(Pairs, SumsAreExact) {
  struct Range {
    int x_low, x_high, w_low, w_high;
  };
  constexpr Range kRanges[] = {{-128, 127, -128, 127}, {-128, -128, -128, -128},
                               {127, 127, -128, -128}, {127, 127, 127, 127},
                               {-128, -128, 126, 127}, {-128, 127, -65, -64},
                               {-128, 127, 64, 65},    {-128, 127, -20, 20}};
  for (const ConvShape& s : Shapes()) {
    for (const Range& r : kRanges) {
      const auto x = RandomCodes(s.InElements(), r.x_low, r.x_high, 1);
      const auto w = RandomCodes(s.WeightElements(), r.w_low, r.w_high, 2);
      auto rectified = x;
      for (int8_t& code : rectified) code = std::max<int8_t>(code, 0);
      const auto want = NaiveForward(s, x.data(), w);
      const auto want_rectified = NaiveForward(s, rectified.data(), w);
      for (const int rows : {1, 3, 1000}) {
        ASSERT_EQ(Sums(s, x, false, w, rows), want) << s.in_c << " -> " << s.out_c << " " << rows;
        ASSERT_EQ(Sums(s, x, true, w, rows), want_rectified) << s.in_c << " -> " << s.out_c;
      }
    }
  }
}

TEST_F(Pairs, OneScratchServesManyConvolutions) {
  PairConv::Scratch scratch;
  for (const bool relu : {true, false, true}) {
    for (const ConvShape& s : Shapes()) {
      const auto x = RandomCodes(s.InElements(), 0, 127, 3);
      const auto w = RandomCodes(s.WeightElements(), -128, 127, 4);
      const PairConv conv({s.in_h, s.in_w, s.in_c, s.out_h, s.out_w, s.out_c, s.kernel, s.stride,
                           s.pad, s.dilation},
                          relu, w.data());
      std::vector<int32_t> sums;
      conv.Run(x.data(), s.images, 2, scratch, [&](const int32_t* part, int, int count) {
        sums.insert(sums.end(), part, part + count * s.out_w * s.out_c);
      });
      ASSERT_EQ(sums, NaiveForward(s, x.data(), w)) << s.in_c << " -> " << s.out_c;
    }
  }
}

// Float partial sums of statistics are those of the whole map, though it comes in pieces.
TEST_F(Pairs, StatisticsAreThoseOfTheWholeMap) {
  WindowShape s;
  s.in = {32, 32, 17};
  s.out = {32, 32, 20};
  s.conv = {.kernel = 3, .pad = 1};
  const auto x = RandomCodes(static_cast<size_t>(s.in.Elements()), -128, 127, 5);
  WeightCodes w;
  w.n = int64_t{20} * 9 * 17;
  w.codes = RandomCodes(static_cast<size_t>(w.n), -128, 127, 6);
  std::vector<int32_t> acc(static_cast<size_t>(s.out.Elements()));
  std::vector<ChannelStats> stats(20);
  const uint32_t id = 0;
  MakeCpuBackend(1)->Accumulate({1, 1, &id}, s, x.data(), &w, acc.data(), stats.data());
  const int period = ChannelPeriod(20);
  std::vector<double> sum(static_cast<size_t>(period)), squares(sum.size());
  std::vector<int32_t> low(sum.size(), INT32_MAX), high(sum.size(), INT32_MIN);
  GetElementwise().stats(acc.data(), std::ssize(acc), period, sum.data(), squares.data(),
                         low.data(), high.data(), 1.0f, nullptr);
  for (size_t c = 0; c < stats.size(); ++c) {
    double want = 0, want_squares = 0;
    for (size_t i = c; i < sum.size(); i += stats.size()) {
      want += sum[i];
      want_squares += squares[i];
    }
    EXPECT_EQ(stats[c].sum, want) << c;
    EXPECT_EQ(stats[c].sum_squares, want_squares) << c;
  }
}

TEST_F(Pairs, SizesMustBePositive) {
  const int8_t weight = 1;
  EXPECT_THROW(PairConv({.in_c = 0}, false, &weight), Error);
}

}  // namespace
}  // namespace ftt::cpu
