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
// rows, so it walks over taps and channels by counting.
template <int kThreads>
class ConvRows {
 public:
  __device__ ConvRows(const WindowGeometry& g, const ConvPlan& plan, const int8_t* x, int first_row)
      : g_(g), x_(x), stride_(PaddedChannels(g.in_channels)), channel_(16 * Segment()) {
    const int pixels = plan.map.Divisor(), rows = g.images * pixels;
    FTT_UNROLL
    for (int i = 0; i < kPerThread; ++i) {
      const int m = first_row + Row(i);
      const int image = plan.map(m), at = m - image * pixels;
      const int oy = plan.width(at), ox = at - oy * g.out_w;
      // A row beyond the last pixel reads outside any map.
      y_[i] = m < rows ? oy * g.stride + g.origin : -(1 << 28);
      x0_[i] = ox * g.stride + g.origin;
      image_[i] = image * g.in_h;
    }
    Wrap();
  }
  // Depends on all that the constructor finds out.
  __device__ int Place() const {
    int place = channel_ + kx_;
    FTT_UNROLL
    for (int i = 0; i < kPerThread; ++i) place += x0_[i] + image_[i];
    return place;
  }

  __device__ __forceinline__ void CopyNext(uint8_t* rows) {
    const int dy = ky_ * g_.dilation, dx = kx_ * g_.dilation;
    for (int i = 0; i < kPerThread; ++i) {
      const int iy = y_[i] + dy, ix = x0_[i] + dx;
      const bool inside = ky_ < g_.kernel &&
                          static_cast<unsigned>(iy) < static_cast<unsigned>(g_.in_h) &&
                          static_cast<unsigned>(ix) < static_cast<unsigned>(g_.in_w);
      const int8_t* from =
          inside ? x_ + (int64_t{image_[i] + iy} * g_.in_w + ix) * stride_ + channel_ : x_;
      AsyncCopy16(rows + SegmentOffset(Row(i), Segment()), from, inside ? 16 : 0);
    }
    channel_ += kConvDepth;
    Wrap();
  }

 private:
  static constexpr int kRowStep = kThreads / kConvSegments;
  static constexpr int kPerThread = kConvRows / kRowStep;

  __device__ static int Segment() { return static_cast<int>(threadIdx.x) % kConvSegments; }
  __device__ static int Row(int i) {
    return static_cast<int>(threadIdx.x) / kConvSegments + i * kRowStep;
  }
  __device__ __forceinline__ void Wrap() {
    while (channel_ >= stride_) {
      channel_ -= stride_;
      if (++kx_ == g_.kernel) {
        kx_ = 0;
        ++ky_;
      }
    }
  }

  const WindowGeometry& g_;
  const int8_t* x_;
  int stride_, channel_, ky_ = 0, kx_ = 0;
  int y_[kPerThread], x0_[kPerThread], image_[kPerThread];
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

template <int kWarpN, int kWarpsN>
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
  const int8_t* weights =
      a.weights + (a.one_weight ? 0 : lane * PackedConvBytes(g)) + int64_t{channel} * depth;
  uint8_t* shared = SharedMemory();
  constexpr int kStageBytes = kConvStageBytes<kWarpN, kWarpsN>;
  ConvRows<Tile::kThreads> rows(g, plan, a.x + lane * g.In().LaneElements(), first);
  StartKernel(rows.Place());
  const auto copy = [&](int step) {
    uint8_t* to = shared + step % kConvStages * kStageBytes;
    rows.CopyNext(to);
    CopyWeights<Tile::kThreads, Tile::kColumns>(weights, depth, width, step,
                                                to + kConvRows * kConvDepth);
  };

  int32_t acc[2][kWarpN / 8][4] = {};
  const uint32_t relu = g.relu ? 0xFFFFFFFFu : 0u;
  StartSteps(steps, copy);
  RunSteps(steps, copy, [&](int step) {
    const uint8_t* from = shared + step % kConvStages * kStageBytes;
    const auto segment = [from](int row, int at) { return from + SegmentOffset(row, at); };
    ConvStep<kWarpN>(segment, from + kConvRows * kConvDepth, warp_row, warp_column, relu, acc);
  });

  StoreAccumulators<Tile, kWarpN>(acc, warp_row, warp_column, reinterpret_cast<int32_t*>(shared));
  SyncThreads();
  const int left = s.Pixels() - first;
  const ConvBlock block{
      lane,  first,     left < kConvRows ? left : kConvRows, plan.map(first), channel,
      width, blockIdx.x};
  StoreOutput<Tile>(a.out, s, block, shared);
}

}  // namespace ftt::cuda
