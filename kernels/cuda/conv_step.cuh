// The inner part of implicit GEMMs over int8 codes: operands in shared memory, the pipeline of
// copies, products on the tensor cores.
#pragma once

#include "kernels/cuda/conv.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/relu.cuh"

namespace ftt::cuda {

inline constexpr int kConvRows = 128;
inline constexpr int kConvStages = 4;
inline constexpr int kConvSegments = kConvDepth / 16;

// Offset of a segment of 16 codes: the four of a row are permuted so that the eight rows of a
// matrix load lie on different banks.
__device__ __forceinline__ int SegmentOffset(int row, int segment) {
  return row * kConvDepth + ((segment ^ (row >> 1 & 3)) << 4);
}

// How threads share out the segments of a buffer's rows: one segment of every kStep-th row each.
template <int kThreads>
struct SegmentPlace {
  static constexpr int kStep = kThreads / kConvSegments;
  static_assert(kStep % 8 == 0);  // rows of a thread have the same permutation
  int row, segment;
  __device__ __forceinline__ SegmentPlace()
      : row(static_cast<int>(threadIdx.x) / kConvSegments),
        segment(static_cast<int>(threadIdx.x) % kConvSegments) {}
  // Of row `row + i * kStep` in a buffer.
  __device__ __forceinline__ int Offset(int i) const {
    return SegmentOffset(row, segment) + i * kStep * kConvDepth;
  }
};

// A thread's share of the weights of a block's kColumns output channels, of which there are
// `columns`; the others are zeros.
template <int kThreads, int kColumns>
class ConvWeights {
 public:
  // weights: of the first output channel; depth: of an output channel.
  __device__ __forceinline__ ConvWeights(const int8_t* weights, int depth, int columns)
      : weights_(weights) {
    FTT_UNROLL
    for (int i = 0; i < kPerThread; ++i) {
      const int row = place_.row + i * Place::kStep;
      offset_[i] = row < columns ? row * depth + 16 * place_.segment : -1;
    }
  }
  __device__ __forceinline__ void Copy(int step, uint8_t* to) const {
    const int8_t* from = weights_ + step * kConvDepth;
    FTT_UNROLL
    for (int i = 0; i < kPerThread; ++i) {
      if (kColumns % Place::kStep != 0 && place_.row + i * Place::kStep >= kColumns) break;
      AsyncCopy16(to + place_.Offset(i), from + (offset_[i] < 0 ? 0 : offset_[i]),
                  offset_[i] < 0 ? 0 : 16);
    }
  }

 private:
  using Place = SegmentPlace<kThreads>;
  static constexpr int kPerThread = DivideUp(kColumns, Place::kStep);
  const int8_t* weights_;
  Place place_;
  int offset_[kPerThread];  // of the thread's segment of step 0; -1: no such channel
};

// Offset of the row of a matrix load that a thread addresses, in a buffer of segments: of rows from
// `row` on (left operand) or of columns from `column` on (right one). 16 rows further on and in the
// second half of a step (k = 1) it is the same but for a constant.
__device__ __forceinline__ int MatrixRow(int row) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  return SegmentOffset(row + lane % 16, lane / 16);
}
__device__ __forceinline__ int MatrixColumn(int column) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  return SegmentOffset(column + lane / 16 * 8 + lane % 8, lane / 8 % 2);
}
FTT_HD constexpr int MatrixHalf(int offset, int k) { return offset ^ 32 * k; }

// One step of the depth: acc[mt][nt] covers rows 16 * mt and columns 8 * nt of the warp's tile.
// rows(mt, k): what the thread addresses of the left operand; columns: the right one's buffer;
// column: MatrixColumn of the warp's first one; relu: Relu or NoRelu.
template <int kWarpN, int kM16, typename Rows, typename Map>
__device__ __forceinline__ void ConvStep(const Rows& rows, const uint8_t* columns, int column,
                                         Map relu, int32_t (&acc)[kM16][kWarpN / 8][4]) {
  FTT_UNROLL
  for (int k = 0; k < kConvDepth / 32; ++k) {
    uint32_t a[kM16][4];
    FTT_UNROLL
    for (int mt = 0; mt < kM16; ++mt) {
      LoadMatrix4(rows(mt, k), a[mt]);
      FTT_UNROLL
      for (int i = 0; i < 4; ++i) a[mt][i] = relu(a[mt][i]);
    }
    const uint8_t* half = columns + MatrixHalf(column, k);
    FTT_UNROLL
    for (int pair = 0; pair < kWarpN / 16; ++pair) {
      uint32_t b[4];
      LoadMatrix4(half + pair * 16 * kConvDepth, b);
      FTT_UNROLL
      for (int mt = 0; mt < kM16; ++mt) {
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
