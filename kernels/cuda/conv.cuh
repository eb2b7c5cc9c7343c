// Kernels of conv.h.
//
// Rows of the GEMM are the output pixels of a lane, its depth runs over (tap, channel) in segments
// of 16 codes, the unit of an asynchronous copy: padding, image borders and the depth beyond the
// last tap are zero-filled copies. 128 rows and kWarpN * kWarpsN output channels a block; a warp
// takes 32 rows.
#pragma once

#include "kernels/cuda/conv_output.cuh"
#include "kernels/cuda/divider.h"

namespace ftt::cuda {

// Divisions by the output's pixels and by its width.
struct ConvPlan {
  Divider map, width;
  explicit ConvPlan(const WindowGeometry& g) : map(g.out_h * g.out_w), width(g.out_w) {}
};

// Copies one thread's share of the input rows. A thread always copies the same segment of the same
// rows, so it walks over taps and channels by counting, and a row is an offset and the taps that
// lie inside the map.
template <int kThreads>
class ConvRows {
 public:
  // x: of the lane, less than 2^31 codes.
  __device__ ConvRows(const WindowGeometry& g, const ConvPlan& plan, const int8_t* x, int first_row)
      : x_(x),
        stride_(PaddedChannels(g.in_channels)),
        kernel_(g.kernel),
        tap_x_(g.dilation * stride_),
        tap_y_(g.in_w * tap_x_),
        channel_(16 * place_.segment) {
    const int pixels = plan.map.Divisor(), rows = g.images * pixels;
    int y_at[kPerThread], x_at[kPerThread];
    FTT_UNROLL
    for (int i = 0; i < kPerThread; ++i) {
      const int m = first_row + place_.row + i * SegmentPlace<kThreads>::kStep;
      const int image = plan.map(m), at = m - image * pixels;
      const int oy = plan.width(at), ox = at - oy * g.out_w;
      const int y = oy * g.stride + g.origin, x0 = ox * g.stride + g.origin;
      offset_[i] = ((image * g.in_h + y) * g.in_w + x0) * stride_;
      // A row beyond the last pixel reads outside any map.
      y_at[i] = m < rows ? y : INT32_MIN / 2;
      x_at[i] = x0;
      taps_[i] = 0;
    }
    FTT_ROLLED
    for (int k = 0; k < g.kernel; ++k) {
      FTT_UNROLL
      for (int i = 0; i < kPerThread; ++i) {
        const bool x_inside = static_cast<unsigned>(x_at[i]) < static_cast<unsigned>(g.in_w);
        const bool y_inside = static_cast<unsigned>(y_at[i]) < static_cast<unsigned>(g.in_h);
        taps_[i] |= ((x_inside ? 1u : 0u) | (y_inside ? 0x10000u : 0u)) << k;
        x_at[i] += g.dilation;
        y_at[i] += g.dilation;
      }
    }
    Wrap();
  }
  // Depends on all that the constructor finds out, and is not negative.
  __device__ int Place() const {
    uint32_t place = static_cast<uint32_t>(channel_ + kx_);
    FTT_UNROLL
    for (int i = 0; i < kPerThread; ++i) place += static_cast<uint32_t>(offset_[i]) + taps_[i];
    return static_cast<int>(place >> 1);
  }

  __device__ __forceinline__ void CopyNext(uint8_t* rows) {
    const int tap = ky_ * tap_y_ + kx_ * tap_x_ + channel_;
    const uint32_t bits = 1u << kx_ | 0x10000u << ky_;
    FTT_UNROLL
    for (int i = 0; i < kPerThread; ++i) {
      const bool inside = (taps_[i] & bits) == bits;
      AsyncCopy16(rows + place_.Offset(i), x_ + (inside ? offset_[i] + tap : 0), inside ? 16 : 0);
    }
    channel_ += kConvDepth;
    Wrap();
  }

 private:
  static constexpr int kPerThread = kConvRows / SegmentPlace<kThreads>::kStep;

  __device__ __forceinline__ void Wrap() {
    while (channel_ >= stride_) {
      channel_ -= stride_;
      if (++kx_ == kernel_) {
        kx_ = 0;
        ++ky_;
      }
    }
  }

  const int8_t* x_;
  SegmentPlace<kThreads> place_;
  int stride_, kernel_, tap_x_, tap_y_;  // steps in elements
  int channel_, ky_ = 0, kx_ = 0;
  int offset_[kPerThread];     // of the pixel that tap 0 reads
  uint32_t taps_[kPerThread];  // inside: of columns, from bit 16 on of rows
};

// The same of pointwise convolutions: a row is the input pixel of its number.
template <int kThreads>
class PointRows {
 public:
  __device__ PointRows(const WindowGeometry& g, const ConvPlan&, const int8_t* x, int first_row)
      : x_(Anew(x)),
        stride_(PaddedChannels(g.in_channels)),
        channel_(16 * place_.segment),
        rows_left_(g.images * g.in_h * g.in_w - first_row - place_.row),
        offset_(static_cast<uint32_t>(first_row + place_.row) * static_cast<uint32_t>(stride_) +
                static_cast<uint32_t>(channel_)) {}
  __device__ int Place() const { return static_cast<int>(offset_ >> 1); }

