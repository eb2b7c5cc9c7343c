#include "kernels/cuda/backward.h"

#include "core/error.h"
#include "kernels/cuda/backward.cuh"

namespace ftt::cuda {
namespace {

// Blocks of a kernel that strides over n elements.
unsigned FlatBlocks(int64_t n) {
  constexpr int64_t kMost = 4096;
  const int64_t blocks = (n + kBackwardThreads - 1) / kBackwardThreads;
  return static_cast<unsigned>(blocks < kMost ? blocks : kMost);
}

template <typename Raw>
void LaunchNormBackward(const NormBackwardArguments& a, DeviceStream stream) {
  const int blocks = NormBackwardBlocks(a.shape);
  const GridSize grid{static_cast<unsigned>(blocks), static_cast<unsigned>(a.shape.lanes), 1};
  if (a.mean != nullptr || a.grad_beta != nullptr) {
    constexpr unsigned kThreads = 128;
    LaunchKernel("NormSums", &NormSumsKernel<Raw>, grid, kBackwardThreads, 0, stream, a);
    LaunchKernel("NormSumsFinish", &NormSumsFinishKernel,
                 {(static_cast<unsigned>(a.shape.channels) + kThreads - 1) / kThreads, 1, 1},
                 kThreads, 0, stream, a, blocks);
  }
  LaunchKernel("NormApply", &NormApplyKernel<Raw>, grid, kBackwardThreads, 0, stream, a);
}

}  // namespace

int NormBackwardBlocks(const MapShape& s) { return DivideUp(s.Pixels(), kBackwardPixels); }

void NormBackward(const NormBackwardArguments& a, DeviceStream stream) {
  FTT_CHECK(a.shape.lanes > 0 && a.shape.Pixels() > 0 && a.shape.channels > 0,
            "norm backward: the map is empty");
  if (a.raw_type == RawType::kInt32) {
    LaunchNormBackward<int32_t>(a, stream);
  } else {
    LaunchNormBackward<Half>(a, stream);
  }
}

void SumBackward(const SumBackwardArguments& a, DeviceStream stream) {
  FTT_CHECK(
      a.channels > 0 && a.channel_offset >= 0 && a.channel_offset + a.channels <= a.shape.channels,
      "sum backward: channels {} at {} of {}", a.channels, a.channel_offset, a.shape.channels);
  const int64_t n = int64_t{a.shape.lanes} * a.shape.Pixels() * PaddedChannels(a.channels);
  LaunchKernel("SumBackward", &SumBackwardKernel, {FlatBlocks(n), 1, 1}, kBackwardThreads, 0,
               stream, a);
}

void GlobalSumBackward(const GlobalSumBackwardArguments& a, DeviceStream stream) {
  LaunchKernel("GlobalSumBackward", &GlobalSumBackwardKernel,
               {FlatBlocks(a.in.lanes * a.in.LaneElements()), 1, 1}, kBackwardThreads, 0, stream,
               a);
}

}  // namespace ftt::cuda
