// Kernel of ConvWeightGrad.
//
// A GEMM whose depth are the output pixels of a lane: rows are output channels, columns units of
// one tap and 16 input channels. A block goes over a run of tiles of 128 or 256 pixels with up to
// 64 output channels and a range of units; its gradient and its input windows lie in shared memory
// as bfloat16, pixel by pixel, and transposing matrix loads turn them into fragments. The gradient
// and the codes of the next tile or two are copied during the products of this one. Its eight warps
// share out the units, and where there are few of them the depth, too.
#pragma once

#include "kernels/cuda/conv_backward.h"
#include "kernels/cuda/conv_tile.cuh"

namespace ftt::cuda {

inline constexpr int kWeightGradThreads = 256;
inline constexpr int kWeightGradWarps = kWeightGradThreads / kWarpSize;

struct WeightGradPlan {
  MapTile tile;
  TileCopy copy;                  // of x_channels codes a pixel
  int tap_shift = 1;              // tile rows or columns between taps
  int m16 = 1;                    // output channels of a block / 16
  Divider m_tiles, taps, kernel;  // blocks that share out the output channels; of the window
  int units = 1, unit_tiles = 1;  // units of a block
  int warp_units = 1;             // units of a warp, at most
  int log2_warps_u = 0;           // of warps that share out the units; the others share the depth
  int splits = 1, tiles_per_split = 1;
  int x_channels = 16;  // of a block's input windows
  int tile_pixels = 0;
  int stages = 2;  // 2 or 3: tiles whose gradient is in shared memory; one less have their codes

  int XPitch() const { return x_channels + kTileSkew; }
};

// Accumulators [output channels / 16][units][halves of 16 channels][fragment] of a warp.
template <int kM16, int kUnits>
using WeightGradSums = float[kM16][kUnits][2][4];

// The gradient of `count` positions, kM16 * 16 channels from `channel` on; zeros beyond the map.
template <int kM16>
__device__ __forceinline__ void CopyGradientTile(const Bf16* y, const MapShape& s, int first,
                                                 int count, int channel, Bf16* to) {
  constexpr int kGroups = 2 * kM16, kPitch = 16 * kM16 + kTileSkew;
  const int stride = s.Stride();
  FTT_ROLLED
  for (int i = static_cast<int>(threadIdx.x); i < count * kGroups; i += kWeightGradThreads) {
    const int position = i / kGroups, group = i % kGroups, c = channel + 8 * group;
    const bool inside = first + position < s.Pixels() && c < stride;
    AsyncCopy16(to + position * kPitch + 8 * group,
                inside ? y + int64_t{first + position} * stride + c : y, inside ? 16 : 0);
  }
}

// The codes of a tile.
__device__ __forceinline__ void ConvertInputTile(const uint8_t* codes, int pixels,
                                                 const Divider& by_segments, bool relu, int pitch,
                                                 Bf16* to) {
  const Relu rectify(relu);
  const int segments = by_segments.Divisor(), skew = pitch - 16 * segments;
  FTT_ROLLED
  for (int i = static_cast<int>(threadIdx.x); i < pixels * segments; i += kWeightGradThreads) {
    CodesToBf16(reinterpret_cast<const uint4*>(codes)[i], rectify,
                reinterpret_cast<uint4*>(to + 16 * i + by_segments(i) * skew));
  }
}

// Sixteen positions of the depth.
template <int kM16, int kUnits>
__device__ __forceinline__ void WeightGradStep(const Bf16* gradient, const Bf16* input,
                                               const int (&unit)[kUnits],
                                               WeightGradSums<kM16, kUnits>& acc) {
  uint32_t f[kM16][4];
  FTT_UNROLL
  for (int mt = 0; mt < kM16; ++mt) LoadMatrix4Transposed(gradient + 16 * mt, f[mt]);
  FTT_UNROLL
  for (int j = 0; j < kUnits; ++j) {
    uint32_t b[4];
    LoadMatrix4Transposed(input + unit[j], b);
    const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
    FTT_UNROLL
    for (int mt = 0; mt < kM16; ++mt) {
      MultiplyAccumulateBf16(acc[mt][j][0], f[mt], low);
      MultiplyAccumulateBf16(acc[mt][j][1], f[mt], high);
    }
  }
}

// Adds up the warps that shared the depth: the upper half of them into the lower half, until one
// is left. All threads.
template <int kM16, int kUnits>
__device__ __forceinline__ void AddDepthWarps(int warp_k, int warps_k, int warp_u, int warps_u,
                                              float* shared, WeightGradSums<kM16, kUnits>& acc) {
  constexpr int kSums = kM16 * kUnits * 8;
  const int thread = static_cast<int>(threadIdx.x) % kWarpSize;
  for (int half = warps_k / 2; half > 0; half /= 2) {
    SyncThreads();
    float* slot = shared + (warp_k % half * warps_u + warp_u) * kSums * kWarpSize + thread;
    const bool gives = warp_k >= half && warp_k < 2 * half, takes = warp_k < half;
    FTT_UNROLL
    for (int i = 0; i < kSums; ++i) {
      if (gives) slot[i * kWarpSize] = acc[i / 8 / kUnits][i / 8 % kUnits][i / 4 % 2][i % 4];
    }
    SyncThreads();
    FTT_UNROLL
    for (int i = 0; i < kSums; ++i) {
      if (takes) acc[i / 8 / kUnits][i / 8 % kUnits][i / 4 % 2][i % 4] += slot[i * kWarpSize];
    }
  }
}

// One unit into the block's row of the scratch buffer, [out_c][tap][padded in_c].
template <int kM16, int kUnits>
__device__ __forceinline__ void StoreUnit(const WindowGeometry& g, const Divider& by_taps, int unit,
                                          int j, int channel, float* row,
                                          const WeightGradSums<kM16, kUnits>& acc) {
  const int taps = by_taps.Divisor(), stride = PaddedChannels(g.in_channels);
  const int thread = static_cast<int>(threadIdx.x) % kWarpSize, group = by_taps(unit);
  const int column = (unit - group * taps) * stride + group * 16 + thread % 4 * 2;
  FTT_UNROLL
  for (int mt = 0; mt < kM16; ++mt) {
    FTT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int oc = channel + 16 * mt + i / 2 * 8 + thread / 4;
      if (oc >= g.out_channels) continue;
      *reinterpret_cast<float2*>(row + int64_t{oc} * taps * stride + column + i % 2 * 8) =
          make_float2(acc[mt][j][i % 2][i / 2 * 2], acc[mt][j][i % 2][i / 2 * 2 + 1]);
    }
  }
}

