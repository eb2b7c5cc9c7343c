#include "kernels/cuda/conv_data_grad.h"

#include "core/error.h"
#include "kernels/cuda/conv_data_grad.cuh"
#include "kernels/cuda/conv_grad_window.cuh"
#include "kernels/cuda/multiprocessors.h"

namespace ftt::cuda {
namespace {

// Tiles beyond this are cut into narrower ones where possible, so that two blocks or more share a
// multiprocessor.
constexpr int kGoodTileBytes = 72 << 10;
constexpr int kMaxChunk = 64;
// Warps on each multiprocessor, at least where possible.
constexpr int kDataGradWarps = 15;

DataGradPlan PlanDataGrad(const WindowGeometry& g) {
  DataGradPlan plan;
  int least_taps = kDataGradStages;
  ForGradClasses(g, kTilePositions, [&](const GradClass& k) {
    const int taps = k.Taps();
    if (taps != 0) {
      least_taps = taps < least_taps ? taps : least_taps;
      const int pixels = k.tile.MaxPixels();
      plan.tile_pixels = pixels > plan.tile_pixels ? pixels : plan.tile_pixels;
    }
    plan.classes[plan.count++] = k;
  });
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
  int tile_bytes = 0, most_taps = 0;
  ForGradClasses(g, rows, [&](const GradClass& k) {
    const int taps = k.Taps();
    const TileCopy copy(k.tile, 32 * chunks);
    const int bytes = taps == 0 ? 0 : k.tile.MaxPixels() * copy.pitch;
    tile_bytes = bytes > tile_bytes ? bytes : tile_bytes;
    most_taps = taps > most_taps ? taps : most_taps;
    plan.classes[plan.count++] = {k, copy, Divider(taps == 0 ? 1 : k.x.taps),
                                  Divider(taps == 0 ? 1 : 2 * taps * chunks)};
  });
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
  const GradClass& last = plan.classes[plan.count - 1];
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
  const GradClass& last = plan.classes[plan.count - 1];
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

}  // namespace

void ConvDataGrad(const ConvDataGradArguments& a, DeviceStream stream, const DataGradCut& cut) {
  CheckBackward(a.geometry);
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

}  // namespace ftt::cuda
