// The last step of a weight gradient: partial sums of blocks become one gradient.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace ftt::cuda {

// grad_w[i] += 2^x_exponent[lane] * (sum of the lane's rows), lanes in order; how rows are added up
// depends on their number alone. Weight i lies at i / inner * inner_pitch + i % inner of a row.
struct WeightReduceArguments {
  int lanes = 1, rows = 1;  // rows: partial sums of each lane
  int64_t n = 1;            // weights
  int inner = 1;            // run of weights that is contiguous in a row
  int inner_pitch = 1;
  int64_t row_floats = 1;           // distance of two rows
  const float* partials = nullptr;  // [lanes][rows][row_floats]
  const int* x_exponent = nullptr;  // [lanes]
  const uint8_t* keep = nullptr;    // [lanes or 1][n], 0 where no gradient passes; nullable
  bool one_weight = false;          // one copy of `keep`
  float* grad_w = nullptr;          // [n], added to
};
void ReduceWeightGrad(const WeightReduceArguments& arguments, DeviceStream stream);

}  // namespace ftt::cuda
