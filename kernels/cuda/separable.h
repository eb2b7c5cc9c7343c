// A depthwise convolution and the 1x1 convolution behind it as one kernel: the codes between them
// stay in shared memory. The result is that of Depthwise and Conv, bit for bit.
#pragma once

#include "kernels/cuda/conv.h"
#include "kernels/cuda/depthwise.h"

namespace ftt::cuda {

// pointwise.out has codes; depthwise.out has its map, bits and faults, nothing of it is stored.
struct SeparableArguments {
  DepthwiseArguments depthwise;
  ConvArguments pointwise;  // x stays null
};

// Rows of output that a block computes; 0 where the codes of a single one leave no room in shared
// memory, or where the second convolution does not read just what the first one writes.
int SeparableRows(const WindowGeometry& depthwise, const WindowGeometry& pointwise);

// Whether one kernel is possible and moves fewer bytes than two.
bool FusesSeparable(const WindowGeometry& depthwise, const WindowGeometry& pointwise);

// Throws ftt::Error where SeparableRows is 0.
void Separable(const SeparableArguments& arguments, DeviceStream stream);

}  // namespace ftt::cuda
