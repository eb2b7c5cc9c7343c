// Kernels of ConvDataGrad.
//
// Rows of the GEMM are the input pixels of one class (gradient.h), 128 a block, columns its input
// channels, the depth runs over chunks of output channels and within them over taps. The gradient
// of the block's windows lies in shared memory while all taps of a chunk pass. Copies run ahead of
// the products: weights stream through three stages, and the next chunk's gradient with them. Where
// everything fits at once, conv_grad_window.cuh takes less.
#pragma once

#include "kernels/cuda/conv_backward.h"
#include "kernels/cuda/conv_data_grad.h"
#include "kernels/cuda/grad_class.h"
#include "kernels/cuda/gradient.cuh"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

inline constexpr int kDataGradStages = 3;

// How a launch is cut; `chunk`: output channels at a time, a multiple of 16.
struct DataGradPlan {
  GradClass classes[4];
  int count = 0, chunk = 16, chunks = 1, tile_pixels = 0;
  int tiles = 1;  // chunks of the gradient in shared memory
};

template <int kWarpN, int kWarpsN>
struct DataGradShape {
  static constexpr int kColumns = kWarpN * kWarpsN;
  static constexpr int kThreads = 128 * kWarpsN;
  // On a multiprocessor, as many as the sums leave registers for.
  static constexpr int kBlocks = kWarpsN == 2 ? 2 : (kWarpN == 16 ? 8 : (kWarpN == 32 ? 6 : 4));
  static int SharedBytes(const DataGradPlan& p) {
    return 2 * (p.tiles * p.tile_pixels + kDataGradStages * kColumns) * (p.chunk + kTileSkew);
  }
};

// Walks over the depth: chunks, and the taps of each.
struct DepthWalk {
  int channel = 0, jy = 0, jx = 0;
  int tile = 0, stage = 0;

  __device__ bool NewChunk() const { return jy == 0 && jx == 0; }
  __device__ __forceinline__ void Next(const GradClass& k, const DataGradPlan& plan) {
    if (++stage == kDataGradStages) stage = 0;
    if (++jx < k.x.taps) return;
    jx = 0;
    if (++jy < k.y.taps) return;
    jy = 0;
    channel += plan.chunk;
    if (++tile == plan.tiles) tile = 0;
  }
};

// The weights of one step of the walk, [columns][8 * segments], by so many threads; columns beyond
// the last are zeros.
template <int kThreads, int kColumns>
__device__ __forceinline__ void CopyGradWeights(const ConvDataGradArguments& a, const GradClass& k,
                                                const DepthWalk& at, const Bf16* weights,
                                                int columns, int segments, int pitch, int thread,
                                                Bf16* to) {
  const WindowGeometry& g = a.geometry;
  const int depth = PaddedChannels(g.out_channels);
  const int tap =
      (k.y.first_tap + at.jy * k.y.tap_step) * g.kernel + k.x.first_tap + at.jx * k.x.tap_step;
  const int column_pitch = g.kernel * g.kernel * depth;
  const Bf16* from = weights + tap * depth + at.channel;
  const GroupShare<kThreads> share(segments, thread);
  const int step = share.ColumnStep();
  FTT_ROLLED
  for (int segment = share.group; segment < segments; segment += share.GroupStep()) {
    const Bf16* source = from + int64_t{share.column} * column_pitch + 8 * segment;
    Bf16* target = to + share.column * pitch + 8 * segment;
    FTT_ROLLED
    for (int column = share.column; column < kColumns; column += step) {
      const bool inside = column < columns;
      AsyncCopy16(target, inside ? source : weights, inside ? 16 : 0);
      source += int64_t{step} * column_pitch;
      target += step * pitch;
    }
  }
}

