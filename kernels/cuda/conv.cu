#include "kernels/cuda/conv.h"

#include "core/error.h"
#include "kernels/cuda/conv.cuh"
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
  LaunchKernel("Conv", &ConvKernel<kWarpN, kWarpsN>, grid, Tile::kThreads,
               static_cast<size_t>(ConvSharedBytes<kWarpN, kWarpsN>(a.out.faults)), stream, a);
}

}  // namespace

void PackConvWeights(const WindowGeometry& g, int copies, const int8_t* codes, int8_t* packed,
                     DeviceStream stream) {
  PackTensor({PackLayout::kConv, g, copies, codes, packed}, stream);
}

void Conv(const ConvArguments& a, DeviceStream stream) {
  const WindowGeometry& g = a.geometry;
  FTT_CHECK(g.lanes > 0 && g.images > 0 && g.out_h > 0 && g.out_w > 0, "convolution: empty map");
  FTT_CHECK(PackedConvDepth(g) <= kMaxDepth,
            "convolution: {} products per output; at most {} are possible", PackedConvDepth(g),
            kMaxDepth);
  FTT_CHECK((a.out.raw == nullptr) != (a.out.codes == nullptr),
            "convolution: give one of raw output and codes");
  // The narrowest tile that holds all channels reads the input once; beyond 128 the widest one that
  // wastes least.
  const int width = g.Out().Stride();
  if (width <= 16) return LaunchConv<16, 1>(a, stream);
  if (width <= 32) return LaunchConv<32, 1>(a, stream);
  if (width <= 48) return LaunchConv<48, 1>(a, stream);
  if (width <= 64) return LaunchConv<64, 1>(a, stream);
  if (width <= 96 || (width > 128 && width <= 192)) return LaunchConv<48, 2>(a, stream);
  LaunchConv<64, 2>(a, stream);
}

}  // namespace ftt::cuda
