// Backward passes of dense convolutions against the reference: with its gradients rounded to
// bfloat16 closely, with float32 gradients within the parity tolerance.
#include "kernels/cuda/conv_backward.h"

#include "core/error.h"
#include "kernels/cuda/backward.h"
#include "kernels/cuda/conv_data_grad.h"
#include "kernels/cuda/weight_reduce.h"
#include "kernels/ref_backend.h"
#include "tests/cuda/gradients.h"

namespace ftt::cuda::test {
namespace {

using ftt::test::MakeWeights;
using ftt::test::MakeWindow;
using ftt::test::Operands;
using ftt::test::RelativeError;
using ftt::test::WindowCase;

constexpr double kParity = 1e-2;  // in norm, gradients in bfloat16
constexpr double kClose = 1e-5;   // of the largest value, the same gradients

std::vector<WindowCase> Cases() {
  return {
      {"one_pixel", MakeWindow({1, 1, 1}, 1, Params(1, 1, 1, 1), false), 1, 1},
      {"pointwise_3_to_17", MakeWindow({5, 3, 3}, 17, Params(1, 1, 1, 1), true), 1, 5},
      {"pointwise_33_to_140", MakeWindow({5, 5, 33}, 140, Params(1, 1, 1, 1), false), 2, 2},
      {"pointwise_3_to_40", MakeWindow({6, 5, 3}, 40, Params(1, 1, 1, 1), true), 2, 1},
      {"pointwise_10_to_60", MakeWindow({5, 6, 10}, 60, Params(1, 1, 1, 1), false), 2, 2},
      {"pointwise_32_to_32", MakeWindow({5, 5, 32}, 32, Params(1, 1, 1, 1), true), 2, 1},
      {"pointwise_40_to_10", MakeWindow({4, 7, 40}, 10, Params(1, 1, 1, 1), true), 3, 1},
      {"pointwise_60_to_20", MakeWindow({7, 5, 60}, 20, Params(1, 1, 1, 1), false), 2, 2},
      {"pointwise_140_to_20", MakeWindow({5, 3, 140}, 20, Params(1, 1, 1, 1), true), 1, 2},
      {"pointwise_20_to_620", MakeWindow({2, 2, 20}, 620, Params(1, 1, 1, 1), true), 1, 1},
      {"pointwise_620_to_10", MakeWindow({2, 2, 620}, 10, Params(1, 1, 1, 1), true), 1, 1},
      {"pointwise_stride", MakeWindow({8, 7, 20}, 10, Params(1, 2, 1, 1), true), 3, 2},
      {"pointwise_offset", MakeWindow({8, 6, 20}, 10, Params(1, 2, 1, 1, 1), true), 3, 2},
      {"pointwise_before", MakeWindow({8, 7, 20}, 10, Params(1, 2, 1, 1, -1), true), 3, 2},
      {"pointwise_many_tiles", MakeWindow({16, 17, 3}, 3, Params(1, 1, 1, 1), true), 58, 5},
      {"dense3x3_aligned", MakeWindow({8, 8, 16}, 16, Params(3, 1, 1, 1), true), 5, 2},
      {"dense3x3_7_to_40", MakeWindow({7, 5, 7}, 40, Params(3, 1, 1, 1), true), 4, 1},
      {"dense3x3_one_pixel", MakeWindow({1, 1, 3}, 1, Params(3, 1, 1, 1), false), 130, 1},
      {"dense3x3_stride", MakeWindow({9, 7, 20}, 33, Params(3, 2, 1, 1), true), 2, 2},
      {"dense3x3_stride_even", MakeWindow({8, 6, 33}, 7, Params(3, 2, 1, 1), false), 3, 2},
      {"dense3x3_shifted", MakeWindow({6, 7, 5}, 9, Params(3, 1, 1, 1, 1), true), 2, 2},
      {"dense3x3_shifted_stride", MakeWindow({9, 6, 5}, 9, Params(3, 2, 1, 1, -2), true), 2, 1},
      {"dense3x3_dilated", MakeWindow({7, 9, 17}, 80, Params(3, 1, 2, 1), false), 1, 2},
      {"dense3x3_dilated_stride", MakeWindow({9, 8, 7}, 17, Params(3, 2, 2, 1), true), 2, 1},
      {"dense3x3_wide", MakeWindow({3, 140, 3}, 5, Params(3, 1, 1, 1), true), 2, 1},
      {"dense3x3_128_wide", MakeWindow({2, 128, 3}, 3, Params(3, 1, 1, 1), true), 1, 1},
      {"dense3x3_72_to_70", MakeWindow({3, 5, 72}, 70, Params(3, 1, 1, 1), true), 1, 1},
      {"dense3x3_3_to_200", MakeWindow({4, 4, 3}, 200, Params(3, 1, 1, 1), true), 3, 1},
      {"dense5x5_3_to_100", MakeWindow({6, 7, 3}, 100, Params(5, 1, 1, 1), true), 1, 2},
      {"dense5x5_stride", MakeWindow({11, 9, 17}, 7, Params(5, 2, 1, 1), true), 2, 1},
      {"dense5x5_96_to_3", MakeWindow({3, 3, 96}, 3, Params(5, 1, 1, 1), false), 2, 1},
  };
}

class CudaConvBackwardTest : public ::testing::TestWithParam<WindowCase> {
 protected:
  CudaConvBackwardTest()
      : case_(GetParam()),
        geometry_(GeometryOf(case_.shape, case_.lanes, case_.images)),
        ids_(static_cast<size_t>(case_.images)),
        dims_{case_.lanes, case_.images, ids_.data()},
        inputs_(case_.lanes * case_.images * case_.shape.in.Elements()),
        x_(operands_.Codes(inputs_)),
        before_(ShortFloats(operands_, inputs_)) {
    for (int l = 0; l < case_.lanes; ++l) exponents_.push_back(l % 3 - 4);
  }

