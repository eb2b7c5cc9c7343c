// Backward passes of depthwise convolutions against the reference.
#include "kernels/cuda/depthwise_backward.h"

#include "core/error.h"
#include "kernels/ref_backend.h"
#include "tests/cuda/gradients.h"

namespace ftt::cuda::test {
namespace {

using ftt::test::MakeWeights;
using ftt::test::MakeWindow;
using ftt::test::Operands;
using ftt::test::WindowCase;

constexpr double kClose = 1e-5;  // of the largest value

std::vector<WindowCase> Cases() {
  return {
      {"one_pixel", MakeWindow({1, 1, 1}, 1, Params(3, 1, 1, 1), true), 1, 1},
      {"k3_20", MakeWindow({9, 7, 20}, 20, Params(3, 1, 1, 20), true), 2, 2},
      {"k3_stride", MakeWindow({17, 9, 7}, 7, Params(3, 2, 1, 7), true), 3, 1},
      {"k3_stride_even", MakeWindow({8, 6, 33}, 33, Params(3, 2, 1, 33), false), 2, 2},
      {"k3_dilated", MakeWindow({11, 13, 40}, 40, Params(3, 1, 2, 40), false), 1, 5},
      {"k3_dilated_stride", MakeWindow({9, 8, 17}, 17, Params(3, 2, 2, 17), true), 2, 1},
      {"k3_shifted", MakeWindow({6, 7, 5}, 5, Params(3, 1, 1, 5, 1), true), 2, 2},
      {"k3_shifted_stride", MakeWindow({6, 9, 5}, 5, Params(3, 2, 1, 5, -2), true), 2, 1},
      {"k5_20", MakeWindow({8, 8, 20}, 20, Params(5, 1, 1, 20), true), 2, 2},
      {"k5_stride", MakeWindow({19, 9, 17}, 17, Params(5, 2, 1, 17), false), 2, 2},
      {"k5_dilated", MakeWindow({11, 7, 3}, 3, Params(5, 1, 2, 3), true), 2, 2},
      {"k5_dilated_stride", MakeWindow({13, 7, 40}, 40, Params(5, 2, 2, 40), true), 1, 2},
      {"k3_tiles", MakeWindow({34, 18, 20}, 20, Params(3, 1, 1, 20), true), 2, 2},
      {"k3_tiles_stride", MakeWindow({67, 35, 3}, 3, Params(3, 2, 1, 3), true), 1, 2},
      {"k5_tiles_stride", MakeWindow({34, 37, 3}, 3, Params(5, 2, 1, 3), true), 1, 2},
      {"k5_tiles_dilated", MakeWindow({37, 19, 17}, 17, Params(5, 1, 2, 17), true), 1, 2},
      {"k3_dilated_small", MakeWindow({6, 7, 20}, 20, Params(3, 1, 2, 20), true), 2, 2},
      {"k5_dilated_small", MakeWindow({8, 5, 17}, 17, Params(5, 1, 2, 17), true), 3, 2},
      {"k5_tiles", MakeWindow({18, 33, 20}, 20, Params(5, 1, 1, 20), true), 2, 2},
      {"k3_600", MakeWindow({3, 3, 600}, 600, Params(3, 1, 1, 600), true), 1, 1},
      {"k3_many_images", MakeWindow({4, 5, 1}, 1, Params(3, 1, 1, 1), true), 2500, 1},
  };
}

class CudaDepthwiseBackwardTest : public ::testing::TestWithParam<WindowCase> {
 protected:
  CudaDepthwiseBackwardTest()
      : case_(GetParam()),
        geometry_(GeometryOf(case_.shape, case_.lanes, case_.images)),
        ids_(static_cast<size_t>(case_.images)),
        dims_{case_.lanes, case_.images, ids_.data()},
        inputs_(case_.lanes * case_.images * case_.shape.in.Elements()),
        n_(int64_t{case_.shape.in.c} * case_.shape.conv.kernel * case_.shape.conv.kernel),
        x_(operands_.Codes(inputs_)),
        before_(ShortFloats(operands_, inputs_)) {
    for (int l = 0; l < case_.lanes; ++l) exponents_.push_back(l % 3 - 4);
  }

  // Both copies of weights (one with accumulation, and without the input's gradient), both orders
  // of threads.
  void Check(const MappedGradient& grad_y) {
    const int channels = case_.shape.in.c;
    const std::vector<float> before_w(static_cast<size_t>(n_), 0.5f);
    for (const int copies : {1, case_.lanes}) {
      const bool accumulate = copies == 1;
      WeightCodes w = MakeWeights(operands_, n_, copies, copies == case_.lanes);
      std::vector<float> want_x = before_, want_w = before_w;
      RefBackend().WindowBackward(dims_, case_.shape, x_.data(), exponents_.data(), &w,
                                  grad_y.Host().data(), nullptr, want_x.data(), accumulate,
                                  want_w.data(), nullptr);
      InBothOrders([&] {
        const DeviceBuffer<int8_t> x(Padded(x_, channels)), codes(w.codes);
        const DeviceBuffer<int> exponents(exponents_), exponent(std::vector<int>{w.exponent});
        const DeviceBuffer<uint8_t> keep(w.keep);
        for (const bool wants_data : {true, false}) {
          if (!wants_data && !accumulate) continue;
          const DeviceBuffer<float> scratch(static_cast<size_t>(DepthwiseGradScratch(geometry_)));
          const DeviceBuffer<float> grad_w(before_w);
          DeviceBuffer<Bf16> grad_x(static_cast<size_t>(case_.lanes) *
                                    static_cast<size_t>(geometry_.In().LaneElements()));
          if (accumulate) grad_x.Set(ToBf16(Padded(before_, channels)));
          DepthwiseGrad({geometry_, x.Data(), exponents.Data(), codes.Data(),
                         w.keep.empty() ? nullptr : keep.Data(), copies == 1, exponent.Data(),
                         grad_y.Device(), wants_data ? grad_x.Data() : nullptr, accumulate,
                         scratch.Data(), grad_w.Data()},
                        {});
          ExpectClose(want_w, grad_w.Get(), kClose);
          if (wants_data) ExpectRounded(want_x, grad_x.Get(), channels, kClose);
        }
      });
    }
  }

  const WindowCase case_;
  const WindowGeometry geometry_;
  std::vector<uint32_t> ids_;
  const BatchDims dims_;
  Operands operands_{9};
  const int64_t inputs_, n_;
  const std::vector<int8_t> x_;
  const std::vector<float> before_;
  std::vector<int> exponents_;
};

TEST_P(CudaDepthwiseBackwardTest, BothGradients) {
  Check(MappedGradient(operands_, geometry_.Out(), false, RawType::kInt32));
}

TEST_P(CudaDepthwiseBackwardTest, BothGradientsThroughTheNormMap) {
  for (const RawType type : {RawType::kInt32, RawType::kHalf})
    Check(MappedGradient(operands_, geometry_.Out(), true, type));
}

INSTANTIATE_TEST_SUITE_P(All, CudaDepthwiseBackwardTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(CudaDepthwiseBackwardErrorTest, RefusesWhatItCannotDo) {
  DepthwiseGradArguments a;
  a.geometry.kernel = 7;
  EXPECT_THROW(DepthwiseGrad(a, {}), Error);
  a.geometry.kernel = 3;
  a.geometry.out_channels = 2;
  EXPECT_THROW(DepthwiseGrad(a, {}), Error);
}

}  // namespace
}  // namespace ftt::cuda::test
