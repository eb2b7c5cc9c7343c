#include "kernels/cuda/conv_backward.h"

#include "core/error.h"
#include "kernels/cuda/conv_data_grad.cuh"
#include "kernels/cuda/conv_weight_grad.cuh"
#include "kernels/cuda/pack.h"

namespace ftt::cuda {
namespace {

constexpr int kMaxSharedBytes = 227 << 10;
// Tiles beyond this are cut into narrower ones where possible, so that two blocks or more share a
// multiprocessor.
constexpr int kGoodTileBytes = 72 << 10;
constexpr int kMaxChunk = 64;
// Blocks of a weight gradient: two on each of 132 multiprocessors.
constexpr int kWeightGradBlocks = 264;

void CheckGeometry(const WindowGeometry& g) {
  FTT_CHECK(g.lanes > 0 && g.images > 0 && g.in_h > 0 && g.in_w > 0 && g.out_h > 0 && g.out_w > 0,
            "convolution backward: empty map");
  FTT_CHECK(g.kernel > 0 && g.dilation > 0 && (g.stride == 1 || g.stride == 2),
            "convolution backward: kernel {}, stride {}, dilation {}; strides 1 and 2 are possible",
            g.kernel, g.stride, g.dilation);
}

DataGradPlan PlanDataGrad(const WindowGeometry& g) {
  DataGradPlan plan;
  int blocks = 0;
  for (int i = 0; i < g.stride * g.stride; ++i) {
    DataGradClass k;
    k.y = MakeGradAxis(g, g.in_h, i / g.stride);
    k.x = MakeGradAxis(g, g.in_w, i % g.stride);
    if (k.y.count == 0 || k.x.count == 0) continue;
    k.tile = {g.images,  k.y.count, k.x.count, 1,       k.y.Halo(), k.x.Halo(),
              k.y.Low(), k.x.Low(), 1,         g.out_h, g.out_w};
    k.first_block = blocks;
    blocks += k.tile.Blocks();
    if (k.y.taps * k.x.taps != 0) {
      const int pixels = k.tile.MaxPixels();
      plan.tile_pixels = pixels > plan.tile_pixels ? pixels : plan.tile_pixels;
    }
    plan.classes[plan.count++] = k;
  }
  const int depth = g.Out().Stride();
  int chunks = DivideUp(depth, kMaxChunk);
  const auto chunk = [&] { return RoundUp(DivideUp(depth, chunks), 16); };
  while (chunk() > 16 && 2 * plan.tile_pixels * (chunk() + kTileSkew) > kGoodTileBytes) ++chunks;
  plan.chunk = chunk();
  return plan;
}

template <int kWarpN, int kWarpsN>
void LaunchDataGrad(const ConvDataGradArguments& a, const DataGradPlan& plan, DeviceStream stream) {
  using Shape = DataGradShape<kWarpN, kWarpsN>;
  const DataGradClass& last = plan.classes[plan.count - 1];
  const int shared = Shape::SharedBytes(plan.tile_pixels, plan.chunk);
  FTT_CHECK(shared <= kMaxSharedBytes,
            "convolution backward: windows of 128 pixels are {} bytes; at most {} are possible",
            shared, kMaxSharedBytes);
  const GridSize grid{static_cast<unsigned>(last.first_block + last.tile.Blocks()),
                      static_cast<unsigned>(DivideUp(a.geometry.In().Stride(), Shape::kColumns)),
                      static_cast<unsigned>(a.geometry.lanes)};
  LaunchKernel("ConvDataGrad", &ConvDataGradKernel<kWarpN, kWarpsN>, grid, Shape::kThreads,
               static_cast<size_t>(shared), stream, a, plan);
}

int GreatestCommonDivisor(int a, int b) { return b == 0 ? a : GreatestCommonDivisor(b, a % b); }

// Units of a warp beside m16 matrices of output channels: as many sums as leave two blocks of 256
// threads on a multiprocessor.
constexpr int UnitsOfWarp(int m16) { return m16 == 1 ? 5 : (m16 == 2 ? 4 : 2); }

// The largest m16 that wastes least.
int PlanRows(int matrices) {
  int best = 1;
  for (int m16 = 2; m16 <= 4; ++m16) {
    if (RoundUp(matrices, m16) <= RoundUp(matrices, best)) best = m16;
  }
  return best;
}

int WeightGradSharedBytes(const WeightGradPlan& p) {
  const int tiles = 2 * (kTilePositions * (16 * p.m16 + kTileSkew) + p.tile_pixels * p.XPitch()) +
                    4 * kTilePositions;
  const int sums = kWeightGradWarps / 2 * p.m16 * UnitsOfWarp(p.m16) * 8 * kWarpSize * 4;
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
  p.tile_pixels = p.tile.MaxPixels();
  const int matrices = g.Out().Stride() / 16, taps = g.kernel * g.kernel;
  const int units = g.In().Stride() / 16 * taps;
  p.m16 = PlanRows(matrices);
  p.m_tiles = DivideUp(matrices, p.m16);
  // Units go through the taps of 16 channels first, so fewer of them need fewer channels.
  const auto cut = [&](int unit_tiles) {
    p.units = DivideUp(units, unit_tiles);
    p.unit_tiles = DivideUp(units, p.units);
    const int touched = p.units % taps == 0 ? p.units / taps : DivideUp(p.units - 1, taps) + 1;
    p.x_channels = 16 * (touched * 16 < g.In().Stride() ? touched : g.In().Stride() / 16);
  };
  int unit_tiles = DivideUp(units, kWeightGradWarps * UnitsOfWarp(p.m16));
  cut(unit_tiles);
  while (p.x_channels > 32 && 2 * p.tile_pixels * p.XPitch() > kGoodTileBytes) cut(++unit_tiles);
  while (p.warps_u * UnitsOfWarp(p.m16) < p.units) p.warps_u *= 2;
  const int tiles = p.tile.Blocks();
  int splits = DivideUp(kWeightGradBlocks, p.m_tiles * p.unit_tiles * g.lanes);
  splits = splits < tiles ? splits : tiles;
  p.tiles_per_split = DivideUp(tiles, splits);
  p.splits = DivideUp(tiles, p.tiles_per_split);
  return p;
}

template <int kM16>
void LaunchWeightGrad(const ConvWeightGradArguments& a, const WeightGradPlan& p,
                      DeviceStream stream) {
  const int shared = WeightGradSharedBytes(p);
  FTT_CHECK(shared <= kMaxSharedBytes,
            "convolution backward: windows of 128 pixels are {} bytes; at most {} are possible",
            shared, kMaxSharedBytes);
  LaunchKernel("ConvWeightGrad", &ConvWeightGradKernel<kM16, UnitsOfWarp(kM16)>,
               {static_cast<unsigned>(p.splits), static_cast<unsigned>(p.m_tiles * p.unit_tiles),
                static_cast<unsigned>(a.geometry.lanes)},
               kWeightGradThreads, static_cast<size_t>(shared), stream, a, p);
}

int64_t RowFloats(const WindowGeometry& g) {
  return int64_t{g.out_channels} * g.kernel * g.kernel * PaddedChannels(g.in_channels);
}

}  // namespace

void PackConvGradWeights(const WindowGeometry& g, int copies, const int8_t* codes, uint16_t* packed,
                         DeviceStream stream) {
  PackTensor({PackLayout::kConvGrad, g, copies, codes, packed}, stream);
}

void ConvDataGrad(const ConvDataGradArguments& a, DeviceStream stream) {
  CheckGeometry(a.geometry);
  const DataGradPlan plan = PlanDataGrad(a.geometry);
  // The narrowest tile that holds all channels loads the gradient once.
  const int width = a.geometry.In().Stride();
  if (width <= 16) return LaunchDataGrad<16, 1>(a, plan, stream);
  if (width <= 32) return LaunchDataGrad<32, 1>(a, plan, stream);
  if (width <= 48) return LaunchDataGrad<48, 1>(a, plan, stream);
  if (width <= 64) return LaunchDataGrad<64, 1>(a, plan, stream);
  if (width <= 96 || (width > 128 && width <= 192)) return LaunchDataGrad<48, 2>(a, plan, stream);
  LaunchDataGrad<64, 2>(a, plan, stream);
}

int64_t ConvWeightGradScratch(const WindowGeometry& g) {
  CheckGeometry(g);
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
  CheckGeometry(g);
  const WeightGradPlan plan = PlanWeightGrad(g);
  switch (plan.m16) {
    case 1:
      LaunchWeightGrad<1>(a, plan, stream);
      break;
    case 2:
      LaunchWeightGrad<2>(a, plan, stream);
      break;
    case 3:
      LaunchWeightGrad<3>(a, plan, stream);
      break;
    default:
      LaunchWeightGrad<4>(a, plan, stream);
      break;
  }
  if (a.reduces) ReduceWeightGrad(ConvWeightPartials(a), stream);
}

}  // namespace ftt::cuda