  WeightCodes Weights(int copies, bool keep) {
    const WindowShape& s = case_.shape;
    const int64_t n = int64_t{s.out.c} * s.conv.kernel * s.conv.kernel * s.in.c;
    return MakeWeights(operands_, n, copies, keep);
  }

  // As both passes read it.
  static DeviceBuffer<Bf16> Mapped(const MapShape& s, const MappedGradient& grad_y) {
    DeviceBuffer<Bf16> mapped(static_cast<size_t>(s.lanes * s.LaneElements()));
    MapGradient(s, grad_y.Device(), mapped.Data(), {});
    return mapped;
  }

  std::vector<DataGradCut> Cuts() const {
    std::vector<DataGradCut> cuts = {{}, {0, 256}, {0, 0, true}};
    // With every width is as much work as many cases.
    if (inputs_ > 10000 || case_.shape.conv.kernel > 3) return cuts;
    for (const int columns : {16, 32, 48, 64, 96, 128}) {
      cuts.push_back({columns});
      cuts.push_back({columns, 0, true});
      if (columns <= 32) cuts.push_back({columns, 256});
    }
    return cuts;
  }

  // Both copies of weights (one with accumulation), both orders of threads, blocks of all kinds.
  void CheckDataGrad(const MappedGradient& grad_y) {
    const int channels = case_.shape.in.c;
    for (const int copies : {1, case_.lanes}) {
      const bool accumulate = copies == 1;
      WeightCodes w = Weights(copies, false);
      const auto reference = [&](const std::vector<float>& grad) {
        std::vector<float> want = before_;
        RefBackend().WindowBackward(dims_, case_.shape, x_.data(), exponents_.data(), &w,
                                    grad.data(), nullptr, want.data(), accumulate, nullptr,
                                    nullptr);
        return want;
      };
      const std::vector<float> want = reference(grad_y.Host());
      const std::vector<float> close = reference(RoundedToBf16(grad_y.Host()));
      InBothOrders([&] {
        const DeviceBuffer<int8_t> x(Padded(x_, channels)), codes(w.codes);
        const DeviceBuffer<uint16_t> packed(
            static_cast<size_t>(copies * PackedConvGradElements(geometry_)));
        const DeviceBuffer<int> exponent(std::vector<int>{w.exponent});
        const DeviceBuffer<Bf16> mapped = Mapped(geometry_.Out(), grad_y);
        PackConvGradWeights(geometry_, copies, codes.Data(), packed.Data(), {});
        for (const DataGradCut& cut : Cuts()) {
          SCOPED_TRACE(::testing::Message() << cut.columns << " columns, " << cut.rows << " rows"
                                            << (cut.streams ? ", in steps" : ""));
          DeviceBuffer<Bf16> grad_x(static_cast<size_t>(case_.lanes) *
                                    static_cast<size_t>(geometry_.In().LaneElements()));
          if (accumulate) grad_x.Set(ToBf16(Padded(before_, channels)));
          ConvDataGrad({geometry_, x.Data(), packed.Data(), copies == 1, exponent.Data(),
                        mapped.Data(), grad_x.Data(), accumulate},
                       {}, cut);
          EXPECT_LT(RelativeError(want, Dense(FromBf16(grad_x.Get()), channels)), kParity);
          ExpectRounded(close, grad_x.Get(), channels, kClose);
        }
      });
    }
  }

