// Nodes and global sums on the device against the reference, bit for bit.
#include "kernels/cuda/sum.h"

#include <deque>
#include <numeric>

#include "kernels/cuda/pool.h"
#include "kernels/ref_backend.h"
#include "tests/cuda/layout.h"
#include "tests/kernels/parity_util.h"

namespace ftt::cuda::test {
namespace {

struct SumCase {
  const char* name;
  Shape map;
  int images;
  std::vector<std::string> specs;           // one per lane
  std::vector<std::vector<int>> exponents;  // [input][lane]
  std::vector<bool> relu;                   // [input]

  friend void PrintTo(const SumCase& c, std::ostream* out) { *out << c.name; }
};

std::vector<SumCase> Cases() {
  const std::string flips = "ibf-feature:0.02", stuck = "stuck-feature:0.05,sampler=dense";
  return {
      {"nothing", {3, 3, 7}, 1, {""}, {}, {}},
      {"one", {1, 1, 1}, 1, {flips}, {{-4}}, {true}},
      {"two", {7, 5, 20}, 3, {"", flips}, {{-5, -3}, {-7, -3}}, {false, true}},
      {"three",
       {5, 5, 17},
       1,
       {flips, stuck, "", flips, ""},
       {{-5, -3, 0, 1, 2}, {-7, -3, 1, 1, 2}, {-6, -9, 2, 1, -2}},
       {false, true, true}},
      {"far_apart", {4, 4, 3}, 2, {"", stuck}, {{-28, 0}, {2, -25}}, {false, false}},
      // Left shifts of sums, some of them beyond what 32 bits hold.
      {"coarse", {5, 4, 18}, 2, {"", flips, ""}, {{30, -3, 4}, {33, -6, 17}}, {false, false}},
      // Sums in 16 bits, with the largest factors and shifts, and just beyond.
      {"halves",
       {5, 7, 20},
       2,
       {"", "", flips, ""},
       {{-4, -12, -13, -10}, {-3, -6, -7, -10}, {-4, -7, -12, -10}},
       {false, true, false}},
      {"eight",
       {6, 5, 20},
       2,
       {"", flips},
       {{-9, 3}, {-7, 20}, {-9, 23}, {-8, 3}, {11, 4}, {-9, 3}, {-2, 9}, {10, 23}},
       {false, true, false, false, true, false, false, false}},
      {"wide", {3, 4, 50}, 2, {"", flips}, {{-5, -3}, {-7, -2}, {-5, 9}}, {false, true, true}},
      // Faults of one kind, which can be drawn ahead.
      {"stuck",
       {17, 16, 40},
       2,
       {"stuck-feature:0.05,sampler=sparse", "", "stuck-feature:0.2,sampler=sparse"},
       {{-5, -3, -4}, {-7, -3, -4}},
       {false, true}},
      {"large", {16, 16, 40}, 2, {"", flips}, {{-5, -3}, {-7, -3}}, {false, true}},
  };
}

class CudaSumTest : public ::testing::TestWithParam<SumCase> {
 protected:
  CudaSumTest()
      : case_(GetParam()),
        lanes_(static_cast<int>(case_.specs.size())),
        shape_{lanes_, case_.images, case_.map.h, case_.map.w, case_.map.c},
        ids_(static_cast<size_t>(case_.images)),
        dims_{lanes_, case_.images, ids_.data()} {
    std::iota(ids_.begin(), ids_.end(), 70u);
  }
  size_t Elements() const {
    return static_cast<size_t>(lanes_ * case_.images * case_.map.Elements());
  }
  size_t PaddedElements() const { return static_cast<size_t>(lanes_ * shape_.LaneElements()); }

  // Inputs of `channels` each, for the reference and for the device.
  void MakeInputs(const std::vector<int>& channels, SumArguments* a) {
    const int64_t pixels = int64_t{lanes_} * case_.images * case_.map.h * case_.map.w;
    a->shape = shape_;
    a->count = static_cast<int>(channels.size());
    for (size_t k = 0; k < channels.size(); ++k) {
      host_.push_back(operands_.Codes(pixels * channels[k]));
      device_.emplace_back(Padded(host_.back(), channels[k]));
      exponents_.emplace_back(case_.exponents[k]);
      a->inputs[k] = {device_.back().Data(), exponents_.back().Data(), channels[k], case_.relu[k]};
    }
    for (size_t k = 0; k < channels.size(); ++k)
      inputs_.push_back({host_[k].data(), case_.exponents[k].data(), channels[k], case_.relu[k]});
  }

