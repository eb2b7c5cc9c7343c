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

constexpr unsigned kChannelThreads = 128;

// Sums over the map, and the gradients of the parameters.
template <typename Raw>
void LaunchNormSums(const NormBackwardArguments& a, DeviceStream stream) {
  if (a.mean == nullptr && a.grad_beta == nullptr) return;
  const int blocks = NormBackwardBlocks(a.shape);
  LaunchKernel("NormSums", &NormSumsKernel<Raw>,
               {static_cast<unsigned>(blocks), static_cast<unsigned>(a.shape.lanes), 1},
               kBackwardThreads, 0, stream, a);
  LaunchKernel(
      "NormSumsFinish", &NormSumsFinishKernel,
      {(static_cast<unsigned>(a.shape.channels) + kChannelThreads - 1) / kChannelThreads, 1, 1},
      kChannelThreads, 0, stream, a, blocks);
}

template <typename Raw>
void LaunchNormBackward(const NormBackwardArguments& a, DeviceStream stream) {
  LaunchNormSums<Raw>(a, stream);
  LaunchKernel(
      "NormApply", &NormApplyKernel<Raw>,
      {static_cast<unsigned>(NormBackwardBlocks(a.shape)), static_cast<unsigned>(a.shape.lanes), 1},
      kBackwardThreads, 0, stream, a);
}

void CheckNormBackward(const NormBackwardArguments& a) {
  FTT_CHECK(a.shape.lanes > 0 && a.shape.Pixels() > 0 && a.shape.channels > 0,
            "norm backward: the map is empty");
}

}  // namespace

int NormBackwardBlocks(const MapShape& s) { return DivideUp(s.Pixels(), kBackwardPixels); }

void NormBackward(const NormBackwardArguments& a, DeviceStream stream) {
  CheckNormBackward(a);
  if (a.raw_type == RawType::kInt32) {
    LaunchNormBackward<int32_t>(a, stream);
  } else {
    LaunchNormBackward<Half>(a, stream);
  }
}

OutputGradient DeferredNormBackward(const NormBackwardArguments& a, float* map,
                                    DeviceStream stream) {
  CheckNormBackward(a);
  if (a.raw_type == RawType::kInt32) {
    LaunchNormSums<int32_t>(a, stream);
  } else {
    LaunchNormSums<Half>(a, stream);
  }
  OutputGradient y;
  y.grad = a.grad;
  y.mask = a.mask;
  if (a.mean == nullptr) return y;
  const int n = a.shape.lanes * a.shape.Stride();
  LaunchKernel("NormMap", &NormMapKernel,
               {(static_cast<unsigned>(n) + kChannelThreads - 1) / kChannelThreads, 1, 1},
               kChannelThreads, 0, stream, a, map);
  y.raw = a.raw;
  y.raw_type = a.raw_type;
  y.p = map;
  y.q = map + n;
  y.r = map + 2 * n;
  return y;
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
