// Dense convolutions: implicit GEMM on the tensor cores over int8 codes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

// Depth of the GEMM is cut into steps of this many codes.
inline constexpr int kConvDepth = 64;

// Bytes of one lane's packed weights: [out_c rounded up to 16][k * k * padded in_c, rounded up to
// kConvDepth].
FTT_HD constexpr int PackedConvDepth(const WindowGeometry& g) {
  return RoundUp(g.kernel * g.kernel * PaddedChannels(g.in_channels), kConvDepth);
}
FTT_HD constexpr int64_t PackedConvBytes(const WindowGeometry& g) {
  return int64_t{PaddedChannels(g.out_channels)} * PackedConvDepth(g);
}

// codes: [copies][out_c][k][k][in_c], faults already applied; packed: [copies][PackedConvBytes].
void PackConvWeights(const WindowGeometry& geometry, int copies, const int8_t* codes,
                     int8_t* packed, DeviceStream stream);

struct ConvArguments {
  WindowGeometry geometry;
  const int8_t* x = nullptr;        // [lanes][images][in_h][in_w][padded in_c]
  const int8_t* weights = nullptr;  // packed
  bool one_weight = false;          // one copy for all lanes
  WindowOutput out;
};

// How a launch is cut. Zeros: what suits the shape.
struct ConvCut {
  int columns = 0;  // output channels of a block: 16, 32, 48, 64, 96 or 128
  int rows = 0;     // outputs of a block: 128; windows of up to 16 columns 256, 512, of 32 256
  bool tap_by_tap = false;  // the input is read for each tap anew, also where its windows would fit
};

// Throws ftt::Error on shapes it cannot handle.
void Conv(const ConvArguments& arguments, DeviceStream stream, const ConvCut& cut = {});

}  // namespace ftt::cuda
