// Convolutions on the device against the reference: raw accumulators, statistics and deployed
// codes with faults, all bit for bit.
#include <numeric>

#include "kernels/cuda/conv.h"
#include "kernels/cuda/depthwise.h"
#include "kernels/cuda/pool.h"
#include "kernels/ref_backend.h"
#include "tests/cuda/layout.h"
#include "tests/kernels/parity_util.h"

namespace ftt::cuda::test {
namespace {

using ftt::test::MakeNorm;
using ftt::test::MakePool;
using ftt::test::MakeWeights;
using ftt::test::MakeWindow;
using ftt::test::Operands;
using ftt::test::WindowCase;

ConvParams Params(int k, int stride, int dilation, int groups) {
  return {k, stride, dilation * (k - 1) / 2, dilation, groups, 0};
}

std::vector<WindowCase> Cases() {
  ConvParams offset = Params(1, 2, 1, 1);
  offset.offset = 1;
  return {
      {"one_pixel", MakeWindow({1, 1, 1}, 1, Params(1, 1, 1, 1), false), 1, 1},
      {"pointwise_3_to_17", MakeWindow({5, 3, 3}, 17, Params(1, 1, 1, 1), true), 1, 5},
      {"pointwise_60_to_20", MakeWindow({9, 7, 60}, 20, Params(1, 1, 1, 1), true), 3, 2},
      {"pointwise_40_to_140", MakeWindow({5, 5, 40}, 140, Params(1, 1, 1, 1), false), 1, 2},
      {"pointwise_500_to_40", MakeWindow({4, 5, 500}, 40, Params(1, 1, 1, 1), true), 1, 2},
      {"pointwise_offset", MakeWindow({8, 6, 20}, 10, offset, true), 3, 2},
      {"pointwise_tall", MakeWindow({15, 13, 20}, 20, Params(1, 1, 1, 1), true), 3, 1},
      {"pointwise_padded", MakeWindow({5, 4, 20}, 10, {1, 1, 1, 1, 1, 0}, true), 2, 2},
      {"pointwise_shifted", MakeWindow({5, 4, 20}, 10, {1, 1, 0, 1, 1, 1}, false), 2, 2},
      {"dense3x3_7_to_40", MakeWindow({7, 5, 7}, 40, Params(3, 1, 1, 1), true), 4, 1},
      {"dense3x3_stride", MakeWindow({9, 7, 20}, 60, Params(3, 2, 1, 1), true), 2, 2},
      {"dense3x3_dilated", MakeWindow({7, 9, 17}, 80, Params(3, 1, 2, 1), false), 1, 2},
      {"dense7x7_stride", MakeWindow({9, 8, 5}, 20, Params(7, 2, 1, 1), true), 1, 2},
      {"dense3x3_tall", MakeWindow({15, 13, 20}, 20, Params(3, 1, 1, 1), true), 3, 1},
      {"dense3x3_stride_tall", MakeWindow({33, 31, 5}, 16, Params(3, 2, 1, 1), false), 2, 1},
      {"dense2x2_wide", MakeWindow({3, 900, 3}, 5, {2, 1, 0, 1, 1, 0}, true), 1, 1},
      {"dense3x3_far", MakeWindow({4, 30, 200}, 7, Params(3, 1, 4, 1), true), 1, 1},
      {"dense15x15", MakeWindow({4, 5, 3}, 17, Params(15, 1, 1, 1), false), 1, 1},
      {"dense5x5_3_to_100", MakeWindow({6, 7, 3}, 100, Params(5, 1, 1, 1), true), 1, 2},
      {"depthwise3x3_1", MakeWindow({1, 1, 1}, 1, Params(3, 1, 1, 1), true), 1, 1},
      {"depthwise3x3_20", MakeWindow({9, 7, 20}, 20, Params(3, 1, 1, 20), true), 2, 2},
      {"depthwise3x3_stride", MakeWindow({17, 9, 7}, 7, Params(3, 2, 1, 7), true), 3, 1},
      {"depthwise3x3_dilated", MakeWindow({11, 13, 40}, 40, Params(3, 1, 2, 40), false), 1, 5},
      {"depthwise3x3_dilated_stride", MakeWindow({9, 9, 17}, 17, Params(3, 2, 2, 17), true), 2, 1},
      {"depthwise5x5_20", MakeWindow({8, 8, 20}, 20, Params(5, 1, 1, 20), true), 2, 2},
      {"depthwise5x5_stride", MakeWindow({19, 9, 17}, 17, Params(5, 2, 1, 17), false), 2, 2},
      {"depthwise5x5_dilated", MakeWindow({11, 7, 3}, 3, Params(5, 1, 2, 3), true), 2, 2},
      {"depthwise5x5_dilated_stride", MakeWindow({13, 7, 40}, 40, Params(5, 2, 2, 40), true), 1, 2},
      {"depthwise3x3_stride_wide", MakeWindow({9, 70, 20}, 20, Params(3, 2, 1, 20), true), 2, 2},
      {"depthwise5x5_stride_wide", MakeWindow({11, 69, 20}, 20, Params(5, 2, 1, 20), false), 1, 2},
      {"depthwise5x5_wide", MakeWindow({7, 37, 40}, 40, Params(5, 1, 1, 40), true), 1, 2},
      {"depthwise3x3_600", MakeWindow({3, 3, 600}, 600, Params(3, 1, 1, 600), true), 1, 1},
      {"max_pool_20", MakePool({9, 7, 20}, PoolKind::kMax, Params(3, 1, 1, 1), false), 2, 2},
      {"max_pool_stride_relu", MakePool({19, 9, 17}, PoolKind::kMax, Params(3, 2, 1, 1), true), 1,
       5},
      {"max_pool_2x2", MakePool({8, 6, 40}, PoolKind::kMax, {2, 2, 0, 1, 1, 0}, true), 3, 1},
      {"average_pool_7", MakePool({7, 5, 7}, PoolKind::kAverage, Params(3, 1, 1, 1), false), 3, 2},
      {"average_pool_stride", MakePool({9, 7, 20}, PoolKind::kAverage, Params(3, 2, 1, 1), true), 2,
       2},
      {"max_pool_no_pad", MakePool({7, 9, 20}, PoolKind::kMax, {3, 1, 0, 1, 1, 0}, false), 1, 2},
      {"max_pool_wide_pad", MakePool({6, 5, 20}, PoolKind::kMax, {3, 2, 2, 1, 1, 0}, false), 1, 2},
      {"average_pool_wide_pad", MakePool({6, 5, 20}, PoolKind::kAverage, {3, 1, 2, 1, 1, 0}, true),
       1, 2},
      {"max_pool_5x5", MakePool({6, 7, 20}, PoolKind::kMax, Params(5, 1, 1, 1), true), 1, 2},
      {"max_pool_19", MakePool({7, 19, 96}, PoolKind::kMax, Params(3, 1, 1, 1), true), 1, 2},
      {"average_pool_relu", MakePool({7, 19, 70}, PoolKind::kAverage, Params(3, 1, 1, 1), true), 1,
       2},
      {"average_pool_5x5", MakePool({6, 7, 20}, PoolKind::kAverage, Params(5, 2, 1, 1), true), 1,
       2},
      {"average_pool_1", MakePool({5, 3, 1}, PoolKind::kAverage, Params(3, 1, 1, 1), true), 1, 1},
  };
}

bool IsDepthwise(const WindowCase& c) { return std::string_view(c.name).substr(0, 5) == "depth"; }

WindowGeometry GeometryOf(const WindowCase& c) {
  const WindowShape& s = c.shape;
  return {c.lanes,       c.images,      s.in.h,          s.in.w,
          s.in.c,        s.out.h,       s.out.w,         s.out.c,
          s.conv.kernel, s.conv.stride, s.conv.dilation, s.conv.offset - s.conv.pad,
          s.relu};
}

class CudaWindowTest : public ::testing::TestWithParam<WindowCase> {
 protected:
  CudaWindowTest()
      : case_(GetParam()),
        geometry_(GeometryOf(case_)),
        ids_(static_cast<size_t>(case_.images)),
        dims_{case_.lanes, case_.images, ids_.data()} {
    std::iota(ids_.begin(), ids_.end(), 1000u);
    x_ = operands_.Codes(case_.lanes * case_.images * case_.shape.in.Elements());
  }

