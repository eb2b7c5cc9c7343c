// The last step of weight gradients: partial sums of blocks become one gradient.
#pragma once

#include <cstdint>

#include "kernels/cuda/jobs.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"

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

inline constexpr int kReduceThreads = 512;  // of a block
inline constexpr int kReduceFlight = 8;     // rows that a thread loads at once
inline constexpr int kReducePasses = 4;     // over a chunk
// Parts of a block that share the rows: as many as have all rows under way at once.
FTT_HD constexpr int ReduceParts(int rows) {
  int parts = 1;
  while (parts < 32 && parts * kReduceFlight < rows) parts *= 2;
  return parts;
}
// Weights of a chunk, at most.
FTT_HD constexpr int ReduceChunkWeights(int rows) {
  return kReducePasses * kReduceThreads / ReduceParts(rows);
}

// Many weight gradients at once, no two of one tensor.
struct WeightReduceTables {
  const WeightReduceArguments* jobs = nullptr;  // device memory
  const JobChunk* chunks = nullptr;  // [chunk_count], device memory: every job from 0 to its end
  int chunk_count = 0;               // 0: nothing happens
};
void ReduceWeightGrads(const WeightReduceTables& tables, DeviceStream stream);

}  // namespace ftt::cuda
