// The kernel of ConvDataGrad where the gradient's windows with all their channels, and the weights
// of all taps, are small: everything is copied to shared memory at the start, then there are only
// products. Rows of the GEMM are the input pixels of one class (gradient.h), columns its input
// channels, the depth runs over taps and output channels. Blocks of few columns have more rows
// where there are enough of them.
#pragma once

#include "kernels/cuda/conv_backward.h"
#include "kernels/cuda/conv_data_grad.h"
#include "kernels/cuda/conv_output.cuh"
#include "kernels/cuda/grad_class.h"
#include "kernels/cuda/gradient.cuh"

namespace ftt::cuda {

struct GradWindowClass : GradClass {
  TileCopy copy;
  Divider by_taps_x;
  Divider by_column;  // segments of 16 bytes of a column's weights
};
struct GradWindowPlan {
  GradWindowClass classes[4];
  int count = 0;
  Divider by_chunks;                // of 16 output channels, of a tap
  int weights_at = 0, taps_at = 0;  // bytes in shared memory, behind the tile
  int shared_bytes = 0;
};

// Blocks per multiprocessor that the registers must leave room for: what does not spill.
template <int kWarpN, int kWarpsN, int kM16>
inline constexpr int kGradWindowBlocks = kWarpsN == 2
                                             ? 2
                                             : (kWarpN* kM16 <= 32 ? 6
                                                                   : (kWarpN * kM16 <= 64 ? 5 : 4));

// Weights of the block's columns from `channel` on, [columns][pitch bytes]; those beyond the last
// are zeros.
template <int kThreads>
__device__ __forceinline__ void CopyGradWindowWeights(const ConvDataGradArguments& a,
                                                      const GradWindowPlan& plan,
                                                      const GradWindowClass& k, int columns,
                                                      int channel, int pitch, uint8_t* to) {
  const WindowGeometry& g = a.geometry;
  const int chunks = plan.by_chunks.Divisor(), taps = g.kernel * g.kernel;
  const Bf16* weights =
      a.weights + (a.one_weight ? 0 : static_cast<int>(blockIdx.z) * PackedConvGradElements(g)) +
      int64_t{channel} * taps * 16 * chunks;
  const bool all_taps = k.Taps() == taps;
  const int left = PaddedChannels(g.in_channels) - channel, count = columns * k.by_column.Divisor();
  FTT_ROLLED
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    const int column = k.by_column(i), segment = i - column * k.by_column.Divisor();
    int at = segment;
    if (!all_taps) {
      const int tap = plan.by_chunks(segment / 2), jy = k.by_taps_x(tap);
      const int jx = tap - jy * k.x.taps;
      at += 2 * chunks *
            ((k.y.first_tap + jy * k.y.tap_step) * g.kernel + k.x.first_tap + jx * k.x.tap_step -
             tap);
    }
    const bool inside = column < left;
    AsyncCopy16(to + column * pitch + 16 * segment,
                weights + (inside ? 8 * (column * taps * 2 * chunks + at) : 0), inside ? 16 : 0);
  }
}

// Where the operand's rows lie for each 16 values of the depth, beyond a window's first pixel.
template <int kThreads>
__device__ __forceinline__ void FillGradTaps(const GradWindowPlan& plan, const GradWindowClass& k,
                                             int steps, int* taps) {
  FTT_ROLLED
  for (int i = static_cast<int>(threadIdx.x); i < steps; i += kThreads) {
    const int tap = plan.by_chunks(i), chunk = i - tap * plan.by_chunks.Divisor();
    const int jy = k.by_taps_x(tap), jx = tap - jy * k.x.taps;
    const int pixel = (k.y.taps - 1 - jy) * k.y.offset_step * k.tile.width +
                      (k.x.taps - 1 - jx) * k.x.offset_step;
    taps[i] = pixel * k.copy.pitch + 32 * chunk;
  }
}

