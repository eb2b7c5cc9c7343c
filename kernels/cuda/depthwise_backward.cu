#include "kernels/cuda/depthwise_backward.h"

#include <algorithm>

#include "core/error.h"
#include "kernels/cuda/depthwise_backward.cuh"
#include "kernels/cuda/multiprocessors.h"

namespace ftt::cuda {
namespace {

// A weight gradient leaves so many rows of a lane to be added up, at most.
constexpr int kMaxRows = 256;
constexpr int kSmallTile = 8, kLargeTile = 16;

void CheckGeometry(const WindowGeometry& g) {
  FTT_CHECK(g.lanes > 0 && g.images > 0 && g.in_h > 0 && g.in_w > 0 && g.out_h > 0 && g.out_w > 0,
            "depthwise backward: empty map");
  FTT_CHECK(g.in_channels == g.out_channels, "depthwise backward: {} channels from {}",
            g.out_channels, g.in_channels);
  FTT_CHECK((g.kernel == 3 || g.kernel == 5) && (g.stride == 1 || g.stride == 2) &&
                (g.dilation == 1 || g.dilation == 2),
            "depthwise backward: kernel {}, stride {}, dilation {}; 3 or 5, 1 or 2, 1 or 2 are "
            "possible",
            g.kernel, g.stride, g.dilation);
}

int Groups(const WindowGeometry& g) { return DivideUp(g.in_channels, kTileChannels); }

int TileOf(int h, int w) { return h > kSmallTile || w > kSmallTile ? kLargeTile : kSmallTile; }

unsigned Unsigned(int v) { return static_cast<unsigned>(v); }

template <int kN, int kStep, int kTile>
void LaunchDataGrad(const DepthwiseDataGradArguments& a, DeviceStream stream) {
  const WindowGeometry& g = a.geometry;
  DepthwiseDataPlan plan;
  for (int i = 0; i < g.stride; ++i) {
    plan.y[i] = MakeGradAxis(g, g.in_h, i);
    plan.x[i] = MakeGradAxis(g, g.in_w, i);
  }
  for (int kind = 0; kind < g.stride * g.stride; ++kind) {
    // As in the kernel.
    const GradAxis &y = plan.y[kind >> 1], &x = plan.x[kind & 1];
    for (int place = 0; place < kN * kN; ++place) {
      const int jy = kN - 1 - place / kN, jx = kN - 1 - place % kN;
      const int tap = (y.first_tap + jy * y.tap_step) * g.kernel + x.first_tap + jx * x.tap_step;
      plan.taps[kind][place] = static_cast<int8_t>(jy < y.taps && jx < x.taps ? tap : -1);
    }
  }
  plan.class_bits = g.stride == 2 ? 2 : 0;
  // No class has more rows or columns than the first.
  const int down = DivideUp(plan.y[0].count, kTile), across = DivideUp(plan.x[0].count, kTile);
  plan.across = Divider(across);
  plan.groups = Divider(Groups(g));
  const GridSize grid{Unsigned(g.images), Unsigned(down * across),
                      Unsigned((g.lanes * Groups(g)) << plan.class_bits)};
  LaunchKernel("DepthwiseDataGrad", &DepthwiseDataGradKernel<kN, kStep, kTile>, grid,
               TileThreads(kTile), 0, stream, a, plan);
}

template <int kN, int kStep>
void LaunchDataGrad(const DepthwiseDataGradArguments& a, DeviceStream stream) {
  const WindowGeometry& g = a.geometry;
  const bool large = TileOf(DivideUp(g.in_h, g.stride), DivideUp(g.in_w, g.stride)) == kLargeTile;
  large ? LaunchDataGrad<kN, kStep, kLargeTile>(a, stream)
        : LaunchDataGrad<kN, kStep, kSmallTile>(a, stream);
}

// Outputs read inputs two apart, and taps are one apart.
bool Skips(const WindowGeometry& g) { return g.stride == 2 && g.dilation == 1; }

// What large tiles of such outputs read would not fit in shared memory.
int WeightGradTile(const WindowGeometry& g) {
  return Skips(g) ? kSmallTile : TileOf(g.out_h, g.out_w);
}

DepthwiseWeightPlan PlanWeightGrad(const WindowGeometry& g) {
  DepthwiseWeightPlan plan;
  const int tile = WeightGradTile(g), across = DivideUp(g.out_w, tile);
  const int of_image = DivideUp(g.out_h, tile) * across, all = g.images * of_image;
  plan.across = Divider(across);
  plan.of_image = Divider(of_image);
  const int resident = Multiprocessors() * TileBlocks(tile, WeightGradWarps(g.kernel));
  const int rows = std::clamp(resident / (g.lanes * Groups(g)), 1, kMaxRows);
  plan.tiles = DivideUp(all, rows);
  plan.blocks = DivideUp(all, plan.tiles);
  return plan;
}

template <int kKernel, int kAdvance, int kStep, int kTile>
void LaunchWeightGrad(const DepthwiseWeightGradArguments& a, const DepthwiseWeightPlan& plan,
                      DeviceStream stream) {
  const WindowGeometry& g = a.geometry;
  LaunchKernel("DepthwiseWeightGrad", &DepthwiseWeightGradKernel<kKernel, kAdvance, kStep, kTile>,
               {Unsigned(plan.blocks), Unsigned(Groups(g)), Unsigned(g.lanes)}, TileThreads(kTile),
               sizeof(DepthwiseWeightGradShared<kKernel, kAdvance, kStep, kTile>), stream, a, plan);
}

template <int kKernel>
void LaunchWeightGrad(const DepthwiseWeightGradArguments& a, const DepthwiseWeightPlan& plan,
                      DeviceStream stream) {
  const WindowGeometry& g = a.geometry;
  const bool large = WeightGradTile(g) == kLargeTile;
  if (Skips(g)) {
    LaunchWeightGrad<kKernel, 2, 1, kSmallTile>(a, plan, stream);
  } else if (g.stride == 1 && g.dilation == 2) {
    large ? LaunchWeightGrad<kKernel, 1, 2, kLargeTile>(a, plan, stream)
          : LaunchWeightGrad<kKernel, 1, 2, kSmallTile>(a, plan, stream);
  } else {
    large ? LaunchWeightGrad<kKernel, 1, 1, kLargeTile>(a, plan, stream)
          : LaunchWeightGrad<kKernel, 1, 1, kSmallTile>(a, plan, stream);
  }
}

int Weights(const WindowGeometry& g) { return g.in_channels * g.kernel * g.kernel; }

}  // namespace

void DepthwiseDataGrad(const DepthwiseDataGradArguments& a, DeviceStream stream) {
  const WindowGeometry& g = a.geometry;
  CheckGeometry(g);
  if (Skips(g)) {  // a class has every second tap
    g.kernel == 3 ? LaunchDataGrad<2, 1>(a, stream) : LaunchDataGrad<3, 1>(a, stream);
  } else if (g.stride == 1 && g.dilation == 2) {
    g.kernel == 3 ? LaunchDataGrad<3, 2>(a, stream) : LaunchDataGrad<5, 2>(a, stream);
  } else {
    g.kernel == 3 ? LaunchDataGrad<3, 1>(a, stream) : LaunchDataGrad<5, 1>(a, stream);
  }
}

int64_t DepthwiseWeightGradScratch(const WindowGeometry& g) {
  CheckGeometry(g);
  return int64_t{g.lanes} * PlanWeightGrad(g).blocks * Weights(g);
}

WeightReduceArguments DepthwiseWeightPartials(const DepthwiseWeightGradArguments& a) {
  const WindowGeometry& g = a.geometry;
  WeightReduceArguments r;
  r.lanes = g.lanes;
  r.rows = PlanWeightGrad(g).blocks;
  r.n = r.inner = r.inner_pitch = Weights(g);
  r.row_floats = Weights(g);
  r.partials = a.scratch;
  r.x_exponent = a.x_exponent;
  r.keep = a.keep;
  r.one_weight = a.one_weight;
  r.grad_w = a.grad_w;
  return r;
}

void DepthwiseWeightGrad(const DepthwiseWeightGradArguments& a, DeviceStream stream) {
  const WindowGeometry& g = a.geometry;
  CheckGeometry(g);
  const DepthwiseWeightPlan plan = PlanWeightGrad(g);
  g.kernel == 3 ? LaunchWeightGrad<3>(a, plan, stream) : LaunchWeightGrad<5>(a, plan, stream);
  if (a.reduces) ReduceWeightGrad(DepthwiseWeightPartials(a), stream);
}

}  // namespace ftt::cuda
