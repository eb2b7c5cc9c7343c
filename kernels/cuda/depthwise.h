// Depthwise convolutions, direct.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

// Steps of the input sequence between neighbouring outputs (depthwise_band.cuh).
FTT_HD constexpr int SequenceStride(int stride, int dilation) {
  return stride == 2 && dilation == 1 ? 2 : 1;
}

// Packed weights of one lane: 32-bit words [k][words of a row][padded channels]. Word 0 holds taps
// 0..3 of a row (taps that do not exist are 0), word 1, for k = 5, tap 4: at the byte where the
// window of the next output has what it multiplies, 4 - SequenceStride.
FTT_HD constexpr int DepthwiseRowWords(int kernel) { return kernel == 5 ? 2 : 1; }
FTT_HD constexpr int PackedDepthwiseWords(const WindowGeometry& g) {
  return g.kernel * DepthwiseRowWords(g.kernel) * PaddedChannels(g.in_channels);
}

// codes: [copies][channels][k][k], faults already applied; packed: [copies][PackedDepthwiseWords].
void PackDepthwiseWeights(const WindowGeometry& geometry, int copies, const int8_t* codes,
                          uint32_t* packed, DeviceStream stream);

struct DepthwiseArguments {
  WindowGeometry geometry;  // out_channels = in_channels
  const int8_t* x = nullptr;
  const uint32_t* weights = nullptr;  // packed
  bool one_weight = false;
  WindowOutput out;
};

// Kernels 3 and 5, stride 1 and 2, dilation 1 and 2, at most 4096 channels. Throws ftt::Error on
// anything else.
void Depthwise(const DepthwiseArguments& arguments, DeviceStream stream);

}  // namespace ftt::cuda