  WeightCodes Weights(int copies) {
    const WindowShape& s = case_.shape;
    const int64_t n = int64_t{s.out.c} * s.conv.kernel * s.conv.kernel * s.in.c / s.conv.groups;
    return MakeWeights(operands_, n, copies, false);
  }
  size_t Outputs() const {
    return static_cast<size_t>(case_.lanes * case_.images * case_.shape.out.Elements());
  }
  // Lane l carries specs[l]; ahead: drawn by DrawStrikes. gain: of the affine maps.
  void Deploy(const std::vector<std::string>& all, bool ahead, float gain = 1);
  // Packs the weights and runs the convolution.
  void Run(const WeightCodes& w, const WindowOutput& out) const {
    const DeviceBuffer<int8_t> x(Padded(x_, case_.shape.in.c));
    if (case_.shape.pool) {
      const PoolType type =
          case_.shape.pool_kind == PoolKind::kMax ? PoolType::kMax : PoolType::kAverage;
      Pool({geometry_, type, x.Data(), out}, {});
      return;
    }
    const DeviceBuffer<int8_t> codes(w.codes);
    const auto copies = static_cast<size_t>(w.copies);
    if (IsDepthwise(case_)) {
      const DeviceBuffer<uint32_t> packed(copies *
                                          static_cast<size_t>(PackedDepthwiseWords(geometry_)));
      PackDepthwiseWeights(geometry_, w.copies, codes.Data(), packed.Data(), {});
      Depthwise({geometry_, x.Data(), packed.Data(), w.copies == 1, out}, {});
      return;
    }
    const DeviceBuffer<int8_t> packed(copies * static_cast<size_t>(PackedConvBytes(geometry_)));
    PackConvWeights(geometry_, w.copies, codes.Data(), packed.Data(), {});
    Conv({geometry_, x.Data(), packed.Data(), w.copies == 1, out}, {}, cut_);
  }

