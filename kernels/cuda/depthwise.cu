#include "kernels/cuda/depthwise.h"

#include "core/error.h"
#include "kernels/cuda/depthwise.cuh"
#include "kernels/cuda/multiprocessors.h"
#include "kernels/cuda/pack.h"

namespace ftt::cuda {
namespace {

constexpr int kMaxChannels = 4096;

template <int kKernel, int kAdvance>
void LaunchDepthwise(const DepthwiseArguments& a, DeviceStream stream) {
  const int resident = 3 * Multiprocessors();
  const BandGrid band =
      PlanBand(a.geometry.Out(), a.out, {kRowSpan, kSpan}, DepthwiseColumns(a.geometry), resident);
  const auto kernel = a.out.codes == nullptr ? &DepthwiseKernel<kKernel, kAdvance, BandRaw>
                                             : &DepthwiseKernel<kKernel, kAdvance, BandCodes>;
  LaunchKernel("Depthwise", kernel, band.grid, kBandThreads, band.shared_bytes, stream, a,
               band.plan);
}

}  // namespace

void PackDepthwiseWeights(const WindowGeometry& g, int copies, const int8_t* codes,
                          uint32_t* packed, DeviceStream stream) {
  PackTensor({PackLayout::kDepthwise, g, copies, codes, packed}, stream);
}

void Depthwise(const DepthwiseArguments& a, DeviceStream stream) {
  const WindowGeometry& g = a.geometry;
  FTT_CHECK(g.lanes > 0 && g.images > 0 && g.out_h > 0 && g.out_w > 0, "depthwise: empty map");
  FTT_CHECK(g.in_channels == g.out_channels && g.in_channels <= kMaxChannels,
            "depthwise: {} channels from {}; as many as the input's, at most {}, are possible",
            g.out_channels, g.in_channels, kMaxChannels);
  FTT_CHECK((g.kernel == 3 || g.kernel == 5) && (g.stride == 1 || g.stride == 2) &&
                (g.dilation == 1 || g.dilation == 2),
            "depthwise: kernel {}, stride {}, dilation {}; 3 or 5, 1 or 2, 1 or 2 are possible",
            g.kernel, g.stride, g.dilation);
  const bool raw = a.out.raw != nullptr || a.out.moments != nullptr;
  FTT_CHECK(raw != (a.out.codes != nullptr),
            "depthwise: give codes, or raw output, statistics or both");
  const bool skips = SequenceStride(g.stride, g.dilation) == 2;
  if (g.kernel == 3)
    return skips ? LaunchDepthwise<3, 2>(a, stream) : LaunchDepthwise<3, 1>(a, stream);
  skips ? LaunchDepthwise<5, 2>(a, stream) : LaunchDepthwise<5, 1>(a, stream);
}

}  // namespace ftt::cuda
