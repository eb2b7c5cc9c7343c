#include "kernels/cuda/pool_backward.h"

#include "core/error.h"
#include "kernels/cuda/pool_backward.cuh"

namespace ftt::cuda {
namespace {

template <PoolType kType>
auto KernelFor(const WindowGeometry& g) {
  if (!IsStripPool(g)) return &PoolBackwardKernel<kType>;
  return g.stride == 1 ? &PoolQuadBackwardKernel<kType, 1> : &PoolQuadBackwardKernel<kType, 2>;
}

}  // namespace

void PoolBackward(const PoolBackwardArguments& a, DeviceStream stream) {
  const WindowGeometry& g = a.geometry;
  constexpr int kMaxKernel = kPoolGradMaxKernel;
  constexpr int kMaxSharedBytes = 226 << 10;  // beside the inverses
  FTT_CHECK(g.lanes > 0 && g.images > 0 && g.in_h > 0 && g.in_w > 0 && g.out_h > 0 && g.out_w > 0,
            "pool backward: empty map");
  FTT_CHECK(g.in_channels == g.out_channels && g.kernel > 0 && g.kernel <= kMaxKernel,
            "pool backward: {} channels from {}, kernel {}; as many as the input's and kernels up "
            "to {} are possible",
            g.out_channels, g.in_channels, g.kernel, kMaxKernel);
  const int words = g.In().Stride() / 4, groups = DivideUp(words, kPoolGradWords);
  const int rows = ((kPoolGradRows - 1) + (g.kernel - 1) * g.dilation) / g.stride + 1;
  const int64_t most = rows < g.out_h ? rows : g.out_h;
  const int64_t shared = a.type == PoolType::kMax
                             ? int64_t{4} * most * g.out_w * DivideUp(words, groups)
                             : 4 * (most + g.out_w);
  FTT_CHECK(shared <= kMaxSharedBytes,
            "pool backward: the windows of {} rows take {} bytes; at most {} are possible",
            kPoolGradRows, shared, kMaxSharedBytes);
  const int of_group = DivideUp(words, groups), outputs = g.stride == 1 ? 4 : 2;
  const int shift = g.stride == 2 ? g.origin & 1 : 0;
  const PoolGradPlan plan{Divider(groups), Divider(of_group), Divider(DivideUp(g.out_w, outputs)),
                          Divider(DivideUp(g.in_w + shift, 2)), kPoolGradThreads / of_group};
  const auto kernel =
      a.type == PoolType::kMax ? KernelFor<PoolType::kMax>(g) : KernelFor<PoolType::kAverage>(g);
  LaunchKernel("PoolBackward", kernel,
               {static_cast<unsigned>(DivideUp(g.in_h, kPoolGradRows)),
                static_cast<unsigned>(g.images * groups), static_cast<unsigned>(g.lanes)},
               kPoolGradThreads, static_cast<size_t>(shared), stream, a, plan);
}

}  // namespace ftt::cuda
