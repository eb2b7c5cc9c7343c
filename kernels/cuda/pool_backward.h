// Backward pass of max and average pools.
#pragma once

#include <cstdint>

#include "kernels/cuda/pool.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

struct PoolBackwardArguments {
  WindowGeometry geometry;  // out_channels = in_channels; kernels up to 11
  PoolType type = PoolType::kMax;
  const int8_t* x = nullptr;     // codes of the input
  const Bf16* grad_y = nullptr;  // [lanes][Out().Pixels()][Stride()], pads 0
  Bf16* grad_x = nullptr;        // out: [lanes][In().Pixels()][Stride()]
  bool accumulate = false;       // add to grad_x, whose pads are 0
};
// grad_x (+)= gradient of the real input. The first of equal largest codes, row by row, takes a max
// pool's gradient (with ReLU only where it is positive); an average's is shared equally among the
// valid taps (with ReLU, only positive codes get theirs). Outputs are added up in the order in
// which they lie in memory, so results are those of the reference, rounded once, bit for bit.
// Throws ftt::Error on windows so wide that the outputs of 8 rows do not fit shared memory.
void PoolBackward(const PoolBackwardArguments& arguments, DeviceStream stream);

}  // namespace ftt::cuda
