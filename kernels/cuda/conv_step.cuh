// The inner part of implicit GEMMs over int8 codes: operands in shared memory, the pipeline of
// copies, products on the tensor cores.
#pragma once

#include "kernels/cuda/conv.h"
#include "kernels/cuda/device.h"

namespace ftt::cuda {

inline constexpr int kConvRows = 128;
inline constexpr int kConvStages = 4;
inline constexpr int kConvSegments = kConvDepth / 16;

// Offset of a segment of 16 codes: the four of a row are permuted so that the eight rows of a
// matrix load lie on different banks.
__device__ __forceinline__ int SegmentOffset(int row, int segment) {
  return row * kConvDepth + ((segment ^ (row >> 1 & 3)) << 4);
}

template <int kThreads, int kColumns>
__device__ __forceinline__ void CopyWeights(const int8_t* weights, int depth, int rows, int step,
                                            uint8_t* to) {
  for (int i = static_cast<int>(threadIdx.x); i < kColumns * kConvSegments; i += kThreads) {
    const int row = i / kConvSegments, segment = i % kConvSegments;
    const int8_t* from = weights + int64_t{row} * depth + step * kConvDepth + 16 * segment;
    AsyncCopy16(to + SegmentOffset(row, segment), row < rows ? from : weights, row < rows ? 16 : 0);
  }
}

// max(code, 0) for four codes where the flag is all ones.
__device__ __forceinline__ uint32_t ReluCodes(uint32_t codes, uint32_t flag) {
  return codes & ~(BytePermute(codes, 0, 0xBA98) & flag);
}

// One step of the depth: acc[mt][nt] covers rows 16 * mt and columns 8 * nt of the warp's tile.
// rows(row, segment) is where a segment of a row lies.
template <int kWarpN, typename Rows>
__device__ __forceinline__ void ConvStep(const Rows& rows, const uint8_t* columns, int warp_row,
                                         int warp_column, uint32_t relu,
                                         int32_t (&acc)[2][kWarpN / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  FTT_UNROLL
  for (int k = 0; k < kConvDepth / 32; ++k) {
    uint32_t a[2][4];
    FTT_UNROLL
    for (int mt = 0; mt < 2; ++mt) {
      const int row = warp_row + 16 * mt + lane % 16;
      LoadMatrix4(rows(row, 2 * k + lane / 16), a[mt]);
      FTT_UNROLL
      for (int i = 0; i < 4; ++i) a[mt][i] = ReluCodes(a[mt][i], relu);
    }
    FTT_UNROLL
    for (int pair = 0; pair < kWarpN / 16; ++pair) {
      uint32_t b[4];
      const int column = warp_column + 16 * pair + lane / 16 * 8 + lane % 8;
      LoadMatrix4(columns + SegmentOffset(column, 2 * k + lane / 8 % 2), b);
      FTT_UNROLL
      for (int mt = 0; mt < 2; ++mt) {
        const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
        MultiplyAccumulate(acc[mt][2 * pair], a[mt], low);
        MultiplyAccumulate(acc[mt][2 * pair + 1], a[mt], high);
      }
    }
  }
}

// The first copies of a run of steps, see RunSteps.
template <typename Copy>
__device__ __forceinline__ void StartSteps(int steps, const Copy& copy) {
  for (int step = 0; step < kConvStages - 1; ++step) {
    if (step < steps) copy(step);
    AsyncCommit();
  }
}

// multiply(step) for all steps in order, each once the copies for it are there; copies run
// kConvStages - 1 steps ahead, step s into buffer s % kConvStages. Afterwards the buffers are free.
template <typename Copy, typename Multiply>
__device__ __forceinline__ void RunSteps(int steps, const Copy& copy, const Multiply& multiply) {
  for (int step = 0; step < steps; ++step) {
    AsyncWait<kConvStages - 2>();
    // The copies of this step are there, and the step before no longer reads its buffer.
    SyncThreads();
    if (step + kConvStages - 1 < steps) copy(step + kConvStages - 1);
    AsyncCommit();
    multiply(step);
  }
  AsyncWait<0>();
  SyncThreads();
}

}  // namespace ftt::cuda