// One tap of one chunk; rows: where the two matrix rows of this thread start.
template <int kWarpN>
__device__ __forceinline__ void DataGradStep(const Bf16* const (&rows)[2], const Bf16* weights,
                                             int pitch, int depth, float (&acc)[2][kWarpN / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const Bf16* columns = weights + (lane / 16 * 8 + lane % 8) * pitch + lane / 8 % 2 * 8;
  FTT_ROLLED
  for (int k = 0; k < depth; k += 16) {
    uint32_t f[2][4];
    FTT_UNROLL
    for (int mt = 0; mt < 2; ++mt) LoadMatrix4(rows[mt] + k, f[mt]);
    FTT_UNROLL
    for (int pair = 0; pair < kWarpN / 16; ++pair) {
      uint32_t b[4];
      LoadMatrix4(columns + 16 * pair * pitch + k, b);
      const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
      FTT_UNROLL
      for (int mt = 0; mt < 2; ++mt) {
        MultiplyAccumulateBf16(acc[mt][2 * pair], f[mt], low);
        MultiplyAccumulateBf16(acc[mt][2 * pair + 1], f[mt], high);
      }
    }
  }
}

// Neighbouring threads swap halves of their fragments, so that each holds four channels in a row.
// The loads of several rows are under way together: a store in front of them would hold them back.
template <int kWarpN>
__device__ __forceinline__ void StoreDataGradTile(const ConvDataGradArguments& a,
                                                  const GradClass& k, int lane, int first_row,
                                                  int channel,
                                                  const float (&acc)[2][kWarpN / 8][4]) {
  constexpr int kVectors = kWarpN / 16;
  constexpr int kRows = kWarpN == 16 ? 4 : (kWarpN < 64 ? 2 : 1);
  const WindowGeometry& g = a.geometry;
  const MapShape in = g.In();
  const int thread = static_cast<int>(threadIdx.x) % kWarpSize, stride = in.Stride();
  const bool odd = thread % 2 != 0;
  const int64_t lane_at = lane * in.LaneElements() + channel + thread % 4 / 2 * 4 + (odd ? 8 : 0);
  const float unit = PowerOfTwo(*a.weight_exponent);
  int position = first_row + thread / 4;
  FTT_UNROLL
  for (int first = 0; first < 4; first += kRows) {
    int64_t at[kRows];
    bool inside[kRows];
    uint32_t codes[kRows][kVectors];
    uint2 before[kRows][kVectors];
    FTT_UNROLL
    for (int r = 0; r < kRows; ++r) {
      inside[r] = position < k.tile.Positions();
      at[r] = lane_at + int64_t{k.Pixel(g, position)} * stride;
      position += 8;
      FTT_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        codes[r][v] = 0x01010101u;
        before[r][v] = make_uint2(0, 0);
        if (!inside[r] || channel + 16 * v >= stride) continue;
        if (g.relu) codes[r][v] = *reinterpret_cast<const uint32_t*>(a.x + at[r] + 16 * v);
        if (a.accumulate) before[r][v] = *FourOf(a.grad_x + at[r] + 16 * v);
      }
    }
    FTT_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const int i = first + r, mt = i / 2, pair = i % 2 * 2;
      FTT_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const float(&even_tile)[4] = acc[mt][2 * v], (&odd_tile)[4] = acc[mt][2 * v + 1];
        const float got0 = ShuffleXor(odd ? even_tile[pair] : odd_tile[pair], 1);
        const float got1 = ShuffleXor(odd ? even_tile[pair + 1] : odd_tile[pair + 1], 1);
        const float f[4] = {odd ? got0 : even_tile[pair], odd ? got1 : even_tile[pair + 1],
                            odd ? odd_tile[pair] : got0, odd ? odd_tile[pair + 1] : got1};
        if (!inside[r] || channel + 16 * v >= stride) continue;
        *FourOf(a.grad_x + at[r] + 16 * v) =
            AddedWhere(TopsOfPositive(codes[r][v]), f, unit, before[r][v]);
      }
    }
  }
}