  const SumCase case_;
  const int lanes_;
  const MapShape shape_;
  std::vector<uint32_t> ids_;
  const BatchDims dims_;
  ftt::test::Operands operands_{9};
  std::deque<std::vector<int8_t>> host_;
  std::deque<DeviceBuffer<int8_t>> device_;
  std::deque<DeviceBuffer<int>> exponents_;
  std::vector<SumInput> inputs_;
};

TEST_P(CudaSumTest, AddEqualsReference) {
  SumArguments a;
  MakeInputs(std::vector<int>(case_.relu.size(), case_.map.c), &a);
  for (const bool derive : {true, false}) {
    DrawnBothWays([&](bool ahead) {
      LanePlans plans(case_.specs, case_.map, 8, true, ids_, SiteKind::kAdd);
      std::vector<int> want_exponent(static_cast<size_t>(lanes_), -4);
      std::vector<int8_t> want(Elements());
      std::vector<uint8_t> want_mask(
          static_cast<size_t>(lanes_ * case_.images * MaskBytes(case_.map.Elements())));
      RefBackend().Add(dims_, case_.map, 8, inputs_, derive, want_exponent.data(), plans.Host(),
                       want.data(), want_mask.data(), false);
      const DeviceBuffer<int> exponent(std::vector<int>(static_cast<size_t>(lanes_), -4));
      const DeviceBuffer<int32_t> largest(static_cast<size_t>(lanes_ * SumBlocks(shape_)));
      const DeviceBuffer<int8_t> codes(PaddedElements());
      const DeviceBuffer<uint8_t> mask(PaddedElements() / 8);
      a.exponent = exponent.Data();
      a.largest = derive ? largest.Data() : nullptr;
      a.faults = plans.View(ahead);
      a.codes = codes.Data();
      a.mask = mask.Data();
      Add(a, {});
      EXPECT_EQ(want_exponent, exponent.Get());
      EXPECT_EQ(want, Dense(codes.Get(), case_.map.c));
      EXPECT_EQ(want_mask, DenseMask(mask.Get(), shape_));
      plans.CheckCounts();
    });
  }
}

TEST_P(CudaSumTest, ConcatEqualsReference) {
  const auto parts = static_cast<int>(case_.relu.size());
  if (parts == 0 || case_.map.c < parts) GTEST_SKIP() << "nothing to concatenate";
  // Wide maps: whole vectors of one input.
  const int width = case_.map.c > 16 * parts ? 16 : 1;
  std::vector<int> channels(case_.relu.size(), width);
  channels.back() = case_.map.c - (parts - 1) * width;
  SumArguments a;
  MakeInputs(channels, &a);
  for (const bool fixed : {true, false}) {
    DrawnBothWays([&](bool ahead) {
      LanePlans plans(case_.specs, case_.map, 8, true, ids_, SiteKind::kConcat);
      std::vector<int> want_exponent(static_cast<size_t>(lanes_), -4);
      for (size_t l = 0; !fixed && l < want_exponent.size(); ++l) {
        want_exponent[l] = case_.exponents[0][l];
        for (const std::vector<int>& e : case_.exponents)
          want_exponent[l] = std::max(want_exponent[l], e[l]);
      }
      std::vector<int8_t> want(Elements());
      RefBackend().Concat(dims_, case_.map, 8, inputs_, want_exponent.data(), plans.Host(),
                          want.data());
      const DeviceBuffer<int> exponent(std::vector<int>(static_cast<size_t>(lanes_), -4));
      const DeviceBuffer<int8_t> codes(PaddedElements());
      a.exponent = exponent.Data();
      a.faults = plans.View(ahead);
      a.codes = codes.Data();
      Concat(a, fixed, {});
      EXPECT_EQ(want_exponent, exponent.Get());
      EXPECT_EQ(want, Dense(codes.Get(), case_.map.c));
      plans.CheckCounts();
    });
  }
}

// Every code by every distance of exponents, at every place of a word.
TEST(CudaConcatTest, RoundsEveryCodeToNearestEven) {
  constexpr int kLanes = 14, kPixels = 256;
  const std::vector<int> channels = {13, 18, 5, 4};
  const std::vector<bool> relu = {false, true, false, true};
  const MapShape shape{kLanes, 1, 16, 16, 40};
  std::vector<int> shifted, zero(kLanes);
  for (int lane = 0; lane < kLanes; ++lane) shifted.push_back(3 - lane);
  std::deque<std::vector<int8_t>> host;
  std::deque<DeviceBuffer<int8_t>> device;
  const DeviceBuffer<int> d_shifted(shifted), d_zero(zero);
  std::vector<SumInput> inputs;
  SumArguments a;
  a.shape = shape;
  a.count = static_cast<int>(channels.size());
  for (size_t k = 0; k < channels.size(); ++k) {
    std::vector<int8_t>& codes = host.emplace_back();
    for (int i = 0; i < kLanes * kPixels * channels[k]; ++i)
      codes.push_back(static_cast<int8_t>(i / channels[k] + 37 * (i % channels[k])));
    device.emplace_back(Padded(codes, channels[k]));
    const bool moves = k != 2;
    a.inputs[k] = {device.back().Data(), moves ? d_shifted.Data() : d_zero.Data(), channels[k],
                   relu[k]};
    inputs.push_back({codes.data(), moves ? shifted.data() : zero.data(), channels[k], relu[k]});
  }
  const uint32_t id = 0;
  std::vector<int8_t> want(size_t{kLanes} * kPixels * 40);
  RefBackend().Concat({kLanes, 1, &id}, {16, 16, 40}, 8, inputs, zero.data(), nullptr, want.data());
  const DeviceBuffer<int> exponent(zero);
  const DeviceBuffer<int8_t> codes(static_cast<size_t>(kLanes * shape.LaneElements()));
  a.exponent = exponent.Data();
  a.codes = codes.Data();
  Concat(a, true, {});
  EXPECT_EQ(want, Dense(codes.Get(), 40));
}

TEST_P(CudaSumTest, GlobalSumEqualsReference) {
  const std::vector<int8_t> x = operands_.Codes(static_cast<int64_t>(Elements()));
  const DeviceBuffer<int8_t> device(Padded(x, case_.map.c));
  for (const bool relu : {false, true}) {
    const auto maps = static_cast<size_t>(lanes_ * case_.images);
    std::vector<int32_t> want(maps * static_cast<size_t>(case_.map.c));
    RefBackend().GlobalSum(dims_, case_.map, relu, x.data(), want.data());
    const DeviceBuffer<int32_t> sums(maps * static_cast<size_t>(shape_.Stride()));
    const DeviceBuffer<int64_t> moments = EmptyMoments(lanes_, shape_.Stride());
    GlobalSum({shape_, relu, device.Data(), sums.Data(), moments.Data()}, {});
    EXPECT_EQ(want, Dense(sums.Get(), case_.map.c));
    const std::vector<int32_t> raw = sums.Get();
    const std::vector<ChannelMoments> got = Merged(moments.Get(), lanes_, shape_.Stride());
    const auto stride = static_cast<size_t>(shape_.Stride());
    std::vector<ChannelMoments> expected(got.size());
    for (size_t i = 0; i < raw.size(); ++i) {
      const int64_t v = raw[i];
      ChannelMoments& m =
          expected[i / (stride * static_cast<size_t>(case_.images)) * stride + i % stride];
      m = {m.sum + v, m.sum_squares + v * v, std::min(m.min, raw[i]), std::max(m.max, raw[i])};
    }
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].sum, expected[i].sum) << i;
      EXPECT_EQ(got[i].sum_squares, expected[i].sum_squares) << i;
      EXPECT_EQ(got[i].min, expected[i].min) << i;
      EXPECT_EQ(got[i].max, expected[i].max) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, CudaSumTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace ftt::cuda::test
