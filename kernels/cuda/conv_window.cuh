// The kernel of conv.h for windows of several taps. What the windows of a block's outputs read is
// copied to shared memory once and serves every tap; ReLU is applied to it there, once. Weights are
// all there from the start where they are small, otherwise they stream through stages. Blocks of
// few columns have more rows where there are enough of them: what a block does once is then a
// smaller part.
#pragma once

#include "kernels/cuda/conv_output.cuh"
#include "kernels/cuda/conv_tile.cuh"

namespace ftt::cuda {

// How a launch is cut, and what its blocks would otherwise all work out anew.
struct ConvWindowPlan {
  MapTile tile;
  TileCopy copy;
  Divider by_kernel, by_map;  // by_map: by the pixels of an output map
  int64_t lane_codes = 0, lane_weights = 0;
  int depth = 0, steps = 0;         // of the GEMM
  bool resident = false;            // the weights of all steps are there at once
  int weights_at = 0, taps_at = 0;  // bytes in shared memory, behind the tile
  int shared_bytes = 0;
};

// Blocks per multiprocessor that the registers must leave room for: what does not spill.
template <int kWarpN, int kWarpsN, int kM16>
inline constexpr int kWindowBlocks = kWarpsN == 2
                                         ? 2
                                         : (kWarpN == 64 ? 3 : (kWarpN * kM16 == 32 ? 6 : 4));

// Where the operand's segments lie, beyond that of a window's first pixel, in the order of the
// packed weights; those beyond the last tap, whose weights are zeros, anywhere.
template <int kThreads>
__device__ __forceinline__ void FillTaps(const WindowGeometry& g, const ConvWindowPlan& plan,
                                         int* taps) {
  FTT_ROLLED
  for (int i = static_cast<int>(threadIdx.x); i < plan.steps * kConvSegments; i += kThreads) {
    const int tap = plan.copy.by_segments(i), segment = i - tap * plan.copy.by_segments.Divisor();
    const int y = plan.by_kernel(tap), x = tap - y * g.kernel;
    const int pixel = (y * plan.tile.Width() + x) * g.dilation;
    taps[i] = y < g.kernel ? pixel * plan.copy.pitch + 16 * segment : 0;
  }
}

template <int kWarpN, int kWarpsN, int kM16>
__global__ void __launch_bounds__(128 * kWarpsN, kWindowBlocks<kWarpN, kWarpsN, kM16>)
    ConvWindowKernel(FTT_IN_PLACE ConvArguments a, FTT_IN_PLACE ConvWindowPlan plan) {
  using Tile = ConvTile<kWarpN, kWarpsN, kM16>;
  constexpr int kStageBytes = Tile::kColumns * kConvDepth;
  const MapTile& t = plan.tile;
  const int lane = static_cast<int>(blockIdx.z);
  const int first = static_cast<int>(blockIdx.x) * Tile::kRows;
  const int channel = static_cast<int>(blockIdx.y) * Tile::kColumns;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int matrix_lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp_row = warp % 4 * 16 * kM16, warp_column = warp / 4 * kWarpN;
  uint8_t* shared = SharedMemory();
  uint8_t* stages = shared + plan.weights_at;
  int* taps = reinterpret_cast<int*>(shared + plan.taps_at);
  const TileRows rows(t, first);
  FillTaps<Tile::kThreads>(a.geometry, plan, taps);
  int row[kM16];  // where the rows of the operand start that this thread addresses
  FTT_UNROLL
  for (int mt = 0; mt < kM16; ++mt)
    row[mt] = TilePixel(t, rows, first + warp_row + 16 * mt + matrix_lane % 16) * plan.copy.pitch;
  StartKernel(row[0] + row[kM16 - 1]);

  CopyTile<Tile::kThreads>(t, plan.copy, rows, a.x + lane * plan.lane_codes, shared);
  const MapShape s = a.geometry.Out();
  const int columns_left = s.Stride() - channel;
  const int width = columns_left < Tile::kColumns ? columns_left : Tile::kColumns;
  const ConvWeights<Tile::kThreads, Tile::kColumns> weights(
      a.weights + lane * plan.lane_weights + int64_t{channel} * plan.depth, plan.depth, width);
  int ahead = 0;  // steps whose weights are on their way
  FTT_ROLLED
  for (int group = 1; group < kConvStages; ++group) {
    const int end = plan.resident || group > plan.steps ? plan.steps : group;
    FTT_ROLLED
    for (; ahead < end; ++ahead) weights.Copy(ahead, stages + ahead * kStageBytes);
    AsyncCommit();
  }
  AsyncWait<kConvStages - 2>();
  if (a.geometry.relu) RectifyTile<Tile::kThreads>(t, plan.copy, rows, shared);

  const int matrix_column = MatrixColumn(warp_column);
  int32_t acc[kM16][kWarpN / 8][4] = {};
  taps += matrix_lane / 16;
  for (int step = 0; step < plan.steps; ++step) {
    if (step == 0 || !plan.resident) {
      AsyncWait<kConvStages - 2>();
      // The copies of this step are there, and the step before no longer reads its stage.
      SyncThreads();
      if (ahead < plan.steps) {
        weights.Copy(ahead, stages + ahead % kConvStages * kStageBytes);
        ++ahead;
      }
      AsyncCommit();
    }
    const int tap[2] = {taps[4 * step], taps[4 * step + 2]};
    const auto operand = [&](int mt, int k) { return shared + row[mt] + tap[k]; };
    const int stage = plan.resident ? step : step % kConvStages;
    ConvStep<kWarpN>(operand, stages + stage * kStageBytes, matrix_column, NoRelu(), acc);
  }
  AsyncWait<0>();
  SyncThreads();

  StoreAccumulators<Tile>(acc, warp_row, warp_column, reinterpret_cast<int32_t*>(shared));
  SyncThreads();
  const int left = t.Positions() - first;
  const ConvBlock block{
      lane,  first,     left < Tile::kRows ? left : Tile::kRows, plan.by_map(first), channel,
      width, blockIdx.x};
  StoreOutput<Tile>(a.out, s, block, shared);
}

}  // namespace ftt::cuda
