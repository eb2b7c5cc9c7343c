#include "kernels/cuda/input.h"

#include "core/error.h"
#include "kernels/cuda/input.cuh"

namespace ftt::cuda {
namespace {

unsigned Blocks(int64_t n) {
  return static_cast<unsigned>((n + kInputThreads - 1) / kInputThreads);
}

}  // namespace

void Encode(const EncodeArguments& a, DeviceStream stream) {
  FTT_CHECK(a.shape.channels <= kMaxInputChannels, "input: {} channels; at most {} are possible",
            a.shape.channels, kMaxInputChannels);
  LaunchKernel("Encode", &EncodeKernel, {Blocks(a.shape.Pixels()), 1, 1}, kInputThreads, 0, stream,
               a);
}

void Dropout(const DropoutArguments& a, DeviceStream stream) {
  LaunchKernel("Dropout", &DropoutKernel,
               {Blocks(int64_t{a.images} * DivideUp(a.features, 4)), 1, 1}, kInputThreads, 0,
               stream, a);
}

void LaneUnits(const UnitArguments& a, DeviceStream stream) {
  LaunchKernel("LaneUnits", &LaneUnitsKernel, {1, 1, 1}, kWarpSize, 0, stream, a);
}

void InjectLogits(const LogitFaultArguments& a, DeviceStream stream) {
  constexpr int kMaxClasses = 1024;
  FTT_CHECK(a.classes <= kMaxClasses, "logit faults: {} classes; at most {} are possible",
            a.classes, kMaxClasses);
  const int shared =
      2 * RoundUp(a.classes, 16) + FaultScratchBytes(a.faults.collects, kLogitThreads);
  LaunchKernel("LogitFault", &LogitFaultKernel,
               {static_cast<unsigned>(a.images), static_cast<unsigned>(a.lanes), 1}, kLogitThreads,
               static_cast<size_t>(shared), stream, a);
}

}  // namespace ftt::cuda
