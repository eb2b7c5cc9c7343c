// Backward passes of depthwise convolutions, direct, in float32. Deterministic.
#pragma once

#include <cstdint>

#include "kernels/cuda/gradient.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"
#include "kernels/cuda/weight_reduce.h"

namespace ftt::cuda {

struct DepthwiseDataGradArguments {
  WindowGeometry geometry;               // out_channels = in_channels
  const int8_t* x = nullptr;             // codes of the input; needed with geometry.relu
  const int8_t* weights = nullptr;       // codes [lanes or 1][channels][k][k], faults applied
  bool one_weight = false;               // one copy for all lanes
  const int* weight_exponent = nullptr;  // one, in device memory
  OutputGradient grad_y = {};
  float* grad_x = nullptr;  // out: [lanes][In().Pixels()][In().Stride()]
  bool accumulate = false;  // add to grad_x, whose pads are 0
};
// grad_x (+)= gradient of the real input. Kernels 3 and 5, stride 1 and 2, dilation 1 and 2; throws
// ftt::Error on anything else.
void DepthwiseDataGrad(const DepthwiseDataGradArguments& arguments, DeviceStream stream);

struct DepthwiseWeightGradArguments {
  WindowGeometry geometry;
  const int8_t* x = nullptr;
  const int* x_exponent = nullptr;  // [lanes]
  const uint8_t* keep = nullptr;    // [lanes or 1][n], 0 where no gradient passes; nullable
  bool one_weight = false;          // one copy of `keep`
  OutputGradient grad_y = {};
  float* scratch = nullptr;  // [DepthwiseWeightGradScratch()]
  float* grad_w = nullptr;   // [n] = [channels][k][k], added to, lanes in order
  bool reduces = true;       // false: only partial sums, which DepthwiseWeightPartials describes
};
// Floats of scratch memory. Depends on the geometry alone, as does the order of all sums.
int64_t DepthwiseWeightGradScratch(const WindowGeometry& geometry);
// grad_w += gradient of the real weights, of all lanes. Throws as DepthwiseDataGrad does.
void DepthwiseWeightGrad(const DepthwiseWeightGradArguments& arguments, DeviceStream stream);
// What is left to do without `reduces`.
WeightReduceArguments DepthwiseWeightPartials(const DepthwiseWeightGradArguments& arguments);

}  // namespace ftt::cuda