template <int kWarpN, int kWarpsN>
__global__ void __launch_bounds__(128 * kWarpsN, DataGradShape<kWarpN, kWarpsN>::kBlocks)
    ConvDataGradKernel(ConvDataGradArguments a, DataGradPlan plan) {
  using Shape = DataGradShape<kWarpN, kWarpsN>;
  const int block = static_cast<int>(blockIdx.x);
  int which = 0;
  while (which + 1 < plan.count && block >= plan.classes[which + 1].first_block) ++which;
  const GradClass& k = plan.classes[which];
  const int steps = k.Taps() * plan.chunks;
  if (steps == 0 && a.accumulate) return StartKernel();

  const WindowGeometry& g = a.geometry;
  const MapShape out = g.Out();
  const int lane = static_cast<int>(blockIdx.z), thread = static_cast<int>(threadIdx.x);
  const int channel = static_cast<int>(blockIdx.y) * Shape::kColumns;
  const int warp = thread / kWarpSize, matrix_lane = thread % kWarpSize;
  const int warp_row = warp % 4 * 32, warp_column = warp / 4 * kWarpN;
  const int first = (block - k.first_block) * kTilePositions;
  const int pitch = plan.chunk + kTileSkew, depth = out.Stride();
  const Bf16* weights = a.weights + (a.one_weight ? 0 : lane * PackedConvGradElements(g)) +
                        int64_t{channel} * g.kernel * g.kernel * depth;
  const int columns = PaddedChannels(g.in_channels) - channel;
  const Bf16* y = a.grad_y + lane * out.LaneElements();
  auto* tiles = reinterpret_cast<Bf16*>(SharedMemory());
  Bf16* stages = tiles + plan.tiles * plan.tile_pixels * pitch;
  const TileRows tile_rows(k.tile, first);
  StartKernel(tile_rows.first + tile_rows.count);

  DepthWalk ahead, now;
  const auto copy_gradient = [&](const DepthWalk& at, int width) {
    Bf16* to = tiles + at.tile * plan.tile_pixels * pitch;
    ForTile<Shape::kThreads>(k.tile, tile_rows, width / 8, [&](int source, int group, int pixel) {
      const Bf16* from = y + int64_t{source} * depth + at.channel + 8 * group;
      AsyncCopy16(to + pixel * pitch + 8 * group, source >= 0 ? from : y, source >= 0 ? 16 : 0);
    });
  };
  const auto copy = [&](int step) {
    if (step < steps) {
      const int left = depth - ahead.channel, width = left < plan.chunk ? left : plan.chunk;
      if (ahead.NewChunk()) copy_gradient(ahead, width);
      CopyGradWeights<Shape::kThreads, Shape::kColumns>(
          a, k, ahead, weights, columns, width / 8, pitch, thread,
          stages + ahead.stage * Shape::kColumns * pitch);
      ahead.Next(k, plan);
    }
    AsyncCommit();
  };
  FTT_ROLLED
  for (int step = 0; step < kDataGradStages - 1; ++step) copy(step);

  int pixel[2];
  FTT_UNROLL
  for (int mt = 0; mt < 2; ++mt)
    pixel[mt] = TilePixel(k.tile, tile_rows, first + warp_row + 16 * mt + matrix_lane % 16);
  float acc[2][kWarpN / 8][4] = {};
  FTT_ROLLED
  for (int step = 0; step < steps; ++step) {
    // This step's copies are there, and the step before no longer reads its stage.
    AsyncWait<kDataGradStages - 2>();
    SyncThreads();
    copy(step + kDataGradStages - 1);
    const int left = depth - now.channel, width = left < plan.chunk ? left : plan.chunk;
    const int shift = (k.y.taps - 1 - now.jy) * k.y.offset_step * k.tile.Width() +
                      (k.x.taps - 1 - now.jx) * k.x.offset_step;
    const Bf16* tile = tiles + now.tile * plan.tile_pixels * pitch + matrix_lane / 16 * 8;
    const Bf16* rows[2];
    FTT_UNROLL
    for (int mt = 0; mt < 2; ++mt) rows[mt] = tile + (pixel[mt] + shift) * pitch;
    DataGradStep<kWarpN>(rows, stages + (now.stage * Shape::kColumns + warp_column) * pitch, pitch,
                         width, acc);
    now.Next(k, plan);
  }
  AsyncWait<0>();
  StoreDataGradTile<kWarpN>(a, k, lane, first + warp_row, channel + warp_column, acc);
}

}  // namespace ftt::cuda
