// The kernels that only benchmarks run: the chain op by op against plain loops, and the probe of
// the matrix instruction.
#include "kernels/cuda/unfused.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/cuda/probe.h"
#include "kernels/quantize_math.h"
#include "kernels/ref_backend.h"
#include "tests/cuda/layout.h"
#include "tests/kernels/parity_util.h"

namespace ftt::cuda::test {
namespace {

struct UnfusedCase {
  Shape map;
  int images;
  RawNumber type;
  const char* faults;
};

class CudaUnfusedTest : public ::testing::TestWithParam<UnfusedCase> {};

// Raw values, whole numbers that half precision holds, in each of their types.
template <typename T>
DeviceBuffer<T> RawValues(const std::vector<int>& values, int channels) {
  return DeviceBuffer<T>(Padded(std::vector<T>(values.begin(), values.end()), channels));
}
std::vector<uint16_t> HalfBits(const std::vector<int>& values) {
  std::vector<uint16_t> bits;
  for (const int v : values) {
    const int magnitude = std::abs(v);
    const int exponent = magnitude == 0 ? -15 : static_cast<int>(std::log2(magnitude));
    const int fraction = magnitude == 0 ? 0 : (magnitude << (10 - exponent)) & 0x3FF;
    bits.push_back(static_cast<uint16_t>((v < 0 ? 0x8000 : 0) | (exponent + 15) << 10 | fraction));
  }
  return bits;
}

// Codes before faults, in double, and their exponent.
std::vector<int8_t> PlainCodes(const std::vector<int>& raw, int channels, double unit,
                               int* exponent) {
  const auto c = static_cast<size_t>(channels);
  const double n = static_cast<double>(raw.size() / c);
  std::vector<double> sum(c), squares(c), values;
  for (size_t i = 0; i < raw.size(); ++i) {
    sum[i % c] += raw[i] * unit;
    squares[i % c] += raw[i] * unit * (raw[i] * unit);
  }
  double largest = 0;
  for (size_t i = 0; i < raw.size(); ++i) {
    const double mean = sum[i % c] / n, variance = squares[i % c] / n - mean * mean;
    values.push_back((raw[i] * unit - mean) / std::sqrt(variance + 1e-5));
    largest = std::max(largest, std::fabs(values.back()));
  }
  *exponent = ExponentFor(static_cast<float>(largest), 8);
  // The chain takes the maximum of values in half precision: next to a power of two its exponent
  // may be another.
  EXPECT_EQ(ExponentFor(static_cast<float>(largest * 1.001), 8), *exponent) << largest;
  EXPECT_EQ(ExponentFor(static_cast<float>(largest * 0.999), 8), *exponent) << largest;
  std::vector<int8_t> codes;
  for (const double v : values) {
    codes.push_back(
        static_cast<int8_t>(std::clamp(std::rint(std::ldexp(v, -*exponent)), -128.0, 127.0)));
  }
  return codes;
}

TEST_P(CudaUnfusedTest, AgreesWithPlainLoops) {
  const UnfusedCase& c = GetParam();
  const MapShape shape{1, c.images, c.map.h, c.map.w, c.map.c};
  constexpr float kUnit = 0x1p-6f;
  ftt::test::Operands operands(4);
  std::vector<int> raw(static_cast<size_t>(c.images * c.map.Elements()));
  for (int& v : raw) v = static_cast<int>(operands.Below(801)) - 400;
  int want_exponent = 0;
  std::vector<int8_t> want = PlainCodes(raw, c.map.c, double{kUnit}, &want_exponent);

  const auto padded = static_cast<size_t>(shape.LaneElements());
  const DeviceBuffer<uint16_t> half(Padded(HalfBits(raw), c.map.c));
  const DeviceBuffer<float> floats = RawValues<float>(raw, c.map.c);
  const DeviceBuffer<int32_t> ints = RawValues<int32_t>(raw, c.map.c);
  const auto blocks = static_cast<size_t>(UnfusedBlocks(shape));
  const auto stride = static_cast<size_t>(shape.Stride());
  const DeviceBuffer<float> sums(2 * blocks * stride), affine(2 * stride), largest(blocks);
  const DeviceBuffer<uint16_t> normalized(padded);
  const DeviceBuffer<int> exponent(1);
  const DeviceBuffer<int8_t> codes(padded), rectified(padded);
  std::vector<uint32_t> ids(static_cast<size_t>(c.images));
  std::iota(ids.begin(), ids.end(), 0u);
  InBothOrders([&] {
    LanePlans plans({c.faults}, c.map, 8, /*training=*/true, ids);
    UnfusedArguments a;
    a.shape = shape;
    a.raw_type = c.type;
    a.raw = c.type == RawNumber::kHalf    ? static_cast<const void*>(half.Data())
            : c.type == RawNumber::kFloat ? static_cast<const void*>(floats.Data())
                                          : static_cast<const void*>(ints.Data());
    a.raw_unit = kUnit;
    a.sums = sums.Data();
    a.affine = affine.Data();
    a.normalized = normalized.Data();
    a.largest = largest.Data();
    a.faults = plans.View();
    a.exponent = exponent.Data();
    a.codes = codes.Data();
    a.rectified = rectified.Data();
    Unfused(a, {});
    std::vector<int8_t> struck = want;
    RefBackend().Inject({1, c.images, ids.data()}, c.map, plans.Host(), struck.data());
    EXPECT_EQ(exponent.Get()[0], want_exponent);
    const std::vector<int8_t> got = Dense(codes.Get(), c.map.c);
    const std::vector<int8_t> positive = Dense(rectified.Get(), c.map.c);
    ASSERT_EQ(got.size(), struck.size());
    size_t different = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      // Rounding to half precision moves a few codes by one.
      ASSERT_LE(std::abs(got[i] - struck[i]), 1) << i;
      different += got[i] != struck[i] ? 1 : 0;
      ASSERT_EQ(positive[i], std::max<int>(got[i], 0)) << i;
    }
    EXPECT_LE(different, got.size() / 20);
    plans.CheckCounts();
  });
}

INSTANTIATE_TEST_SUITE_P(
    All, CudaUnfusedTest,
    ::testing::Values(UnfusedCase{{7, 5, 20}, 3, RawNumber::kHalf, "mibb:0.01"},
                      UnfusedCase{{16, 17, 3}, 2, RawNumber::kFloat, "mibb:0.01,sampler=dense"},
                      UnfusedCase{{32, 31, 40}, 5, RawNumber::kInt32, "mibb:0.001"},
                      UnfusedCase{{3, 3, 130}, 2, RawNumber::kInt32, ""}));

TEST(CudaProbeTest, EveryThreadAddsUpItsTiles) {
  constexpr int kBlocks = 2, kIterations = 3;
  const DeviceBuffer<int32_t> out(kBlocks * kProbeThreads);
  MatrixProbe(kBlocks, kIterations, out.Data(), {});
  for (const int32_t v : out.Get()) ASSERT_EQ(v, 8 * 4 * 32 * kIterations);
  EXPECT_EQ(ProbeMultiplyAdds(kBlocks, kIterations), int64_t{2} * 8 * 3 * 8 * 4096);
}

}  // namespace
}  // namespace ftt::cuda::test