  // In both orders of threads, and a dense convolution with blocks of all kinds.
  template <typename F>
  void WithAllBlocks(const F& launch) {
    std::vector<ConvCut> cuts = {{}};
    if (!case_.shape.pool && !IsDepthwise(case_)) {
      for (const int columns : {16, 32, 48, 64, 96, 128}) cuts.push_back({columns});
      cuts.insert(cuts.end(), {{16, 256}, {16, 512}, {32, 256}});
      if (case_.shape.conv.kernel > 1) cuts.insert(cuts.end(), {{32, 0, true}, {128, 0, true}});
    }
    for (const ConvCut& cut : cuts) {
      SCOPED_TRACE(::testing::Message() << cut.columns << " columns, " << cut.rows << " rows"
                                        << (cut.tap_by_tap ? ", tap by tap" : ""));
      cut_ = cut;
      InBothOrders(launch);
    }
    cut_ = {};
  }

  const WindowCase case_;
  const WindowGeometry geometry_;
  ConvCut cut_;
  std::vector<uint32_t> ids_;
  BatchDims dims_;
  Operands operands_{1};
  std::vector<int8_t> x_;
};

TEST_P(CudaWindowTest, RawAndStatisticsAreExact) {
  WeightCodes w = Weights(case_.lanes);
  const int channels = case_.shape.out.c, stride = geometry_.Out().Stride();
  std::vector<int32_t> want(Outputs());
  std::vector<ChannelStats> want_stats(static_cast<size_t>(case_.lanes * channels));
  RefBackend().Accumulate(dims_, case_.shape, x_.data(), &w, want.data(), want_stats.data());
  WithAllBlocks([&] {
    const DeviceBuffer<int32_t> raw(Outputs() / static_cast<size_t>(channels) *
                                    static_cast<size_t>(stride));
    const DeviceBuffer<int64_t> moments = EmptyMoments(case_.lanes, stride);
    WindowOutput out;
    out.raw = raw.Data();
    out.moments = moments.Data();
    Run(w, out);
    EXPECT_EQ(want, Dense(raw.Get(), channels));
    const std::vector<ChannelMoments> got = Merged(moments.Get(), case_.lanes, stride);
    for (int lane = 0; lane < case_.lanes; ++lane) {
      for (int c = 0; c < channels; ++c) {
        const ChannelMoments& sum = got[static_cast<size_t>(lane * stride + c)];
        const ChannelStats& s = want_stats[static_cast<size_t>(lane * channels + c)];
        EXPECT_EQ(s.sum, static_cast<double>(sum.sum)) << c;
        EXPECT_EQ(s.sum_squares, static_cast<double>(sum.sum_squares)) << c;
        EXPECT_EQ(s.min, sum.min) << c;
        EXPECT_EQ(s.max, sum.max) << c;
      }
    }
  });
}

TEST_P(CudaWindowTest, HalfOutputIsRounded) {
  WeightCodes w = Weights(1);
  std::vector<int32_t> want(Outputs());
  RefBackend().Accumulate(dims_, case_.shape, x_.data(), &w, want.data(), nullptr);
  const int channels = case_.shape.out.c;
  const DeviceBuffer<uint16_t> raw(Outputs() / static_cast<size_t>(channels) *
                                   static_cast<size_t>(geometry_.Out().Stride()));
  WindowOutput out;
  out.raw_type = RawType::kHalf;
  out.raw_shift = 9;
  out.raw = raw.Data();
  std::vector<uint16_t> got;
  WithAllBlocks([&] {
    const std::vector<uint16_t> before = got;
    Run(w, out);
    got = Dense(raw.Get(), channels);
    if (before.empty()) return;
    EXPECT_EQ(before, got);
  });
  for (size_t i = 0; i < want.size(); ++i) {
    // binary16 by hand: half of the last of 11 bits is the largest error.
    const int exponent = got[i] >> 10 & 31;
    const double fraction = (got[i] & 1023) / 1024.0;
    const double magnitude =
        exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1 + fraction, exponent - 15);
    const double value = (got[i] >> 15 != 0 ? -magnitude : magnitude) * 512;
    ASSERT_LE(std::fabs(value - want[i]), std::max(std::fabs(want[i]) / 2048.0, 0x1p-16)) << i;
  }
}

void CudaWindowTest::Deploy(const std::vector<std::string>& all, bool ahead, float gain) {
  WeightCodes w = Weights(1);
  const int channels = case_.shape.out.c;
  const LaneNorm norm =
      MakeNorm(operands_, channels, gain * (case_.shape.pool ? 1.2f : 0.003f), false);
  const std::vector<std::string> specs(all.begin(), all.begin() + case_.lanes);
  WithAllBlocks([&] {
    LanePlans plans(specs, case_.shape.out, 8, /*training=*/false, ids_,
                    case_.shape.pool ? SiteKind::kPool : SiteKind::kConv);
    EXPECT_EQ(ahead, plans.CanListAll());
    std::vector<int8_t> want(Outputs());
    RefBackend().AccumulateQuantize(dims_, case_.shape, 8, x_.data(), &w, norm, plans.Host(),
                                    want.data());
    const DeviceBuffer<int8_t> codes(Outputs() / static_cast<size_t>(channels) *
                                     static_cast<size_t>(geometry_.Out().Stride()));
    const DeviceBuffer<float> scale(Padded(norm.scale, channels));
    const DeviceBuffer<float> shift(Padded(norm.shift, channels));
    WindowOutput out;
    out.scale = scale.Data();
    out.shift = shift.Data();
    out.one_norm = true;
    out.faults = plans.View(ahead);
    out.codes = codes.Data();
    Run(w, out);
    EXPECT_EQ(want, Dense(codes.Get(), channels));
    const uint64_t delivered = plans.CheckCounts();
    if (Outputs() > 600) {
      EXPECT_GT(delivered, 0u) << "the faults of this case never hit";
    }
  });
}

TEST_P(CudaWindowTest, DeployIsExactWithFaults) {
  Deploy({"mibb:0.01+ibf-feature:0.02", "", "mibb:0.05", "mibb:0.02,sampler=dense",
          "ibf-feature:0.01"},
         false);
}

TEST_P(CudaWindowTest, DeployIsExactWithListedFaults) {
  if (case_.shape.pool) {
    return Deploy({"stuck-feature:0.05", "stuck-feature:0.2,sampler=sparse", "",
                   "stuck-feature:0.001", "stuck-feature:0.01"},
                  true);
  }
  Deploy({"mibb:0.05,sampler=sparse", "mibb:0.01", "", "mibb:0.0001", "mibb:0.002"}, true);
}

// Most codes are at the limits, of every lane and in every part of a block.
TEST_P(CudaWindowTest, DeployIsExactWhereCodesSaturate) {
  Deploy({"ibf-feature:0.05", "stuck-feature:0.02", "lane-stuck:0.05,mode=zero", "", "mibb:0.01"},
         false, 30);
}

INSTANTIATE_TEST_SUITE_P(All, CudaWindowTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(CudaConvTest, RefusesWhatItsCopiesCannotAddress) {
  ConvArguments a;
  int8_t code = 0;
  a.out.codes = &code;
  a.geometry = {1, 1, 4, 4, 3, 4, 4, 3, 16, 1, 1, -8, false};
  EXPECT_THROW(Conv(a, {}), Error);  // 16 taps in a row
  a.geometry = {1, 1 << 15, 64, 64, 16, 64, 64, 16, 1, 1, 1, 0, false};
  EXPECT_THROW(Conv(a, {}), Error);  // 2^31 codes a lane
}

// Every sum that the codes of a 3x3 window can have, for every number of taps inside the map.
TEST(CudaPoolMeanTest, RoundsEverySumToNearestEven) {
  constexpr int kChannels = 16;
  for (const auto& [h, w] : {std::pair{1, 1}, {1, 2}, {1, 3}, {2, 2}, {2, 3}, {3, 3}}) {
    const int pixels = h * w, sums = 256 * pixels, images = sums / kChannels;
    std::vector<int8_t> x(static_cast<size_t>(sums * pixels));
    // Sum `n` at place n of images x channels, shared among the pixels.
    for (int n = 0; n < sums; ++n) {
      for (int p = 0; p < pixels; ++p) {
        const int code = (n + p) / pixels - 128;
        x[static_cast<size_t>((n / kChannels * pixels + p) * kChannels + n % kChannels)] =
            static_cast<int8_t>(code);
      }
    }
    const WindowGeometry g{1, images, h, w, kChannels, h, w, kChannels, 3, 1, 1, -1, false};
    const WindowShape shape =
        MakePool({h, w, kChannels}, PoolKind::kAverage, Params(3, 1, 1, 1), false);
    const std::vector<uint32_t> ids(static_cast<size_t>(images));
    std::vector<int32_t> want(x.size());
    RefBackend().Accumulate({1, images, ids.data()}, shape, x.data(), nullptr, want.data(),
                            nullptr);
    const DeviceBuffer<int8_t> d_x(x);
    const DeviceBuffer<int32_t> raw(x.size());
    WindowOutput out;
    out.raw = raw.Data();
    Pool({g, PoolType::kAverage, d_x.Data(), out}, {});
    EXPECT_EQ(want, raw.Get()) << h << " x " << w;
  }
}

}  // namespace
}  // namespace ftt::cuda::test
