#include "kernels/cuda/conv.h"

#include "core/error.h"
#include "kernels/cuda/conv.cuh"
#include "kernels/cuda/conv_window.cuh"
#include "kernels/cuda/multiprocessors.h"
#include "kernels/cuda/pack.h"

namespace ftt::cuda {
namespace {

// Larger sums of squares would not fit 64 bits in the epilogue.
constexpr int kMaxDepth = 1 << 14;

template <int kWarpN, int kWarpsN, int kM16>
ConvWindowPlan PlanWindow(const ConvArguments& a) {
  using Tile = ConvTile<kWarpN, kWarpsN, kM16>;
  const WindowGeometry& g = a.geometry;
  const int halo = (g.kernel - 1) * g.dilation, channels = PaddedChannels(g.in_channels);
  ConvWindowPlan p;
  p.tile = g.IsPointwise() ? PixelTile(g.images, g.out_h, g.out_w)
                           : MapTile{g.images, g.out_h,  g.out_w, g.stride, halo,  halo,
                                     g.origin, g.origin, 1,       g.in_h,   g.in_w};
  p.tile.block = Tile::kRows;
  p.tile.Prepare();
  p.copy = TileCopy(p.tile, channels);
  p.by_kernel = Divider(g.kernel);
  p.by_map = Divider(g.out_h * g.out_w);
  p.lane_codes = g.In().LaneElements();
  p.lane_weights = a.one_weight ? 0 : PackedConvBytes(g);
  p.depth = PackedConvDepth(g);
  p.steps = p.depth / kConvDepth;
  p.weights_at = RoundUp(p.tile.MaxPixels() * p.copy.pitch, 128);
  const int stage_bytes = Tile::kColumns * kConvDepth;
  const int taps_bytes = p.steps * kConvSegments * static_cast<int>(sizeof(int));
  const auto bytes = [&](int stages) { return p.weights_at + stages * stage_bytes + taps_bytes; };
  p.resident =
      bytes(p.steps) <= kSharedBytes / kWindowBlocks<kWarpN, kWarpsN, kM16> - kBlockSharedExtra;
  const int stages = p.resident ? p.steps : kConvStages;
  p.taps_at = p.weights_at + stages * stage_bytes;
  const int output = Tile::OutputBytes(a.out.faults.Staged(), a.out.faults.collects);
  p.shared_bytes = bytes(stages) > output ? bytes(stages) : output;
  return p;
}

// False where the windows do not fit, and of pointwise convolutions where tall blocks would be few:
// PointRows copies no more.
template <int kWarpN, int kWarpsN, int kM16>
bool LaunchWindow(const ConvArguments& a, DeviceStream stream, const ConvCut& cut) {
  using Tile = ConvTile<kWarpN, kWarpsN, kM16>;
  const WindowGeometry& g = a.geometry;
  const int columns = DivideUp(g.Out().Stride(), Tile::kColumns);
  if constexpr (kM16 > 2) {
    const int blocks = DivideUp(g.Out().Pixels(), Tile::kRows) * columns * g.lanes;
    if (cut.rows == 0 ? blocks < kTallBlocks * Multiprocessors() : cut.rows != Tile::kRows)
      return LaunchWindow<kWarpN, kWarpsN, kM16 / 2>(a, stream, cut);
  }
  const ConvWindowPlan plan = PlanWindow<kWarpN, kWarpsN, kM16>(a);
  if (plan.shared_bytes > kGrantedBytes || (g.IsPointwise() && (kM16 == 2 || !plan.resident))) {
    if constexpr (kM16 > 2) return LaunchWindow<kWarpN, kWarpsN, kM16 / 2>(a, stream, cut);
    return false;
  }
  const GridSize grid{static_cast<unsigned>(plan.tile.Blocks()), static_cast<unsigned>(columns),
                      static_cast<unsigned>(g.lanes)};
  LaunchKernel("Conv", &ConvWindowKernel<kWarpN, kWarpsN, kM16>, grid, Tile::kThreads,
               static_cast<size_t>(plan.shared_bytes), stream, a, plan);
  return true;
}

template <int kWarpN, int kWarpsN>
void LaunchConv(const ConvArguments& a, DeviceStream stream, const ConvCut& cut) {
  using Tile = ConvTile<kWarpN, kWarpsN>;
  const WindowGeometry& g = a.geometry;
  constexpr int kTallest = Tile::kColumns <= 32 ? 128 / kWarpN : 2;
  if ((g.kernel > 1 || g.IsPointwise()) && !cut.tap_by_tap &&
      LaunchWindow<kWarpN, kWarpsN, kTallest>(a, stream, cut))
    return;
  const GridSize grid{static_cast<unsigned>(DivideUp(g.Out().Pixels(), Tile::kRows)),
                      static_cast<unsigned>(DivideUp(g.Out().Stride(), Tile::kColumns)),
                      static_cast<unsigned>(g.lanes)};
  const auto kernel = g.IsPointwise() ? &ConvKernel<kWarpN, kWarpsN, PointRows>
                                      : &ConvKernel<kWarpN, kWarpsN, ConvRows>;
  LaunchKernel("Conv", kernel, grid, Tile::kThreads,
               static_cast<size_t>(ConvSharedBytes<kWarpN, kWarpsN>(a.out.faults)), stream, a,
               ConvPlan(g));
}

// Columns of a block. The narrowest tile that holds all channels reads the input once; beyond 128
// the widest one that wastes least. Where that leaves multiprocessors without a block, half as many
// columns: more of them share the input, which they find in the second-level cache.
int ConvColumns(const WindowGeometry& g) {
  const int width = g.Out().Stride(), rows = g.lanes * DivideUp(g.Out().Pixels(), kConvRows);
  int columns = 128;
  for (const int c : {96, 64, 48, 32, 16}) {
    if (width <= c) columns = c;
  }
  if (width > 128 && width <= 192) columns = 96;
  while (columns > 16 && columns != 48 &&
         rows * DivideUp(width, columns) * 3 < 2 * Multiprocessors())
    columns /= 2;
  return columns;
}

}  // namespace

void PackConvWeights(const WindowGeometry& g, int copies, const int8_t* codes, int8_t* packed,
                     DeviceStream stream) {
  PackTensor({PackLayout::kConv, g, copies, codes, packed}, stream);
}

void Conv(const ConvArguments& a, DeviceStream stream, const ConvCut& cut) {
  const WindowGeometry& g = a.geometry;
  FTT_CHECK(g.lanes > 0 && g.images > 0 && g.out_h > 0 && g.out_w > 0, "convolution: empty map");
  FTT_CHECK(PackedConvDepth(g) <= kMaxDepth,
            "convolution: {} products per output; at most {} are possible", PackedConvDepth(g),
            kMaxDepth);
  constexpr int kMaxKernel = 15;
  FTT_CHECK(g.kernel > 0 && g.kernel <= kMaxKernel, "convolution: kernel {}; 1 to {} are possible",
            g.kernel, kMaxKernel);
  FTT_CHECK(g.In().LaneElements() < int64_t{1} << 31,
            "convolution: {} codes a lane; less than 2^31 are possible, lower --batch",
            g.In().LaneElements());
  FTT_CHECK((a.out.raw == nullptr) != (a.out.codes == nullptr),
            "convolution: give one of raw output and codes");
  switch (cut.columns == 0 ? ConvColumns(g) : cut.columns) {
    case 16:
      return LaunchConv<16, 1>(a, stream, cut);
    case 32:
      return LaunchConv<32, 1>(a, stream, cut);
    case 48:
      return LaunchConv<48, 1>(a, stream, cut);
    case 64:
      return LaunchConv<64, 1>(a, stream, cut);
    case 96:
      return LaunchConv<48, 2>(a, stream, cut);
    case 128:
      return LaunchConv<64, 2>(a, stream, cut);
    default:
      Fail("convolution: blocks of {} columns do not exist", cut.columns);
  }
}

}  // namespace ftt::cuda