// The block's sums, [Tile::kRows][Tile::kAccStride], to the input's gradient: four channels of
// several rows a thread, whose loads are under way together.
template <typename Tile>
__device__ __forceinline__ void StoreGradWindow(const ConvDataGradArguments& a,
                                                const GradWindowClass& k, int first, int channel,
                                                const float* sums) {
  constexpr int kGroups = Tile::kColumns / 4, kStep = Tile::kThreads / kGroups, kFlight = 4;
  const WindowGeometry& g = a.geometry;
  const MapShape in = g.In();
  const int stride = in.Stride(), row = static_cast<int>(threadIdx.x) / kGroups;
  const int group = static_cast<int>(threadIdx.x) % kGroups;
  const int64_t lane_at = static_cast<int>(blockIdx.z) * in.LaneElements() + channel + 4 * group;
  const int left = k.tile.Positions() - first, count = left < Tile::kRows ? left : Tile::kRows;
  if (row >= kStep || channel + 4 * group >= stride) return;
  const float unit = PowerOfTwo(*a.weight_exponent);
  const float* from = sums + row * Tile::kAccStride + 4 * group;
  FTT_ROLLED
  for (int p = row; p < count; p += kFlight * kStep, from += kFlight * kStep * Tile::kAccStride) {
    int64_t at[kFlight];
    uint32_t codes[kFlight];
    uint2 before[kFlight];
    FTT_UNROLL
    for (int r = 0; r < kFlight; ++r) {
      at[r] = lane_at + int64_t{k.Pixel(g, first + p + r * kStep)} * stride;
      codes[r] = 0x01010101u;
      before[r] = make_uint2(0, 0);
      if (p + r * kStep >= count) continue;
      if (g.relu) codes[r] = *reinterpret_cast<const uint32_t*>(a.x + at[r]);
      if (a.accumulate) before[r] = *FourOf(a.grad_x + at[r]);
    }
    FTT_UNROLL
    for (int r = 0; r < kFlight; ++r) {
      if (p + r * kStep >= count) continue;
      const float4 sum = *reinterpret_cast<const float4*>(from + r * kStep * Tile::kAccStride);
      const float f[4] = {sum.x, sum.y, sum.z, sum.w};
      *FourOf(a.grad_x + at[r]) = AddedWhere(TopsOfPositive(codes[r]), f, unit, before[r]);
    }
  }
}

template <int kWarpN, int kWarpsN, int kM16>
__global__ void __launch_bounds__(128 * kWarpsN, kGradWindowBlocks<kWarpN, kWarpsN, kM16>)
    ConvGradWindowKernel(FTT_IN_PLACE ConvDataGradArguments a, FTT_IN_PLACE GradWindowPlan plan) {
  using Tile = ConvTile<kWarpN, kWarpsN, kM16>;
  const int block = static_cast<int>(blockIdx.x);
  int which = 0;
  while (which + 1 < plan.count && block >= plan.classes[which + 1].first_block) ++which;
  const GradWindowClass& k = plan.classes[which];
  const int steps = k.Taps() * plan.by_chunks.Divisor();
  if (steps == 0 && a.accumulate) return StartKernel();

  const int channel = static_cast<int>(blockIdx.y) * Tile::kColumns;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int matrix_lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp_row = warp % 4 * 16 * kM16, warp_column = warp / 4 * kWarpN;
  const int first = (block - k.first_block) * Tile::kRows;
  const int weight_pitch = 32 * steps + 16;
  uint8_t* shared = SharedMemory();
  uint8_t* weights = shared + plan.weights_at;
  int* taps = reinterpret_cast<int*>(shared + plan.taps_at);
  const TileRows rows(k.tile, first);
  FillGradTaps<Tile::kThreads>(plan, k, steps, taps);
  int row[kM16];  // where the rows of the operand start that this thread addresses
  FTT_UNROLL
  for (int mt = 0; mt < kM16; ++mt) {
    row[mt] =
        TilePixel(k.tile, rows, first + warp_row + 16 * mt + matrix_lane % 16) * k.copy.pitch +
        16 * (matrix_lane / 16);
  }
  StartKernel(row[0] + row[kM16 - 1]);

  if (steps != 0) {
    const Bf16* y = a.grad_y + static_cast<int>(blockIdx.z) * a.geometry.Out().LaneElements();
    CopyTile<Tile::kThreads>(k.tile, k.copy, rows, y, shared);
    CopyGradWindowWeights<Tile::kThreads>(a, plan, k, Tile::kColumns, channel, weight_pitch,
                                          weights);
  }
  AsyncCommit();
  AsyncWait<0>();
  SyncThreads();

  float acc[kM16][kWarpN / 8][4] = {};
  const uint8_t* columns = weights +
                           (warp_column + matrix_lane / 16 * 8 + matrix_lane % 8) * weight_pitch +
                           matrix_lane / 8 % 2 * 16;
  for (int step = 0; step < steps; ++step, columns += 32) {
    const uint8_t* from = shared + taps[step];
    uint32_t f[kM16][4];
    FTT_UNROLL
    for (int mt = 0; mt < kM16; ++mt) LoadMatrix4(from + row[mt], f[mt]);
    FTT_UNROLL
    for (int pair = 0; pair < kWarpN / 16; ++pair) {
      uint32_t b[4];
      LoadMatrix4(columns + 16 * pair * weight_pitch, b);
      const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
      FTT_UNROLL
      for (int mt = 0; mt < kM16; ++mt) {
        MultiplyAccumulateBf16(acc[mt][2 * pair], f[mt], low);
        MultiplyAccumulateBf16(acc[mt][2 * pair + 1], f[mt], high);
      }
    }
  }
  SyncThreads();
  auto* sums = reinterpret_cast<float*>(shared);
  StoreAccumulators<Tile>(acc, warp_row, warp_column, sums);
  SyncThreads();
  StoreGradWindow<Tile>(a, k, first, channel, sums);
}

}  // namespace ftt::cuda
