// A depthwise and a 1x1 convolution in one kernel, against the reference: bit for bit, with the
// faults of both.
#include "kernels/cuda/separable.h"

#include <numeric>

#include "core/error.h"
#include "kernels/cuda/quantize.h"
#include "kernels/ref_backend.h"
#include "tests/cuda/layout.h"
#include "tests/kernels/parity_util.h"

namespace ftt::cuda::test {
namespace {

using ftt::test::MakeNorm;
using ftt::test::MakeWeights;
using ftt::test::MakeWindow;
using ftt::test::Operands;

struct SeparableCase {
  const char* name;
  Shape in;
  int kernel, stride, dilation;
  int out_c;
  bool relu;  // of the 1x1 convolution's input
  int images, lanes;

  friend void PrintTo(const SeparableCase& c, std::ostream* out) { *out << c.name; }
};

const SeparableCase kCases[] = {
    {"one_pixel", {1, 1, 1}, 3, 1, 1, 1, false, 1, 1},
    {"k3_3_to_7", {7, 5, 3}, 3, 1, 1, 7, true, 3, 2},
    {"k3_20_to_40", {17, 9, 20}, 3, 1, 1, 40, false, 2, 2},
    {"k3_40_to_17", {32, 6, 40}, 3, 1, 1, 17, true, 1, 2},
    {"k3_stride_17_to_80", {19, 17, 17}, 3, 2, 1, 80, true, 2, 1},
    {"k3_dilated_80", {11, 13, 80}, 3, 1, 2, 80, false, 1, 5},
    {"k3_dilated_stride_7", {9, 9, 7}, 3, 2, 2, 20, true, 2, 1},
    {"k5_20", {8, 8, 20}, 5, 1, 1, 20, false, 2, 2},
    {"k5_stride_40_to_100", {19, 9, 40}, 5, 2, 1, 100, true, 1, 2},
    {"k5_dilated_3", {11, 7, 3}, 5, 1, 2, 3, true, 2, 5},
    {"k5_dilated_stride_40", {13, 7, 40}, 5, 2, 2, 40, false, 1, 2},
    {"k3_more_channels_than_threads", {5, 3, 600}, 3, 1, 1, 20, true, 1, 2},
    {"k3_two_tiles_of_pixels", {30, 30, 16}, 3, 1, 1, 16, true, 1, 2},
    {"k3_stride_wide", {17, 70, 20}, 3, 2, 1, 20, true, 1, 2},
    {"k5_stride_wide", {15, 69, 40}, 5, 2, 1, 40, false, 1, 2},
    {"k5_wide_to_130", {9, 33, 20}, 5, 1, 1, 130, true, 1, 2},
    {"k3_200_to_60", {6, 9, 200}, 3, 1, 1, 60, true, 1, 2},
    {"k3_half_a_band", {9, 34, 130}, 3, 1, 1, 24, true, 1, 1},
};

class CudaSeparableTest : public ::testing::TestWithParam<SeparableCase> {
 protected:
  CudaSeparableTest() : ids_(static_cast<size_t>(c_.images)) {
    std::iota(ids_.begin(), ids_.end(), 1000u);
    x_ = operands_.Codes(c_.lanes * c_.images * c_.in.Elements());
  }
  WeightCodes Weights(const WindowShape& s, int copies) {
    const int64_t n = int64_t{s.out.c} * s.conv.kernel * s.conv.kernel * s.in.c / s.conv.groups;
    return MakeWeights(operands_, n, copies, false);
  }
  WindowGeometry Geometry(const WindowShape& s) const {
    return {c_.lanes, c_.images,     s.in.h,        s.in.w,          s.in.c,      s.out.h, s.out.w,
            s.out.c,  s.conv.kernel, s.conv.stride, s.conv.dilation, -s.conv.pad, s.relu};
  }
  int64_t Outputs(const WindowShape& s) const {
    return int64_t{c_.lanes} * c_.images * s.out.Elements();
  }
  // The first `lanes` of some specifications.
  std::vector<std::string> Lanes(std::vector<std::string> specs) const {
    specs.resize(static_cast<size_t>(c_.lanes));
    return specs;
  }
  // ahead: with faults of one kind, drawn by DrawStrikes.
  void Run(bool faulty_weights, bool ahead);

