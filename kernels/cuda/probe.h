// The rate of the matrix instruction that the convolutions use: a floor for benchmarks.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace ftt::cuda {

inline constexpr int kProbeThreads = 256;

// Every warp of `blocks` blocks multiplies-and-accumulates `iterations` times eight tiles of
// 16 x 8 x 32 codes, all of them 1, in registers. out: [blocks][kProbeThreads], the sum of a
// thread's accumulators: 8 * 4 * 32 * iterations.
void MatrixProbe(int blocks, int iterations, int32_t* out, DeviceStream stream);
constexpr int64_t ProbeMultiplyAdds(int64_t blocks, int64_t iterations) {
  return blocks * (kProbeThreads / 32) * iterations * 8 * (16 * 8 * 32);
}

}  // namespace ftt::cuda
