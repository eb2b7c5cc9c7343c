// Quantize and Inject on the device against the reference, bit for bit: codes, masks, fault maps
// and counts.
#include "kernels/cuda/quantize.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "core/half.h"
#include "core/philox.h"
#include "kernels/ref_backend.h"
#include "tests/cuda/layout.h"

namespace ftt::cuda::test {
namespace {

struct QuantizeCase {
  const char* name;
  Shape map;
  int images;
  std::vector<std::string> specs;  // one per lane; "" is clean
  int bits = 8;
  SiteKind kind = SiteKind::kConv;

  friend void PrintTo(const QuantizeCase& c, std::ostream* out) { *out << c.name; }
};

std::vector<QuantizeCase> Cases() {
  return {
      {"one_value", {1, 1, 1}, 1, {"mibb:0.02"}},
      {"three_channels", {5, 3, 3}, 1, {"", "mibb:0.02"}},
      {"seven_channels", {7, 5, 7}, 4, {"mibb:0.01,sampler=dense"}},
      {"seventeen_channels", {9, 7, 17}, 3, {"mibb:0.001", "mibb:0.02", ""}},
      {"twenty_channels", {8, 8, 20}, 5, {"", "mibb:0.0001", "mibb:0.01", "mibb:0.05", "mibb:0.2"}},
      {"forty_channels", {16, 11, 40}, 2, {"mibb:0.05,sampler=sparse", "mibb:0.05,sampler=dense"}},
      {"many_arrivals", {16, 8, 16}, 2, {"mibb:0.2,sampler=sparse", "mibb:0.5,sampler=sparse"}},
      {"five_bits", {6, 6, 20}, 2, {"mibb:0.03", "mibb:0.03,sampler=dense"}, 5},
      {"one_bit", {6, 6, 20}, 2, {"mibb:0.03,bit=6", "ibf-feature:0.05,bit=3,sampler=dense"}},
      {"flips", {6, 7, 17}, 3, {"ibf-feature:0.02", "ibf-feature:0.1,sampler=dense"}, 7},
      {"flips_often", {9, 9, 20}, 2, {"ibf-feature:0.2,sampler=sparse"}},
      {"stuck", {6, 7, 17}, 3, {"stuck-feature:0.05", "stuck-feature:0.3,sampler=dense"}},
      {"columns",
       {5, 7, 40},
       2,
       {"lane-stuck:0.02,mode=bit,bit=3", "lane-stuck:0.02,mode=max", "lane-stuck:0.02,mode=zero"}},
      {"several", {9, 7, 20}, 3, {"mibb:0.01+ibf-feature:0.02+stuck-feature:0.01", "mibb:0.02"}},
      {"intermittent", {6, 6, 20}, 5, {"mibb:0.01,lifetime=intermittent,window=2", ""}},
      {"pool_site", {6, 6, 20}, 2, {"ibf-feature:0.01", "mibb:0.1"}, 8, SiteKind::kPool},
      {"many_channels", {3, 3, 600}, 2, {"mibb:0.01", ""}},
      {"many_pixels", {48, 48, 20}, 3, {"mibb:0.001", "", "mibb:0.01"}},
      {"many_pixels_injected", {48, 48, 3}, 2, {"ibf-feature:0.001", ""}},
  };
}

std::vector<uint32_t> Ids(int images) {
  std::vector<uint32_t> ids(static_cast<size_t>(images));
  std::iota(ids.begin(), ids.end(), 1000u);
  return ids;
}

class CudaQuantizeTest : public ::testing::TestWithParam<QuantizeCase> {
 protected:
  static void CheckAgainstReference(RawType type);
};

// Accumulators and affine maps that saturate a few codes on both sides.
struct Operands {
  std::vector<int32_t> acc;
  std::vector<LaneNorm> norms;

