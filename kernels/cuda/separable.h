// A depthwise convolution and the 1x1 convolution behind it as one kernel: the codes between them
// stay in shared memory. The result is that of Depthwise and Conv, bit for bit.
#pragma once

#include "kernels/cuda/conv.h"
#include "kernels/cuda/depthwise.h"

namespace ftt::cuda {

// Deployment: pointwise.out has codes; depthwise.out has its map, bits and faults, nothing of it is
// stored. Training: pointwise.out has raw output and statistics; depthwise.out has the map that
// FinishNorm made of its statistics, and its raw values are rounded as raw_type and raw_shift say,
// so that the codes are those of Quantize. Its codes and mask are stored where given.
struct SeparableArguments {
  DepthwiseArguments depthwise;  // out.raw and out.moments stay null
  ConvArguments pointwise;       // x stays null
  uint8_t* mask = nullptr;       // of the depthwise codes, see MapShape; only with them
};

// Rows of output that a block computes; 0 where the codes of a single one leave no room in shared
// memory, or where the second convolution does not read just what the first one writes.
int SeparableRows(const WindowGeometry& depthwise, const WindowGeometry& pointwise);

// Whether one kernel is possible and moves fewer bytes than two.
bool FusesSeparable(const WindowGeometry& depthwise, const WindowGeometry& pointwise);

// Throws ftt::Error where SeparableRows is 0.
void Separable(const SeparableArguments& arguments, DeviceStream stream);

}  // namespace ftt::cuda