  void CheckWeightGrad(const MappedGradient& grad_y) {
    for (const int copies : {1, case_.lanes}) {
      WeightCodes w = Weights(copies, copies == case_.lanes);
      const std::vector<float> before(static_cast<size_t>(w.n), 0.5f);
      const auto reference = [&](const std::vector<float>& grad) {
        std::vector<float> want = before;
        RefBackend().WindowBackward(dims_, case_.shape, x_.data(), exponents_.data(), &w,
                                    grad.data(), nullptr, nullptr, false, want.data(), nullptr);
        return want;
      };
      const std::vector<float> want = reference(grad_y.Host());
      const std::vector<float> close = reference(RoundedToBf16(grad_y.Host()));
      InBothOrders([&] {
        const DeviceBuffer<int8_t> x(Padded(x_, case_.shape.in.c));
        const DeviceBuffer<int> exponents(exponents_);
        const DeviceBuffer<uint8_t> keep(w.keep);
        const DeviceBuffer<float> scratch(static_cast<size_t>(ConvWeightGradScratch(geometry_)));
        const DeviceBuffer<float> grad_w(before);
        const DeviceBuffer<Bf16> mapped = Mapped(geometry_.Out(), grad_y);
        ConvWeightGrad(
            {geometry_, x.Data(), exponents.Data(), w.keep.empty() ? nullptr : keep.Data(),
             copies == 1, mapped.Data(), scratch.Data(), grad_w.Data()},
            {});
        EXPECT_LT(RelativeError(want, grad_w.Get()), kParity);
        ExpectClose(close, grad_w.Get(), kClose);
      });
    }
  }