  Operands(const QuantizeCase& c, int lanes) {
    PhiloxSequence draws(5, Stream::kShuffle, 1);
    acc.resize(static_cast<size_t>(lanes * c.images * c.map.Elements()));
    for (int32_t& v : acc) v = static_cast<int32_t>(draws.Below(100001)) - 50000;
    for (int l = 0; l < lanes; ++l) {
      LaneNorm norm;
      for (int k = 0; k < c.map.c; ++k) {
        norm.scale.push_back((0.5f + draws.Uniform()) * 0.003f);
        norm.shift.push_back(draws.Uniform() * 20 - 10);
      }
      norms.push_back(norm);
    }
  }
  std::vector<float> All(std::vector<float> LaneNorm::*field) const {
    std::vector<float> out;
    for (const LaneNorm& n : norms) out.insert(out.end(), (n.*field).begin(), (n.*field).end());
    return out;
  }
};

// Halves: accumulators of which they hold every bit.
void CudaQuantizeTest::CheckAgainstReference(RawType type) {
  constexpr int kShift = 6;
  const QuantizeCase& c = GetParam();
  const auto lanes = static_cast<int>(c.specs.size());
  const MapShape shape{lanes, c.images, c.map.h, c.map.w, c.map.c};
  Operands operands(c, lanes);
  std::vector<uint16_t> halves;
  if (type == RawType::kHalf) {
    for (int32_t& v : operands.acc) {
      v = v >> kShift << kShift;
      halves.push_back(ftt::FloatToHalf(static_cast<float>(v >> kShift)));
    }
  }
  const std::vector<uint32_t> ids = Ids(c.images);
  const BatchDims dims{lanes, c.images, ids.data()};
  DrawnBothWays([&](bool ahead) {
    LanePlans plans(c.specs, c.map, c.bits, /*training=*/false, ids, c.kind);
    std::vector<int8_t> want(operands.acc.size());
    std::vector<uint8_t> want_mask(
        static_cast<size_t>(lanes * c.images * MaskBytes(c.map.Elements())));
    RefBackend().Quantize(dims, c.map, c.bits, operands.acc.data(), operands.norms.data(),
                          plans.Host(), want.data(), want_mask.data(), false);

    // Garbage in the pads of the raw values must not reach a code.
    const DeviceBuffer<int32_t> raw(Padded(operands.acc, c.map.c, 12345));
    const DeviceBuffer<uint16_t> half(Padded(halves, c.map.c, uint16_t{0x5000}));
    const DeviceBuffer<float> scale(Padded(operands.All(&LaneNorm::scale), c.map.c));
    const DeviceBuffer<float> shift(Padded(operands.All(&LaneNorm::shift), c.map.c));
    const DeviceBuffer<int8_t> codes(raw.Size());
    const DeviceBuffer<uint8_t> mask(raw.Size() / 8);
    QuantizeArguments a;
    a.shape = shape;
    a.bits = c.bits;
    a.raw_type = type;
    a.raw_shift = kShift;
    a.raw = type == RawType::kHalf ? static_cast<const void*>(half.Data()) : raw.Data();
    a.scale = scale.Data();
    a.shift = shift.Data();
    a.faults = plans.View(ahead);
    a.codes = codes.Data();
    a.mask = mask.Data();
    Quantize(a, {});
    EXPECT_EQ(want, Dense(codes.Get(), c.map.c));
    EXPECT_EQ(want_mask, DenseMask(mask.Get(), shape));
    const uint64_t delivered = plans.CheckCounts();
    if (want.size() > 400) {
      EXPECT_GT(delivered, 0u) << "the faults of this case never hit";
    }
  });
}

TEST_P(CudaQuantizeTest, EqualsReference) { CheckAgainstReference(RawType::kInt32); }

TEST_P(CudaQuantizeTest, OfHalvesEqualsReference) { CheckAgainstReference(RawType::kHalf); }

// What the map gives, the code of it and whether it was inside: ties, limits, values that the
// rounding addition cannot hold, no number.
TEST(CudaQuantizeRoundingTest, RoundsTiesLimitsAndExtremes) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  struct Value {
    float y;
    int code;
    bool inside;
  };
  const std::vector<Value> values = {
      {0.5f, 0, true},           {1.5f, 2, true},          {-0.5f, 0, true},
      {-2.5f, -2, true},         {127.49f, 127, true},     {127.5f, 127, false},
      {-128.5f, -128, true},     {-128.51f, -128, false},  {-0.0f, 0, true},
      {1e-38f, 0, true},         {8388608.5f, 127, false}, {-12582912.0f, -128, false},
      {1e30f, 127, false},       {-1e30f, -128, false},    {kInfinity, 127, false},
      {-kInfinity, -128, false}, {NAN, -128, false},
  };
  const auto n = static_cast<int>(values.size());
  const MapShape shape{1, 1, 1, 1, n};
  std::vector<float> shifts;
  for (const Value& v : values) shifts.push_back(v.y);
  const DeviceBuffer<int32_t> raw(Padded(std::vector<int32_t>(values.size()), n));
  const DeviceBuffer<float> scale(Padded(std::vector<float>(values.size(), 1.0f), n));
  const DeviceBuffer<float> shift(Padded(shifts, n));
  const DeviceBuffer<int8_t> codes(raw.Size());
  const DeviceBuffer<uint8_t> mask(raw.Size() / 8);
  QuantizeArguments a;
  a.shape = shape;
  a.raw = raw.Data();
  a.scale = scale.Data();
  a.shift = shift.Data();
  a.codes = codes.Data();
  a.mask = mask.Data();
  Quantize(a, {});
  const std::vector<int8_t> got = Dense(codes.Get(), n);
  const std::vector<uint8_t> bits = mask.Get();
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(got[i], values[i].code) << values[i].y;
    EXPECT_EQ((bits[i / 8] >> i % 8 & 1) != 0, values[i].inside) << values[i].y;
  }
}

TEST_P(CudaQuantizeTest, InjectEqualsReference) {
  const QuantizeCase& c = GetParam();
  const auto lanes = static_cast<int>(c.specs.size());
  const std::vector<uint32_t> ids = Ids(c.images);
  const BatchDims dims{lanes, c.images, ids.data()};
  std::vector<int8_t> clean(static_cast<size_t>(lanes * c.images * c.map.Elements()));
  for (size_t i = 0; i < clean.size(); ++i)
    clean[i] = static_cast<int8_t>(static_cast<int>(i * 37 % (1u << c.bits)) - (1 << (c.bits - 1)));
  DrawnBothWays([&](bool ahead) {
    LanePlans plans(c.specs, c.map, c.bits, /*training=*/true, ids, c.kind);
    std::vector<int8_t> want = clean;
    RefBackend().Inject(dims, c.map, plans.Host(), want.data());
    const DeviceBuffer<int8_t> codes(Padded(clean, c.map.c));
    Inject({{lanes, c.images, c.map.h, c.map.w, c.map.c}, plans.View(ahead), codes.Data()}, {});
    EXPECT_EQ(want, Dense(codes.Get(), c.map.c));
    plans.CheckCounts();
  });
}

INSTANTIATE_TEST_SUITE_P(All, CudaQuantizeTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace ftt::cuda::test
