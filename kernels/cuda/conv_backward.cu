#include "kernels/cuda/conv_backward.h"

#include "core/error.h"
#include "kernels/cuda/conv_weight_grad.cuh"
#include "kernels/cuda/grad_class.h"
#include "kernels/cuda/multiprocessors.h"
#include "kernels/cuda/pack.h"

namespace ftt::cuda {
namespace {

constexpr int kWeightGradBlocks = 2;  // on each multiprocessor

int GreatestCommonDivisor(int a, int b) { return b == 0 ? a : GreatestCommonDivisor(b, a % b); }

// At most, units of a warp beside m16 matrices of output channels: as many sums as leave two blocks
// of 256 threads on a multiprocessor.
constexpr int UnitsOfWarp(int m16) { return m16 == 1 ? 5 : (m16 == 2 ? 4 : 2); }

// Few blocks beside each other, as all of them load the same input; of these the smallest.
int PlanRows(int matrices) { return DivideUp(matrices, DivideUp(matrices, 4)); }

int WeightGradSharedBytes(const WeightGradPlan& p) {
  const int tiles =
      2 * (p.stages * p.tile.block * (16 * p.m16 + kTileSkew) + p.tile_pixels * p.XPitch()) +
      4 * p.tile.block + (p.stages - 1) * p.tile_pixels * p.x_channels;
  const int sums = kWeightGradWarps / 2 * p.m16 * p.warp_units * 8 * kWarpSize * 4;
  return tiles > sums ? tiles : sums;
}

WeightGradPlan PlanWeightGrad(const WindowGeometry& g) {
  WeightGradPlan p;
  // One tap reads every stride-th pixel, so only those are loaded.
  const int step = g.kernel == 1 ? g.stride : GreatestCommonDivisor(g.stride, g.dilation);
  p.tap_shift = g.kernel == 1 ? 1 : g.dilation / step;
  const int halo = (g.kernel - 1) * p.tap_shift;
  p.tile = {g.images, g.out_h,  g.out_w, g.stride / step, halo,  halo,
            g.origin, g.origin, step,    g.in_h,          g.in_w};
  p.tile.Prepare();
  p.tile_pixels = p.tile.MaxPixels();
  const int matrices = g.Out().Stride() / 16, taps = g.kernel * g.kernel;
  const int units = g.In().Stride() / 16 * taps;
  p.m16 = PlanRows(matrices);
  p.m_tiles = Divider(DivideUp(matrices, p.m16));
  p.taps = Divider(g.kernel * g.kernel);
  p.kernel = Divider(g.kernel);
  // Units go through the taps of 16 channels first, so fewer of them need fewer channels.
  const auto cut = [&](int unit_tiles) {
    p.units = DivideUp(units, unit_tiles);
    p.unit_tiles = DivideUp(units, p.units);
    const int touched = p.units % taps == 0 ? p.units / taps : DivideUp(p.units - 1, taps) + 1;
    p.x_channels = 16 * (touched * 16 < g.In().Stride() ? touched : g.In().Stride() / 16);
  };
  int unit_tiles = DivideUp(units, kWeightGradWarps * UnitsOfWarp(p.m16));
  cut(unit_tiles);
  while (p.x_channels > 32 && WeightGradSharedBytes(p) > kGrantedBytes) cut(++unit_tiles);
  while ((UnitsOfWarp(p.m16) << p.log2_warps_u) < p.units) ++p.log2_warps_u;
  p.warp_units = DivideUp(p.units, 1 << p.log2_warps_u);
  if (p.warp_units > 3) p.warp_units = UnitsOfWarp(p.m16);
  // Not more blocks than fit at once: a second wave of a few would take as long as the first.
  int splits =
      kWeightGradBlocks * Multiprocessors() / (p.m_tiles.Divisor() * p.unit_tiles * g.lanes);
  if (splits < 1) splits = 1;
  const auto cut_positions = [&](int block, int stages) {
    p.tile.block = block;
    p.tile_pixels = p.tile.MaxPixels();
    p.stages = stages;
    const int tiles = p.tile.Blocks();
    p.tiles_per_split = DivideUp(tiles, splits < tiles ? splits : tiles);
    p.splits = DivideUp(tiles, p.tiles_per_split);
    return WeightGradSharedBytes(p) <= kGrantedBytes;
  };
  // Large tiles where a block has several of them: what it does once a tile is then a smaller part.
  const bool large = p.tile.Positions() >= 3 * 2 * kTilePositions * splits;
  if (!large || !cut_positions(2 * kTilePositions, 3)) {
    const bool fits = cut_positions(kTilePositions, 3);
    if (!fits || p.tiles_per_split < 3) cut_positions(kTilePositions, 2);
  }
  p.copy = TileCopy(p.tile, g.In().Stride(), p.x_channels, p.x_channels);
  return p;
}

template <int kM16, int kUnits>
void LaunchWeightGrad(const ConvWeightGradArguments& a, const WeightGradPlan& p,
                      DeviceStream stream) {
  const int shared = WeightGradSharedBytes(p);
  FTT_CHECK(shared <= kSharedBytes,
            "convolution backward: windows of 128 pixels are {} bytes; at most {} are possible",
            shared, kSharedBytes);
  LaunchKernel(
      "ConvWeightGrad", &ConvWeightGradKernel<kM16, kUnits>,
      {static_cast<unsigned>(p.splits), static_cast<unsigned>(p.m_tiles.Divisor() * p.unit_tiles),
       static_cast<unsigned>(a.geometry.lanes)},
      kWeightGradThreads, static_cast<size_t>(shared), stream, a, p);
}

// One kernel for each number of units of a warp, so that no products are behind branches.
template <int kM16>
void LaunchWeightGradRows(const ConvWeightGradArguments& a, const WeightGradPlan& p,
                          DeviceStream stream) {
  constexpr int kMost = UnitsOfWarp(kM16);
  if (p.warp_units <= 1) return LaunchWeightGrad<kM16, 1>(a, p, stream);
  if (p.warp_units == 2) return LaunchWeightGrad<kM16, 2>(a, p, stream);
  if constexpr (kMost > 2) {
    if (p.warp_units == 3) return LaunchWeightGrad<kM16, 3>(a, p, stream);
    LaunchWeightGrad<kM16, kMost>(a, p, stream);
  }
}

int64_t RowFloats(const WindowGeometry& g) {
  return int64_t{g.out_channels} * g.kernel * g.kernel * PaddedChannels(g.in_channels);
}

}  // namespace

void PackConvGradWeights(const WindowGeometry& g, int copies, const int8_t* codes, uint16_t* packed,
                         DeviceStream stream) {
  PackTensor({PackLayout::kConvGrad, g, copies, codes, packed}, stream);
}

int64_t ConvWeightGradScratch(const WindowGeometry& g) {
  CheckBackward(g);
  return int64_t{g.lanes} * PlanWeightGrad(g).splits * RowFloats(g);
}

WeightReduceArguments ConvWeightPartials(const ConvWeightGradArguments& a) {
  const WindowGeometry& g = a.geometry;
  WeightReduceArguments r;
  r.lanes = g.lanes;
  r.rows = PlanWeightGrad(g).splits;
  r.n = int64_t{g.out_channels} * g.kernel * g.kernel * g.in_channels;
  r.inner = g.in_channels;
  r.inner_pitch = PaddedChannels(g.in_channels);
  r.row_floats = RowFloats(g);
  r.partials = a.scratch;
  r.x_exponent = a.x_exponent;
  r.keep = a.keep;
  r.one_weight = a.one_weight;
  r.grad_w = a.grad_w;
  return r;
}

void ConvWeightGrad(const ConvWeightGradArguments& a, DeviceStream stream) {
  const WindowGeometry& g = a.geometry;
  CheckBackward(g);
  const WeightGradPlan plan = PlanWeightGrad(g);
  switch (plan.m16) {
    case 1:
      LaunchWeightGradRows<1>(a, plan, stream);
      break;
    case 2:
      LaunchWeightGradRows<2>(a, plan, stream);
      break;
    case 3:
      LaunchWeightGradRows<3>(a, plan, stream);
      break;
    default:
      LaunchWeightGradRows<4>(a, plan, stream);
      break;
  }
  if (a.reduces) ReduceWeightGrad(ConvWeightPartials(a), stream);
}

}  // namespace ftt::cuda