  const WindowCase case_;
  const WindowGeometry geometry_;
  std::vector<uint32_t> ids_;
  const BatchDims dims_;
  Operands operands_{4};
  const int64_t inputs_;
  const std::vector<int8_t> x_;
  const std::vector<float> before_;
  std::vector<int> exponents_;
};

TEST_P(CudaConvBackwardTest, DataGrad) {
  CheckDataGrad(MappedGradient(operands_, geometry_.Out(), false, RawType::kInt32));
}

TEST_P(CudaConvBackwardTest, WeightGrad) {
  CheckWeightGrad(MappedGradient(operands_, geometry_.Out(), false, RawType::kInt32));
}

INSTANTIATE_TEST_SUITE_P(All, CudaConvBackwardTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return std::string(info.param.name); });

// Several tiles of positions, of every number of output channels and units of a warp.
class CudaConvWeightTilesTest : public CudaConvBackwardTest {};

TEST_P(CudaConvWeightTilesTest, WeightGrad) {
  CheckWeightGrad(MappedGradient(operands_, geometry_.Out(), false, RawType::kInt32));
}

std::vector<WindowCase> TilesCases() {
  constexpr const char* kNames[4][5] = {{"m1u1", "m1u2", "m1u3", "m1u4", "m1u5"},
                                        {"m2u1", "m2u2", "m2u3", "m2u4", "m2u5"},
                                        {"m3u1", "m3u2", "m3u3", "m3u4", "m3u5"},
                                        {"m4u1", "m4u2", "m4u3", "m4u4", "m4u5"}};
  std::vector<WindowCase> cases;
  for (int m = 0; m < 4; ++m) {
    for (int units = 0; units < 5; ++units) {
      const int in = 16 * units + 7, out = 16 * m + 5;
      cases.push_back(
          {kNames[m][units], MakeWindow({8, 9, in}, out, Params(1, 1, 1, 1), m % 2 == 0), 11, 1});
    }
  }
  cases.push_back({"k3", MakeWindow({8, 9, 20}, 33, Params(3, 1, 1, 1), true), 11, 2});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, CudaConvWeightTilesTest, ::testing::ValuesIn(TilesCases()),
                         [](const auto& info) { return std::string(info.param.name); });

// The gradient's mask and norm map, applied by MapGradient.
class CudaConvBackwardMapTest : public CudaConvBackwardTest {};

TEST_P(CudaConvBackwardMapTest, DataGrad) {
  CheckDataGrad(MappedGradient(operands_, geometry_.Out(), true, RawType::kInt32));
}

TEST_P(CudaConvBackwardMapTest, WeightGrad) {
  CheckWeightGrad(MappedGradient(operands_, geometry_.Out(), true, RawType::kHalf));
}

INSTANTIATE_TEST_SUITE_P(
    All, CudaConvBackwardMapTest,
    ::testing::Values(
        WindowCase{"pointwise", MakeWindow({5, 3, 20}, 33, Params(1, 1, 1, 1), true), 3, 2},
        WindowCase{"dense3x3_stride", MakeWindow({9, 7, 5}, 17, Params(3, 2, 1, 1), true), 2, 2}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(CudaMapGradientTest, AppliesMaskAndMap) {
  Operands operands(6);
  for (const int channels : {1, 20, 300}) {
    const MapShape s{2, 3, 5, 7, channels};
    for (const RawType type : {RawType::kInt32, RawType::kHalf}) {
      for (const bool mapped : {false, true}) {
        const MappedGradient grad_y(operands, s, mapped, type);
        const std::vector<float> want = Padded(RoundedToBf16(grad_y.Host()), channels);
        InBothOrders([&] {
          const DeviceBuffer<Bf16> mapped(want.size());
          MapGradient(s, grad_y.Device(), mapped.Data(), {});
          EXPECT_EQ(want, FromBf16(mapped.Get()));
        });
      }
    }
  }
}

TEST(CudaWeightReduceTest, AddsRowsAndLanesInOrder) {
  constexpr int kInner = 5, kPitch = 7, kOuter = 9, kRows = 19, kLanes = 2;
  constexpr int kWeights = kInner * kOuter, kRow = kPitch * kOuter + 3;
  Operands operands(5);
  const std::vector<float> partials = operands.Floats(kLanes * kRows * kRow);
  const std::vector<int> exponents = {-3, 2};
  std::vector<uint8_t> keep;
  for (int i = 0; i < kLanes * kWeights; ++i)
    keep.push_back(static_cast<uint8_t>(operands.Below(3) != 0));
  const std::vector<float> before = operands.Floats(kWeights);
  const DeviceBuffer<float> d_partials(partials);
  const DeviceBuffer<int> d_exponents(exponents);
  const DeviceBuffer<uint8_t> d_keep(keep);
  for (const bool one_weight : {false, true}) {
    std::vector<float> want = before;
    for (int i = 0; i < kWeights; ++i) {
      for (int lane = 0; lane < kLanes; ++lane) {
        double sum = 0;
        for (int row = 0; row < kRows; ++row) {
          sum += partials[static_cast<size_t>((lane * kRows + row) * kRow + i / kInner * kPitch +
                                              i % kInner)];
        }
        if (keep[static_cast<size_t>((one_weight ? 0 : lane * kWeights) + i)] != 0)
          want[static_cast<size_t>(i)] +=
              static_cast<float>(sum) * PowerOfTwo(exponents[static_cast<size_t>(lane)]);
      }
    }
    InBothOrders([&] {
      const DeviceBuffer<float> grad_w(before);
      ReduceWeightGrad({kLanes, kRows, kWeights, kInner, kPitch, kRow, d_partials.Data(),
                        d_exponents.Data(), d_keep.Data(), one_weight, grad_w.Data()},
                       {});
      ExpectClose(want, grad_w.Get(), 1e-6);
    });
  }
}

TEST(CudaConvBackwardErrorTest, RefusesWhatItCannotDo) {
  ConvDataGradArguments a;
  a.geometry.stride = 3;
  EXPECT_THROW(ConvDataGrad(a, {}), Error);
  a.geometry = {1, 1, 3, 60000, 1, 3, 60000, 1, 3, 1, 1, -1, false};
  EXPECT_THROW(ConvDataGrad(a, {}), Error);
  ConvWeightGradArguments w;
  w.geometry = a.geometry;
  EXPECT_THROW(ConvWeightGrad(w, {}), Error);
}

}  // namespace
}  // namespace ftt::cuda::test
