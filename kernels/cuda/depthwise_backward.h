// Backward pass of depthwise convolutions: both gradients in one kernel, direct, in float32 between
// gradients in bfloat16. Deterministic.
#pragma once

#include <cstdint>

#include "kernels/cuda/gradient.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"
#include "kernels/cuda/weight_reduce.h"

namespace ftt::cuda {

struct DepthwiseGradArguments {
  WindowGeometry geometry;               // out_channels = in_channels
  const int8_t* x = nullptr;             // codes of the input
  const int* x_exponent = nullptr;       // [lanes]
  const int8_t* weights = nullptr;       // codes [lanes or 1][channels][k][k], faults applied
  const uint8_t* keep = nullptr;         // like weights, 0 where no gradient passes; nullable
  bool one_weight = false;               // one copy of weights and keep for all lanes
  const int* weight_exponent = nullptr;  // one, in device memory
  OutputGradient grad_y = {};
  Bf16* grad_x = nullptr;    // out: [lanes][In().Pixels()][In().Stride()]; null: not wanted
  bool accumulate = false;   // add to grad_x, whose pads are 0
  float* scratch = nullptr;  // [DepthwiseGradScratch()]
  float* grad_w = nullptr;   // [n] = [channels][k][k], added to, lanes in order
  bool reduces = true;       // false: only partial sums, which DepthwiseWeightPartials describes
};
// Floats of scratch memory. Depends on the geometry alone, as does the order of all sums.
int64_t DepthwiseGradScratch(const WindowGeometry& geometry);
// grad_x (+)= gradient of the real input, grad_w += gradient of the real weights, of all lanes.
// Kernels 3 and 5, stride 1 and 2, dilation 1 and 2; throws ftt::Error on anything else.
void DepthwiseGrad(const DepthwiseGradArguments& arguments, DeviceStream stream);
// What is left to do without `reduces`.
WeightReduceArguments DepthwiseWeightPartials(const DepthwiseGradArguments& arguments);

}  // namespace ftt::cuda
