#include "kernels/cuda/conv_backward.h"

#include "core/error.h"
#include "kernels/cuda/conv_data_grad.cuh"
#include "kernels/cuda/conv_grad_window.cuh"
#include "kernels/cuda/conv_weight_grad.cuh"
#include "kernels/cuda/multiprocessors.h"
#include "kernels/cuda/narrow_gradient.cuh"
#include "kernels/cuda/pack.h"

namespace ftt::cuda {
namespace {

// Tiles beyond this are cut into narrower ones where possible, so that two blocks or more share a
// multiprocessor.
constexpr int kGoodTileBytes = 72 << 10;
constexpr int kMaxChunk = 64;
// Warps of a data gradient on each multiprocessor, at least where possible; blocks of a weight
// gradient.
constexpr int kDataGradWarps = 15, kWeightGradBlocks = 2;

void CheckGeometry(const WindowGeometry& g) {
  FTT_CHECK(g.lanes > 0 && g.images > 0 && g.in_h > 0 && g.in_w > 0 && g.out_h > 0 && g.out_w > 0,
            "convolution backward: empty map");
  FTT_CHECK(g.kernel > 0 && g.dilation > 0 && (g.stride == 1 || g.stride == 2),
            "convolution backward: kernel {}, stride {}, dilation {}; strides 1 and 2 are possible",
            g.kernel, g.stride, g.dilation);
}

DataGradPlan PlanDataGrad(const WindowGeometry& g) {
  DataGradPlan plan;
  int blocks = 0, least_taps = kDataGradStages;
  for (int i = 0; i < g.stride * g.stride; ++i) {
    DataGradClass k;
    k.y = MakeGradAxis(g, g.in_h, i / g.stride);
    k.x = MakeGradAxis(g, g.in_w, i % g.stride);
    if (k.y.count == 0 || k.x.count == 0) continue;
    k.tile = {g.images,  k.y.count, k.x.count, 1,       k.y.Halo(), k.x.Halo(),
              k.y.Low(), k.x.Low(), 1,         g.out_h, g.out_w};
    k.tile.Prepare();
    k.first_block = blocks;
    blocks += k.tile.Blocks();
    const int taps = k.y.taps * k.x.taps;
    if (taps != 0) {
      least_taps = taps < least_taps ? taps : least_taps;
      const int pixels = k.tile.MaxPixels();
      plan.tile_pixels = pixels > plan.tile_pixels ? pixels : plan.tile_pixels;
    }
    plan.classes[plan.count++] = k;
  }
  const int depth = g.Out().Stride();
  int chunks = DivideUp(depth, kMaxChunk);
  const auto chunk = [&] { return RoundUp(DivideUp(depth, chunks), 16); };
  // Copies run two steps ahead: to the next chunk, or with one tap to the one after that.
  const auto tiles = [&] {
    const int most = least_taps == 1 ? 3 : 2;
    return chunks < most ? chunks : most;
  };
  while (chunk() > 16 && 2 * tiles() * plan.tile_pixels * (chunk() + kTileSkew) > kGoodTileBytes)
    ++chunks;
  plan.chunk = chunk();
  plan.chunks = DivideUp(depth, plan.chunk);
  plan.tiles = tiles();
  return plan;
}

GradWindowPlan PlanGradWindow(const WindowGeometry& g, int rows, int columns) {
  GradWindowPlan plan;
  const int chunks = g.Out().Stride() / 16;
  plan.by_chunks = Divider(chunks);
  int blocks = 0, tile_bytes = 0, most_taps = 0;
  for (int i = 0; i < g.stride * g.stride; ++i) {
    GradWindowClass k;
    k.y = MakeGradAxis(g, g.in_h, i / g.stride);
    k.x = MakeGradAxis(g, g.in_w, i % g.stride);
    if (k.y.count == 0 || k.x.count == 0) continue;
    k.tile = {g.images,  k.y.count, k.x.count, 1,       k.y.Halo(), k.x.Halo(),
              k.y.Low(), k.x.Low(), 1,         g.out_h, g.out_w};
    if (g.IsPointwise()) k.tile = PixelTile(g.images, g.out_h, g.out_w);
    k.tile.block = rows;
    k.tile.Prepare();
    k.copy = TileCopy(k.tile, 32 * chunks);
    const int taps = k.y.taps * k.x.taps;
    k.by_taps_x = Divider(taps == 0 ? 1 : k.x.taps);
    k.by_column = Divider(taps == 0 ? 1 : 2 * taps * chunks);
    k.first_block = blocks;
    blocks += k.tile.Blocks();
    const int bytes = taps == 0 ? 0 : k.tile.MaxPixels() * k.copy.pitch;
    tile_bytes = bytes > tile_bytes ? bytes : tile_bytes;
    most_taps = taps > most_taps ? taps : most_taps;
    plan.classes[plan.count++] = k;
  }
  plan.weights_at = RoundUp(tile_bytes, 128);
  plan.taps_at = plan.weights_at + columns * (32 * most_taps * chunks + 16);
  plan.shared_bytes = plan.taps_at + most_taps * chunks * static_cast<int>(sizeof(int));
  return plan;
}

// False where it does not fit.
template <int kWarpN, int kWarpsN, int kM16>
bool LaunchGradWindow(const ConvDataGradArguments& a, DeviceStream stream, int rows) {
  using Tile = ConvTile<kWarpN, kWarpsN, kM16>;
  const WindowGeometry& g = a.geometry;
  const int columns = DivideUp(g.In().Stride(), Tile::kColumns);
  if constexpr (kM16 > 2) {
    const int blocks = DivideUp(g.In().Pixels(), Tile::kRows) * columns * g.lanes;
    if (rows == 0 ? blocks < kTallBlocks * Multiprocessors() : rows != Tile::kRows)
      return LaunchGradWindow<kWarpN, kWarpsN, kM16 / 2>(a, stream, rows);
  }
  GradWindowPlan plan = PlanGradWindow(g, Tile::kRows, Tile::kColumns);
  if (plan.shared_bytes < Tile::kAccBytes) plan.shared_bytes = Tile::kAccBytes;
  if (plan.shared_bytes > kGrantedBytes) {
    if constexpr (kM16 > 2) return LaunchGradWindow<kWarpN, kWarpsN, kM16 / 2>(a, stream, rows);
    return false;
  }
  const GradWindowClass& last = plan.classes[plan.count - 1];
  LaunchKernel("ConvDataGrad", &ConvGradWindowKernel<kWarpN, kWarpsN, kM16>,
               {static_cast<unsigned>(last.first_block + last.tile.Blocks()),
                static_cast<unsigned>(columns), static_cast<unsigned>(g.lanes)},
               Tile::kThreads, static_cast<size_t>(plan.shared_bytes), stream, a, plan);
  return true;
}

bool LaunchGradWindow(const ConvDataGradArguments& a, DeviceStream stream, int columns, int rows) {
  switch (columns) {
    case 16:
      return LaunchGradWindow<16, 1, 4>(a, stream, rows);
    case 32:
      return LaunchGradWindow<32, 1, 4>(a, stream, rows);
    case 48:
      return LaunchGradWindow<48, 1, 2>(a, stream, rows);
    case 64:
      return LaunchGradWindow<64, 1, 2>(a, stream, rows);
    case 96:
      return LaunchGradWindow<48, 2, 2>(a, stream, rows);
    default:
      return LaunchGradWindow<64, 2, 2>(a, stream, rows);
  }
}

template <int kWarpN, int kWarpsN>
void LaunchDataGrad(const ConvDataGradArguments& a, const DataGradPlan& plan, DeviceStream stream) {
  using Shape = DataGradShape<kWarpN, kWarpsN>;
  const DataGradClass& last = plan.classes[plan.count - 1];
  const int shared = Shape::SharedBytes(plan);
  FTT_CHECK(shared <= kSharedBytes,
            "convolution backward: windows of 128 pixels are {} bytes; at most {} are possible",
            shared, kSharedBytes);
  const GridSize grid{static_cast<unsigned>(last.first_block + last.tile.Blocks()),
                      static_cast<unsigned>(DivideUp(a.geometry.In().Stride(), Shape::kColumns)),
                      static_cast<unsigned>(a.geometry.lanes)};
  LaunchKernel("ConvDataGrad", &ConvDataGradKernel<kWarpN, kWarpsN>, grid, Shape::kThreads,
               static_cast<size_t>(shared), stream, a, plan);
}

// The narrowest tile that holds all channels loads the gradient once; narrower ones, as far as they
// compute no more pads and a deep gradient is not loaded too often, hide more loads behind each
// other where there are few blocks.
int DataGradColumns(const WindowGeometry& g, const DataGradPlan& plan) {
  const int width = g.In().Stride();
  const DataGradClass& last = plan.classes[plan.count - 1];
  const int rows = g.lanes * (last.first_block + last.tile.Blocks());
  int best = 128;
  if (width <= 96 || (width > 128 && width <= 192)) best = 96;
  for (const int columns : {64, 48, 32, 16}) {
    const int warps = rows * DivideUp(width, best) * (best > 64 ? 8 : 4);
    const bool more = warps < kDataGradWarps * Multiprocessors() &&
                      RoundUp(width, columns) <= RoundUp(width, best) &&
                      6 * columns >= g.Out().Stride();
    if (width <= columns || more) best = columns;
  }
  return best;
}

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

template <bool kMapped, RawType kRaw>
void LaunchNarrow(const MapShape& s, const OutputGradient& y, uint16_t* narrow,
                  DeviceStream stream) {
  const int all = s.Stride() / 8, groups = DivideUp(all, DivideUp(all, kNarrowGroups));
  LaunchKernel(
      "NarrowGradient", &NarrowGradientKernel<kMapped, kRaw>,
      {static_cast<unsigned>(DivideUp(s.Pixels(), kNarrowThreads / groups * kNarrowPixels)),
       static_cast<unsigned>(DivideUp(all, groups)), static_cast<unsigned>(s.lanes)},
      kNarrowThreads, 0, stream, s, y, NarrowPlan{kNarrowThreads / groups, Divider(groups)},
      narrow);
}

int64_t RowFloats(const WindowGeometry& g) {
  return int64_t{g.out_channels} * g.kernel * g.kernel * PaddedChannels(g.in_channels);
}

}  // namespace

void PackConvGradWeights(const WindowGeometry& g, int copies, const int8_t* codes, uint16_t* packed,
                         DeviceStream stream) {
  PackTensor({PackLayout::kConvGrad, g, copies, codes, packed}, stream);
}

void NarrowGradient(const MapShape& s, const OutputGradient& y, uint16_t* narrow,
                    DeviceStream stream) {
  if (y.raw == nullptr) return LaunchNarrow<false, RawType::kInt32>(s, y, narrow, stream);
  if (y.raw_type == RawType::kHalf) return LaunchNarrow<true, RawType::kHalf>(s, y, narrow, stream);
  LaunchNarrow<true, RawType::kInt32>(s, y, narrow, stream);
}

void ConvDataGrad(const ConvDataGradArguments& a, DeviceStream stream, const DataGradCut& cut) {
  CheckGeometry(a.geometry);
  const DataGradPlan plan = PlanDataGrad(a.geometry);
  const int columns = cut.columns != 0 ? cut.columns : DataGradColumns(a.geometry, plan);
  if (!cut.streams) {
    if (LaunchGradWindow(a, stream, columns, cut.rows)) return;
    // In narrower blocks all may fit, as long as a deep gradient is not loaded too often.
    for (const int narrower : {64, 48, 32, 16}) {
      if (cut.columns == 0 && narrower < columns && 6 * narrower >= a.geometry.Out().Stride() &&
          LaunchGradWindow(a, stream, narrower, cut.rows))
        return;
    }
  }
  switch (columns) {
    case 16:
      return LaunchDataGrad<16, 1>(a, plan, stream);
    case 32:
      return LaunchDataGrad<32, 1>(a, plan, stream);
    case 48:
      return LaunchDataGrad<48, 1>(a, plan, stream);
    case 64:
      return LaunchDataGrad<64, 1>(a, plan, stream);
    case 96:
      return LaunchDataGrad<48, 2>(a, plan, stream);
    default:
      return LaunchDataGrad<64, 2>(a, plan, stream);
  }
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
