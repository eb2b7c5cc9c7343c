#include "kernels/cuda/unfused.h"

#include "core/error.h"
#include "kernels/cuda/quantize.h"
#include "kernels/cuda/unfused.cuh"

namespace ftt::cuda {
namespace {

template <typename Raw>
void LaunchNorm(const UnfusedArguments& a, GridSize grid, DeviceStream stream) {
  LaunchKernel("UnfusedSums", &UnfusedSumsKernel<Raw>, grid, kUnfusedThreads, 0, stream, a);
  const auto channels = static_cast<unsigned>(DivideUp(a.shape.Stride() * 32, kUnfusedThreads));
  LaunchKernel("UnfusedAffine", &UnfusedAffineKernel, {channels, 1, 1}, kUnfusedThreads, 0, stream,
               a, static_cast<int>(grid.x));
  LaunchKernel("UnfusedNorm", &UnfusedNormKernel<Raw>, grid, kUnfusedThreads, 0, stream, a);
}

}  // namespace

int UnfusedBlocks(const MapShape& s) { return DivideUp(s.Pixels(), kUnfusedPixels); }

void Unfused(const UnfusedArguments& a, DeviceStream stream) {
  FTT_CHECK(a.shape.lanes == 1 && a.shape.Pixels() > 0, "unfused: one lane, please");
  FTT_CHECK(a.shape.Stride() <= 8 * kUnfusedThreads,
            "unfused: {} channels; at most {} are possible", a.shape.channels, 8 * kUnfusedThreads);
  const GridSize grid{static_cast<unsigned>(UnfusedBlocks(a.shape)), 1, 1};
  const auto launch = [&](const char* name, void (*kernel)(UnfusedArguments)) {
    LaunchKernel(name, kernel, grid, kUnfusedThreads, 0, stream, a);
  };
  switch (a.raw_type) {
    case RawNumber::kHalf:
      LaunchNorm<Half>(a, grid, stream);
      break;
    case RawNumber::kFloat:
      LaunchNorm<float>(a, grid, stream);
      break;
    case RawNumber::kInt32:
      LaunchNorm<int32_t>(a, grid, stream);
      break;
  }
  launch("UnfusedLargest", &UnfusedLargestKernel);
  LaunchKernel("UnfusedExponent", &UnfusedExponentKernel, {1, 1, 1}, kUnfusedThreads, 0, stream, a,
               static_cast<int>(grid.x));
  launch("UnfusedCodes", &UnfusedCodesKernel);
  Inject({a.shape, a.faults, a.codes}, stream);
  launch("UnfusedRelu", &UnfusedReluKernel);
}

}  // namespace ftt::cuda
