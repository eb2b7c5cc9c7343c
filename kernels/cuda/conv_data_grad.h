// The gradient of a dense convolution's input: an implicit GEMM on the tensor cores, of gradients
// in bfloat16 with sums in float32. Deterministic.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

struct ConvDataGradArguments {
  WindowGeometry geometry;               // stride 1 or 2
  const int8_t* x = nullptr;             // codes of the input; needed with geometry.relu
  const Bf16* weights = nullptr;         // packed by PackConvGradWeights
  bool one_weight = false;               // one copy for all lanes
  const int* weight_exponent = nullptr;  // one, in device memory
  const Bf16* grad_y = nullptr;          // by MapGradient
  Bf16* grad_x = nullptr;                // out: [lanes][In().Pixels()][In().Stride()]
  bool accumulate = false;               // add to grad_x, whose pads are 0
};
// How a launch is cut. Zeros: what suits the shape. Results do not depend on it.
struct DataGradCut {
  int columns = 0;       // channels of a block: 16, 32, 48, 64, 96 or 128
  int rows = 0;          // pixels of a block: 128; of up to 32 columns, where all fits at once, 256
  bool streams = false;  // weights and gradient in steps, also where all would fit at once
};
// grad_x (+)= gradient of the real input. Throws ftt::Error on strides beyond 2 and on windows so
// large that those of 128 neighbouring pixels do not fit shared memory.
void ConvDataGrad(const ConvDataGradArguments& arguments, DeviceStream stream,
                  const DataGradCut& cut = {});

}  // namespace ftt::cuda
