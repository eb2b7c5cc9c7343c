// Backward passes of dense convolutions: implicit GEMMs on the tensor cores. Codes are exact in
// bfloat16, gradients are rounded to it by a pass of their own, sums are float32. Deterministic.
#pragma once

#include <cstdint>

#include "kernels/cuda/gradient.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"
#include "kernels/cuda/weight_reduce.h"

namespace ftt::cuda {

// bfloat16 values of one copy of the packed weights: [padded in_c][k][k][padded out_c].
FTT_HD constexpr int64_t PackedConvGradElements(const WindowGeometry& g) {
  return int64_t{PaddedChannels(g.in_channels)} * g.kernel * g.kernel *
         PaddedChannels(g.out_channels);
}
// codes: [copies][out_c][k][k][in_c], faults already applied; packed:
// [copies][PackedConvGradElements], 16-byte aligned.
void PackConvGradWeights(const WindowGeometry& geometry, int copies, const int8_t* codes,
                         uint16_t* packed, DeviceStream stream);

// The gradient with its mask and map applied, in bfloat16: [lanes][Pixels()][Stride()], 16-byte
// aligned. Both passes below read it.
void NarrowGradient(const MapShape& shape, const OutputGradient& grad_y, uint16_t* narrow,
                    DeviceStream stream);

struct ConvDataGradArguments {
  WindowGeometry geometry;               // stride 1 or 2
  const int8_t* x = nullptr;             // codes of the input; needed with geometry.relu
  const uint16_t* weights = nullptr;     // packed by PackConvGradWeights
  bool one_weight = false;               // one copy for all lanes
  const int* weight_exponent = nullptr;  // one, in device memory
  const uint16_t* grad_y = nullptr;      // by NarrowGradient
  float* grad_x = nullptr;               // out: [lanes][In().Pixels()][In().Stride()]
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

struct ConvWeightGradArguments {
  WindowGeometry geometry;
  const int8_t* x = nullptr;
  const int* x_exponent = nullptr;   // [lanes]
  const uint8_t* keep = nullptr;     // [lanes or 1][n], 0 where no gradient passes; nullable
  bool one_weight = false;           // one copy of `keep`
  const uint16_t* grad_y = nullptr;  // by NarrowGradient
  float* scratch = nullptr;          // [ConvWeightGradScratch()], 16-byte aligned
  float* grad_w = nullptr;           // [n] = [out_c][k][k][in_c], added to, lanes in order
  bool reduces = true;               // false: only partial sums, see ConvWeightPartials
};
// Floats of scratch memory. Depends on the geometry alone, as does the order of all sums.
int64_t ConvWeightGradScratch(const WindowGeometry& geometry);
// grad_w += gradient of the real weights, of all lanes. Throws ftt::Error on windows so large that
// those of 128 neighbouring pixels do not fit shared memory.
void ConvWeightGrad(const ConvWeightGradArguments& arguments, DeviceStream stream);
// What is left to do without `reduces`.
WeightReduceArguments ConvWeightPartials(const ConvWeightGradArguments& arguments);

}  // namespace ftt::cuda
