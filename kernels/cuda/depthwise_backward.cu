#include "kernels/cuda/depthwise_backward.h"

#include <algorithm>

#include "core/error.h"
#include "kernels/cuda/depthwise_backward.cuh"
#include "kernels/cuda/multiprocessors.h"

namespace ftt::cuda {
namespace {

// So many rows of a lane are left to be added up, at most.
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

unsigned Unsigned(int v) { return static_cast<unsigned>(v); }

// Outputs read inputs two apart, and taps are one apart: a class has every second tap.
bool Skips(const WindowGeometry& g) { return g.stride == 2 && g.dilation == 1; }
int Taps(const WindowGeometry& g) { return Skips(g) ? g.kernel / 2 + 1 : g.kernel; }

// Of the classes' positions.
int TileOf(const WindowGeometry& g) {
  const int h = DivideUp(g.in_h, g.stride), w = DivideUp(g.in_w, g.stride);
  return h > kSmallTile || w > kSmallTile ? kLargeTile : kSmallTile;
}

DepthwiseGradPlan PlanGrad(const WindowGeometry& g) {
  DepthwiseGradPlan plan;
  for (int i = 0; i < g.stride; ++i) {
    plan.y[i] = MakeGradAxis(g, g.in_h, i);
    plan.x[i] = MakeGradAxis(g, g.in_w, i);
  }
  const int n = Taps(g);
  for (int kind = 0; kind < g.stride * g.stride; ++kind) {
    // As in the kernel.
    const GradAxis &y = plan.y[kind >> 1], &x = plan.x[kind & 1];
    for (int place = 0; place < n * n; ++place) {
      const int jy = n - 1 - place / n, jx = n - 1 - place % n;
      const int tap = (y.first_tap + jy * y.tap_step) * g.kernel + x.first_tap + jx * x.tap_step;
      plan.taps[kind][place] = static_cast<int8_t>(jy < y.taps && jx < x.taps ? tap : -1);
    }
  }
  plan.class_bits = g.stride == 2 ? 2 : 0;
  // No class has more rows or columns than the first.
  const int tile = TileOf(g), across = DivideUp(plan.x[0].count, tile);
  const int of_image = DivideUp(plan.y[0].count, tile) * across, all = g.images * of_image;
  plan.across = Divider(across);
  plan.of_image = Divider(of_image);
  const int resident = Multiprocessors() * TileBlocks(tile, GradWarps(n));
  const int rows = std::clamp(resident / ((g.lanes * Groups(g)) << plan.class_bits), 1, kMaxRows);
  plan.tiles = DivideUp(all, rows);
  plan.blocks = DivideUp(all, plan.tiles);
  return plan;
}

template <int kN, int kStep, int kTile>
void Launch(const DepthwiseGradArguments& a, const DepthwiseGradPlan& plan, DeviceStream stream) {
  const WindowGeometry& g = a.geometry;
  LaunchKernel("DepthwiseGrad", &DepthwiseGradKernel<kN, kStep, kTile>,
               {Unsigned(plan.blocks << plan.class_bits), Unsigned(Groups(g)), Unsigned(g.lanes)},
               TileThreads(kTile), sizeof(DepthwiseGradShared<kN, kStep, kTile>), stream, a, plan);
}

template <int kN, int kStep>
void Launch(const DepthwiseGradArguments& a, DeviceStream stream) {
  const DepthwiseGradPlan plan = PlanGrad(a.geometry);
  TileOf(a.geometry) == kLargeTile ? Launch<kN, kStep, kLargeTile>(a, plan, stream)
                                   : Launch<kN, kStep, kSmallTile>(a, plan, stream);
}

int Weights(const WindowGeometry& g) { return g.in_channels * g.kernel * g.kernel; }

}  // namespace

int64_t DepthwiseGradScratch(const WindowGeometry& g) {
  CheckGeometry(g);
  return int64_t{g.lanes} * PlanGrad(g).blocks * Weights(g);
}

WeightReduceArguments DepthwiseWeightPartials(const DepthwiseGradArguments& a) {
  const WindowGeometry& g = a.geometry;
  WeightReduceArguments r;
  r.lanes = g.lanes;
  r.rows = PlanGrad(g).blocks;
  r.n = r.inner = r.inner_pitch = Weights(g);
  r.row_floats = Weights(g);
  r.partials = a.scratch;
  r.x_exponent = a.x_exponent;
  r.keep = a.keep;
  r.one_weight = a.one_weight;
  r.grad_w = a.grad_w;
  return r;
}

void DepthwiseGrad(const DepthwiseGradArguments& a, DeviceStream stream) {
  const WindowGeometry& g = a.geometry;
  CheckGeometry(g);
  if (Skips(g)) {
    g.kernel == 3 ? Launch<2, 1>(a, stream) : Launch<3, 1>(a, stream);
  } else if (g.stride == 1 && g.dilation == 2) {
    g.kernel == 3 ? Launch<3, 2>(a, stream) : Launch<5, 2>(a, stream);
  } else {
    g.kernel == 3 ? Launch<3, 1>(a, stream) : Launch<5, 1>(a, stream);
  }
  if (a.reduces) ReduceWeightGrad(DepthwiseWeightPartials(a), stream);
}

}  // namespace ftt::cuda