template <int kM16, int kUnits>
__global__ void __launch_bounds__(kWeightGradThreads, 2)
    ConvWeightGradKernel(FTT_IN_PLACE ConvWeightGradArguments a, FTT_IN_PLACE WeightGradPlan plan) {
  const WindowGeometry& g = a.geometry;
  const MapTile& t = plan.tile;
  const MapShape out = g.Out();
  const int taps = plan.taps.Divisor(), in_stride = PaddedChannels(g.in_channels);
  const int lane = static_cast<int>(blockIdx.z), split = static_cast<int>(blockIdx.x);
  const int unit_tile = plan.m_tiles(static_cast<int>(blockIdx.y));
  const int m_tile = static_cast<int>(blockIdx.y) - unit_tile * plan.m_tiles.Divisor();
  const int first_unit = unit_tile * plan.units;
  const int units_left = in_stride / 16 * taps - first_unit;
  const int units = units_left < plan.units ? units_left : plan.units;
  const int out_channel = m_tile * 16 * kM16;
  const int in_channel = Nearest(plan.taps(first_unit) * 16, in_stride - plan.x_channels);
  const int thread = static_cast<int>(threadIdx.x), matrix_lane = thread % kWarpSize;
  const int warp = thread / kWarpSize, warps_u = 1 << plan.log2_warps_u;
  const int warp_u = warp & (warps_u - 1), warp_k = warp >> plan.log2_warps_u;
  const int warps_k = kWeightGradWarps >> plan.log2_warps_u;
  constexpr int kPitch = 16 * kM16 + kTileSkew;
  const int pitch = plan.x_channels + kTileSkew;

  auto* gradients = reinterpret_cast<Bf16*>(SharedMemory());
  Bf16* input = gradients + plan.stages * t.block * kPitch;
  int* pixels = reinterpret_cast<int*>(input + plan.tile_pixels * pitch);
  auto* codes = reinterpret_cast<uint8_t*>(pixels + t.block);

  const int lane_at = (matrix_lane % 8 + matrix_lane / 16 * 8) * kPitch + matrix_lane / 8 % 2 * 8;
  const Bf16* y = a.grad_y + lane * out.LaneElements();
  const int8_t* x = a.x + lane * g.In().LaneElements() + in_channel;
  const int first_tile = split * plan.tiles_per_split, tiles = t.Blocks();
  const int after = first_tile + plan.tiles_per_split, end = after < tiles ? after : tiles;
  StartKernel(lane_at + in_channel + first_tile);
  int copy_gradient = 0, copy_codes = 0;  // next stages to copy to
  const auto copy = [&](int tile) {
    TileRows rows;
    if (tile < end) {
      rows = TileRows(t, tile * t.block);
      CopyGradientTile<kM16>(y, out, tile * t.block, t.block, out_channel,
                             gradients + copy_gradient * t.block * kPitch);
      CopyTile<kWeightGradThreads>(t, plan.copy, rows, x,
                                   codes + copy_codes * plan.tile_pixels * plan.x_channels);
    }
    AsyncCommit();
    if (++copy_gradient == plan.stages) copy_gradient = 0;
    if (++copy_codes == plan.stages - 1) copy_codes = 0;
    return rows;
  };
  // Of the tile whose turn is next, and of the one behind it if there are three stages.
  TileRows next = copy(first_tile), later;
  if (plan.stages == 3) later = copy(first_tile + 1);
  int unit[kUnits];
  FTT_UNROLL
  for (int j = 0; j < kUnits; ++j) {
    const int k = warp_u + j * warps_u, u = first_unit + (k < units ? k : 0);
    const int group = plan.taps(u), tap = u - group * taps, ky = plan.kernel(tap);
    const int shift = (ky * t.Width() + tap - ky * g.kernel) * plan.tap_shift;
    unit[j] = shift * pitch + group * 16 - in_channel;  // those beyond are not stored
  }
  WeightGradSums<kM16, kUnits> acc = {};
  int at_gradient = 0, at_codes = 0;
  for (int tile = first_tile; tile < end; ++tile) {
    const TileRows rows = next;
    next = later;
    if (plan.stages == 3) {
      AsyncWait<1>();
    } else {
      AsyncWait<0>();
    }
    SyncThreads();  // this tile's copies are there, and nobody reads the tile before any more
    ConvertInputTile(codes + at_codes * plan.tile_pixels * plan.x_channels, rows.count * t.width,
                     plan.copy.by_segments, g.relu, pitch, input);
    if (thread < t.block) pixels[thread] = TilePixel(t, rows, tile * t.block + thread) * pitch;
    SyncThreads();
    (plan.stages == 3 ? later : next) = copy(tile + plan.stages - 1);
    const Bf16* gradient = gradients + at_gradient * t.block * kPitch + lane_at;
    if (++at_gradient == plan.stages) at_gradient = 0;
    if (++at_codes == plan.stages - 1) at_codes = 0;
    for (int k = 16 * warp_k; k < t.block; k += 16 * warps_k) {
      WeightGradStep<kM16, kUnits>(gradient + k * kPitch,
                                   input + pixels[k + matrix_lane % 16] + matrix_lane / 16 * 8,
                                   unit, acc);
    }
  }
  AddDepthWarps<kM16, kUnits>(warp_k, warps_k, warp_u, warps_u,
                              reinterpret_cast<float*>(SharedMemory()), acc);
  if (warp_k != 0) return;
  float* row =
      a.scratch + (int64_t{lane} * plan.splits + split) * g.out_channels * taps * in_stride;
  FTT_UNROLL
  for (int j = 0; j < kUnits; ++j) {
    const int k = warp_u + j * warps_u;
    if (k < units) StoreUnit<kM16, kUnits>(g, plan.taps, first_unit + k, j, out_channel, row, acc);
  }
}

}  // namespace ftt::cuda
