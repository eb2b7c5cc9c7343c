// Backward passes of pools against the reference, rounded once, bit for bit.
#include "kernels/cuda/pool_backward.h"

#include "core/error.h"
#include "kernels/ref_backend.h"
#include "tests/cuda/gradients.h"

namespace ftt::cuda::test {
namespace {

using ftt::test::MakePool;
using ftt::test::Operands;
using ftt::test::WindowCase;

std::vector<WindowCase> Cases() {
  const auto max = PoolKind::kMax, average = PoolKind::kAverage;
  return {
      {"max_one_pixel", MakePool({1, 1, 1}, max, Params(3, 1, 1, 1), false), 1, 1},
      {"max_20", MakePool({9, 7, 20}, max, Params(3, 1, 1, 1), false), 2, 2},
      {"max_stride_relu", MakePool({19, 9, 17}, max, Params(3, 2, 1, 1), true), 1, 5},
      {"max_stride_even", MakePool({8, 10, 33}, max, Params(3, 2, 1, 1), true), 2, 2},
      {"max_2x2", MakePool({9, 6, 40}, max, {2, 2, 0, 1, 1, 0}, true), 3, 1},
      {"max_dilated", MakePool({10, 9, 3}, max, Params(3, 1, 2, 1), true), 2, 1},
      {"max_shifted", MakePool({7, 9, 3}, max, Params(3, 2, 1, 1, 1), true), 2, 1},
      {"max_5x5_70", MakePool({5, 11, 70}, max, Params(5, 1, 1, 1), true), 1, 2},
      {"max_170", MakePool({5, 3, 170}, max, Params(3, 1, 1, 1), true), 1, 2},
      {"average_170", MakePool({3, 5, 170}, average, Params(3, 2, 1, 1), false), 2, 1},
      {"max_no_pad", MakePool({12, 33, 50}, max, {3, 1, 0, 1, 1, 0}, false), 2, 1},
      {"max_stride_no_pad", MakePool({13, 20, 16}, max, {3, 2, 0, 1, 1, 0}, false), 1, 2},
      {"max_wide_pad", MakePool({6, 5, 20}, max, {3, 1, 2, 1, 1, 0}, false), 1, 2},
      {"average_wide_pad", MakePool({6, 5, 20}, average, {3, 2, 2, 1, 1, 0}, true), 1, 2},
      {"average_no_pad", MakePool({12, 9, 50}, average, {3, 1, 0, 1, 1, 0}, false), 2, 1},
      {"average_5x5", MakePool({7, 6, 20}, average, Params(5, 1, 1, 1), true), 1, 2},
      {"average_7", MakePool({7, 5, 7}, average, Params(3, 1, 1, 1), false), 3, 2},
      {"average_stride", MakePool({9, 7, 20}, average, Params(3, 2, 1, 1), true), 2, 2},
      {"average_1", MakePool({5, 3, 1}, average, Params(3, 1, 1, 1), true), 1, 1},
      {"average_130", MakePool({17, 3, 130}, average, Params(3, 1, 1, 1), true), 1, 1},
  };
}

class CudaPoolBackwardTest : public ::testing::TestWithParam<WindowCase> {};

TEST_P(CudaPoolBackwardTest, IsExact) {
  const WindowCase& c = GetParam();
  const WindowGeometry g = GeometryOf(c.shape, c.lanes, c.images);
  const int64_t maps = int64_t{c.lanes} * c.images, inputs = maps * c.shape.in.Elements();
  Operands operands(7);
  const std::vector<uint32_t> ids(static_cast<size_t>(c.images));
  std::vector<int8_t> x = operands.Codes(inputs);
  // Many ties, and windows that are negative throughout.
  for (int8_t& v : x) v = static_cast<int8_t>(v > 0 ? v / 40 : v < -20 ? -128 : v / 3);
  const std::vector<float> grad = ShortFloats(operands, maps * c.shape.out.Elements());
  const std::vector<float> before = ShortFloats(operands, inputs);
  const std::vector<int> exponents(static_cast<size_t>(c.lanes));
  const PoolType type = c.shape.pool_kind == PoolKind::kMax ? PoolType::kMax : PoolType::kAverage;
  for (const bool accumulate : {false, true}) {
    std::vector<float> want = before;
    RefBackend().WindowBackward({c.lanes, c.images, ids.data()}, c.shape, x.data(),
                                exponents.data(), nullptr, grad.data(), nullptr, want.data(),
                                accumulate, nullptr, nullptr);
    InBothOrders([&] {
      const DeviceBuffer<int8_t> d_x(Padded(x, c.shape.in.c));
      const DeviceBuffer<Bf16> grad_y(ToBf16(Padded(grad, c.shape.in.c)));
      DeviceBuffer<Bf16> grad_x(static_cast<size_t>(c.lanes * g.In().LaneElements()));
      if (accumulate) grad_x.Set(ToBf16(Padded(before, c.shape.in.c)));
      PoolBackward({g, type, d_x.Data(), grad_y.Data(), grad_x.Data(), accumulate}, {});
      EXPECT_EQ(RoundedToBf16(want), Dense(FromBf16(grad_x.Get()), c.shape.in.c));
    });
  }
}

INSTANTIATE_TEST_SUITE_P(All, CudaPoolBackwardTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(CudaPoolBackwardErrorTest, RefusesWhatItCannotDo) {
  PoolBackwardArguments a;
  a.geometry.kernel = 17;
  EXPECT_THROW(PoolBackward(a, {}), Error);
}

}  // namespace
}  // namespace ftt::cuda::test
