#include "kernels/cuda/conv.h"

#include "core/error.h"
#include "kernels/cuda/conv.cuh"
#include "kernels/cuda/multiprocessors.h"
#include "kernels/cuda/pack.h"

namespace ftt::cuda {
namespace {

// Larger sums of squares would not fit 64 bits in the epilogue.
constexpr int kMaxDepth = 1 << 14;

template <int kWarpN, int kWarpsN>
void LaunchConv(const ConvArguments& a, DeviceStream stream) {
  using Tile = ConvTile<kWarpN, kWarpsN>;
  const WindowGeometry& g = a.geometry;
  const GridSize grid{static_cast<unsigned>(DivideUp(g.Out().Pixels(), kConvRows)),
                      static_cast<unsigned>(DivideUp(g.Out().Stride(), Tile::kColumns)),
                      static_cast<unsigned>(g.lanes)};
  const auto kernel = PointRows<Tile::kThreads>::Fits(g) ? &ConvKernel<kWarpN, kWarpsN, PointRows>
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

void Conv(const ConvArguments& a, DeviceStream stream, int columns) {
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
  switch (columns == 0 ? ConvColumns(g) : columns) {
    case 16:
      return LaunchConv<16, 1>(a, stream);
    case 32:
      return LaunchConv<32, 1>(a, stream);
    case 48:
      return LaunchConv<48, 1>(a, stream);
    case 64:
      return LaunchConv<64, 1>(a, stream);
    case 96:
      return LaunchConv<48, 2>(a, stream);
    case 128:
      return LaunchConv<64, 2>(a, stream);
    default:
      Fail("convolution: blocks of {} columns do not exist", columns);
  }
}

}  // namespace ftt::cuda
