// Backward passes of dense convolutions: implicit GEMMs on the tensor cores. Codes are exact in
// bfloat16, gradients are kept in it, sums are float32. Deterministic.
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
                         Bf16* packed, DeviceStream stream);

struct ConvWeightGradArguments {
  WindowGeometry geometry;
  const int8_t* x = nullptr;
  const int* x_exponent = nullptr;  // [lanes]
  const uint8_t* keep = nullptr;    // [lanes or 1][n], 0 where no gradient passes; nullable
  bool one_weight = false;          // one copy of `keep`
  const Bf16* grad_y = nullptr;     // by MapGradient, 16-byte aligned, as ConvDataGrad reads it
  float* scratch = nullptr;         // [ConvWeightGradScratch()], 16-byte aligned
  float* grad_w = nullptr;          // [n] = [out_c][k][k][in_c], added to, lanes in order
  bool reduces = true;              // false: only partial sums, see ConvWeightPartials
};
// Floats of scratch memory. Depends on the geometry alone, as does the order of all sums.
int64_t ConvWeightGradScratch(const WindowGeometry& geometry);
// grad_w += gradient of the real weights, of all lanes. Throws ftt::Error on windows so large that
// those of 128 neighbouring pixels do not fit shared memory.
void ConvWeightGrad(const ConvWeightGradArguments& arguments, DeviceStream stream);
// What is left to do without `reduces`.
WeightReduceArguments ConvWeightPartials(const ConvWeightGradArguments& arguments);

}  // namespace ftt::cuda