  __device__ __forceinline__ void CopyNext(uint8_t* rows) {
    constexpr int kStep = SegmentPlace<kThreads>::kStep;
    FTT_UNROLL
    for (int i = 0; i < kConvRows / kStep; ++i) {
      const bool inside = channel_ < stride_ && i * kStep < rows_left_;
      const uint32_t at = inside ? offset_ + static_cast<uint32_t>(i * kStep * stride_) : 0;
      AsyncCopy16(rows + place_.Offset(i), x_ + at, inside ? 16 : 0);
    }
    channel_ += kConvDepth;
    offset_ += kConvDepth;
  }

 private:
  const int8_t* x_;
  SegmentPlace<kThreads> place_;
  int stride_;
  int channel_;      // of the thread's segment in the next step
  int rows_left_;    // to the last pixel, from the thread's first row on
  uint32_t offset_;  // of that row's segment
};

// Rows and weights of one step.
template <int kWarpN, int kWarpsN>
inline constexpr int kConvStageBytes = (kConvRows + kWarpN * kWarpsN) * kConvDepth;
template <int kWarpN, int kWarpsN>
int ConvSharedBytes(const SiteFaultsView& faults) {
  const int output = ConvTile<kWarpN, kWarpsN>::OutputBytes(faults.Staged(), faults.collects);
  const int pipeline = kConvStages * kConvStageBytes<kWarpN, kWarpsN>;
  return output > pipeline ? output : pipeline;
}

// Blocks per multiprocessor that the registers must leave room for: what does not spill.
template <int kWarpN, int kWarpsN>
inline constexpr int kConvBlocks = kWarpsN == 2 ? 2 : (kWarpN == 64 ? 3 : (kWarpN == 16 ? 5 : 4));

// Rows: ConvRows or PointRows.
template <int kWarpN, int kWarpsN, template <int> class Rows>
__global__ void __launch_bounds__(128 * kWarpsN, kConvBlocks<kWarpN, kWarpsN>)
    ConvKernel(FTT_IN_PLACE ConvArguments a, FTT_IN_PLACE ConvPlan plan) {
  using Tile = ConvTile<kWarpN, kWarpsN>;
  const WindowGeometry& g = a.geometry;
  const MapShape s = g.Out();
  const int lane = static_cast<int>(blockIdx.z);
  const int first = static_cast<int>(blockIdx.x) * kConvRows;
  const int channel = static_cast<int>(blockIdx.y) * Tile::kColumns;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int warp_row = warp % 4 * 32, warp_column = warp / 4 * kWarpN;
  const int columns_left = s.Stride() - channel;
  const int width = columns_left < Tile::kColumns ? columns_left : Tile::kColumns;
  const int depth = PackedConvDepth(g), steps = depth / kConvDepth;
  const ConvWeights<Tile::kThreads, Tile::kColumns> weights(
      a.weights + (a.one_weight ? 0 : lane * PackedConvBytes(g)) + int64_t{channel} * depth, depth,
      width);
  uint8_t* shared = SharedMemory();
  constexpr int kStageBytes = kConvStageBytes<kWarpN, kWarpsN>;
  Rows<Tile::kThreads> rows(g, plan, a.x + lane * g.In().LaneElements(), first);
  StartKernel(rows.Place());
  const auto copy = [&](int step) {
    uint8_t* to = shared + step % kConvStages * kStageBytes;
    rows.CopyNext(to);
    weights.Copy(step, to + kConvRows * kConvDepth);
  };

  const int matrix_row = MatrixRow(warp_row), matrix_column = MatrixColumn(warp_column);
  int32_t acc[2][kWarpN / 8][4] = {};
  const Relu relu(g.relu);
  StartSteps(steps, copy);
  RunSteps(steps, copy, [&](int step) {
    const uint8_t* from = shared + step % kConvStages * kStageBytes;
    const auto row = [&](int mt, int k) {
      return from + MatrixHalf(matrix_row, k) + mt * 16 * kConvDepth;
    };
    ConvStep<kWarpN>(row, from + kConvRows * kConvDepth, matrix_column, relu, acc);
  });

  StoreAccumulators<Tile>(acc, warp_row, warp_column, reinterpret_cast<int32_t*>(shared));
  SyncThreads();
  const int left = s.Pixels() - first;
  const ConvBlock block{
      lane,  first,     left < kConvRows ? left : kConvRows, plan.map(first), channel,
      width, blockIdx.x};
  StoreOutput<Tile>(a.out, s, block, shared);
}

}  // namespace ftt::cuda