  const SeparableCase c_ = GetParam();
  const WindowShape first_ = MakeWindow(
      c_.in, c_.in.c, {c_.kernel, c_.stride, c_.dilation*(c_.kernel - 1) / 2, c_.dilation, c_.in.c},
      true);
  const WindowShape second_ = MakeWindow(first_.out, c_.out_c, {}, c_.relu);
  std::vector<uint32_t> ids_;
  Operands operands_{1};
  std::vector<int8_t> x_;
};

// An affine map in device memory.
struct DeviceNorm {
  DeviceNorm(const LaneNorm& norm, int channels)
      : scale(Padded(norm.scale, channels)), shift(Padded(norm.shift, channels)) {}
  WindowOutput Output(const SiteFaultsView& faults) const {
    WindowOutput out;
    out.scale = scale.Data();
    out.shift = shift.Data();
    out.one_norm = true;
    out.faults = faults;
    return out;
  }
  DeviceBuffer<float> scale, shift;
};

void CudaSeparableTest::Run(bool faulty_weights, bool ahead) {
  WeightCodes w1 = Weights(first_, faulty_weights ? c_.lanes : 1);
  WeightCodes w2 = Weights(second_, faulty_weights ? c_.lanes : 1);
  const LaneNorm norm1 = MakeNorm(operands_, c_.in.c, 0.004f, false);
  const LaneNorm norm2 = MakeNorm(operands_, c_.out_c, 0.003f, false);
  const BatchDims dims{c_.lanes, c_.images, ids_.data()};
  const WindowGeometry g1 = Geometry(first_), g2 = Geometry(second_);
  ASSERT_GT(SeparableRows(g1, g2), 0);
  LanePlans faults1(
      Lanes(ahead
                ? std::vector<std::string>{"mibb:0.02", "", "mibb:0.001", "mibb:0.05", "mibb:0.01"}
                : std::vector<std::string>{"mibb:0.01+ibf-feature:0.02", "lane-stuck:0.2", "",
                                           "mibb:0.05", "mibb:0.02,sampler=dense"}),
      first_.out, 8, false, ids_);
  LanePlans faults2(
      Lanes(ahead
                ? std::vector<std::string>{"mibb:0.01", "mibb:0.03", "mibb:0.02", "", "mibb:0.0001"}
                : std::vector<std::string>{"ibf-feature:0.01", "mibb:0.03", "stuck-feature:0.02",
                                           "", "mibb:0.05+ibf-feature:0.02"}),
      second_.out, 8, false, ids_);
  EXPECT_EQ(ahead, faults1.CanListAll());
  EXPECT_EQ(ahead, faults2.CanListAll());
  std::vector<int8_t> middle(static_cast<size_t>(Outputs(first_)));
  std::vector<int8_t> want(static_cast<size_t>(Outputs(second_)));
  RefBackend ref;
  ref.AccumulateQuantize(dims, first_, 8, x_.data(), &w1, norm1, faults1.Host(), middle.data());
  ref.AccumulateQuantize(dims, second_, 8, middle.data(), &w2, norm2, faults2.Host(), want.data());

  const DeviceBuffer<int8_t> x(Padded(x_, c_.in.c)), codes1(w1.codes), codes2(w2.codes);
  const DeviceBuffer<uint32_t> packed1(static_cast<size_t>(w1.copies * PackedDepthwiseWords(g1)));
  const DeviceBuffer<int8_t> packed2(static_cast<size_t>(w2.copies * PackedConvBytes(g2)));
  PackDepthwiseWeights(g1, w1.copies, codes1.Data(), packed1.Data(), {});
  PackConvWeights(g2, w2.copies, codes2.Data(), packed2.Data(), {});
  const DeviceNorm device_norm1(norm1, c_.in.c), device_norm2(norm2, c_.out_c);
  const DeviceBuffer<int8_t> y(static_cast<size_t>(g2.lanes * g2.Out().LaneElements()));
  SeparableArguments a;
  a.depthwise = {g1, x.Data(), packed1.Data(), w1.copies == 1,
                 device_norm1.Output(faults1.View(ahead))};
  a.pointwise = {g2, nullptr, packed2.Data(), w2.copies == 1,
                 device_norm2.Output(faults2.View(ahead))};
  a.pointwise.out.codes = y.Data();
  Separable(a, {});
  EXPECT_EQ(want, Dense(y.Get(), c_.out_c));
  const uint64_t hits1 = faults1.CheckCounts(), hits2 = faults2.CheckCounts();
  if (std::min(Outputs(first_), Outputs(second_)) > 600) {
    EXPECT_GT(hits1, 0u) << "the depthwise faults never hit";
    EXPECT_GT(hits2, 0u) << "the faults of the result never hit";
  }
}

TEST_P(CudaSeparableTest, IsExactWithFaults) {
  InBothOrders([&] { Run(false, false); });
}

TEST_P(CudaSeparableTest, IsExactWithListedFaults) {
  InBothOrders([&] { Run(false, true); });
}

TEST_P(CudaSeparableTest, TakesWeightsOfEachLane) { Run(true, false); }

INSTANTIATE_TEST_SUITE_P(All, CudaSeparableTest, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

WindowGeometry Depthwise3x3(int side, int channels) {
  return {1, 1, side, side, channels, side, side, channels, 3, 1, 1, -1, false};
}
WindowGeometry Pointwise(int side, int channels, int out) {
  return {1, 1, side, side, channels, side, side, out, 1, 1, 1, 0, false};
}

TEST(CudaSeparablePlanTest, BandsShrinkUntilTheyFit) {
  EXPECT_EQ(SeparableRows(Depthwise3x3(32, 32), Pointwise(32, 32, 32)), 8);
  EXPECT_EQ(SeparableRows(Depthwise3x3(32, 16), Pointwise(32, 16, 16)), 16);
  EXPECT_EQ(SeparableRows(Depthwise3x3(5, 16), Pointwise(5, 16, 16)), 5);
  EXPECT_EQ(SeparableRows(Depthwise3x3(32, 256), Pointwise(32, 256, 64)), 4);
  EXPECT_EQ(SeparableRows(Depthwise3x3(64, 1024), Pointwise(64, 1024, 64)), 0);
}

TEST(CudaSeparablePlanTest, FusesOnlyWhatFollowsAndPays) {
  const WindowGeometry d = Depthwise3x3(8, 64);
  EXPECT_TRUE(FusesSeparable(d, Pointwise(8, 64, 64)));
  EXPECT_TRUE(FusesSeparable(d, Pointwise(8, 64, 128)));
  EXPECT_FALSE(FusesSeparable(d, Pointwise(8, 64, 144))) << "weights outweigh the codes";
  EXPECT_FALSE(FusesSeparable(d, Pointwise(8, 48, 64)));
  EXPECT_FALSE(FusesSeparable(d, Depthwise3x3(8, 64)));
  WindowGeometry strided = Pointwise(8, 64, 64);
  strided.stride = 2;
  EXPECT_FALSE(FusesSeparable(d, strided));
  WindowGeometry large = d;
  large.kernel = 7;
  EXPECT_FALSE(FusesSeparable(large, Pointwise(8, 64, 64)));
  EXPECT_FALSE(FusesSeparable(Depthwise3x3(64, 1024), Pointwise(64, 1024, 64)));
}

TEST(CudaSeparablePlanTest, RefusesWhatDoesNotFit) {
  SeparableArguments a;
  a.depthwise.geometry = Depthwise3x3(64, 1024);
  a.pointwise.geometry = Pointwise(64, 1024, 64);
  EXPECT_THROW(Separable(a, {}), Error);
}

}  // namespace
}  // namespace ftt::cuda::test
