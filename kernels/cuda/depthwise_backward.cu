#include "kernels/cuda/depthwise_backward.h"

#include "core/error.h"
#include "kernels/cuda/depthwise_backward.cuh"

namespace ftt::cuda {
namespace {

constexpr int kMaxPairs = 64;  // of a block
// Blocks that fill 132 multiprocessors, several on each; a weight gradient takes fewer, because
// each of them leaves a row to be added up.
constexpr int kDataGradBlocks = 1056, kWeightGradBlocks = 528;
constexpr int kMaxStripsOfThread = 8;

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

int PairGroups(const WindowGeometry& g) { return DivideUp(g.Out().Stride() / 2, kMaxPairs); }

// Strips of `down` x `across` over maps of h x w positions; about `blocks` blocks in all.
DepthwiseGradPlan MakePlan(const WindowGeometry& g, Strips down, Strips across, int h, int w,
                           int blocks, int most_of_thread) {
  DepthwiseGradPlan p;
  p.down = down;
  p.across = across;
  p.rows = down.Count(h);
  p.columns = across.Count(w);
  const int groups = PairGroups(g);
  p.pairs = DivideUp(g.Out().Stride() / 2, groups);
  const int slots = kDepthwiseThreads / p.pairs, items = g.images * p.rows * p.columns;
  const int wanted = DivideUp(blocks, groups * g.lanes);
  int of_thread = DivideUp(items, wanted * slots);
  if (most_of_thread > 0 && of_thread > most_of_thread) of_thread = most_of_thread;
  p.items = of_thread * slots;
  p.blocks = DivideUp(items, p.items);
  return p;
}

GridSize GridOf(const WindowGeometry& g, const DepthwiseGradPlan& p) {
  return {static_cast<unsigned>(p.blocks), static_cast<unsigned>(PairGroups(g)),
          static_cast<unsigned>(g.lanes)};
}

template <int kN, int kRows>
void LaunchDataGrad(const DepthwiseDataGradArguments& a, DeviceStream stream) {
  const WindowGeometry& g = a.geometry;
  for (int i = 0; i < g.stride * g.stride; ++i) {
    DepthwiseClass k;
    k.y = MakeGradAxis(g, g.in_h, i / g.stride);
    k.x = MakeGradAxis(g, g.in_w, i % g.stride);
    if (k.y.count == 0 || k.x.count == 0) continue;
    if (k.y.taps * k.x.taps == 0 && a.accumulate) continue;
    k.plan = MakePlan(g, {k.y.offset_step, kRows}, {k.x.offset_step, kStripColumns}, k.y.count,
                      k.x.count, kDataGradBlocks, kMaxStripsOfThread);
    LaunchKernel("DepthwiseDataGrad", &DepthwiseDataGradKernel<kN, kRows>, GridOf(g, k.plan),
                 kDepthwiseThreads, 0, stream, a, k);
  }
}

constexpr int RowsOfStrip(int kernel) { return kernel == 3 ? 4 : 2; }

DepthwiseGradPlan PlanWeightGrad(const WindowGeometry& g) {
  // Outputs a dilation apart read neighbours of one sequence.
  const int step = g.stride == 1 ? g.dilation : 1;
  return MakePlan(g, {step, RowsOfStrip(g.kernel)}, {step, kStripColumns}, g.out_h, g.out_w,
                  kWeightGradBlocks, 0);
}

template <int kKernel, int kAdvance>
void LaunchWeightGrad(const DepthwiseWeightGradArguments& a, const DepthwiseGradPlan& plan,
                      DeviceStream stream) {
  LaunchKernel("DepthwiseWeightGrad",
               &DepthwiseWeightGradKernel<kKernel, kAdvance, RowsOfStrip(kKernel)>,
               GridOf(a.geometry, plan), kDepthwiseThreads, 0, stream, a, plan);
}

int Weights(const WindowGeometry& g) { return g.in_channels * g.kernel * g.kernel; }

}  // namespace

void DepthwiseDataGrad(const DepthwiseDataGradArguments& a, DeviceStream stream) {
  const WindowGeometry& g = a.geometry;
  CheckGeometry(g);
  const bool halves = g.stride == 2 && g.dilation == 1;  // taps of a class
  if (g.kernel == 3)
    return halves ? LaunchDataGrad<2, 4>(a, stream) : LaunchDataGrad<3, 4>(a, stream);
  halves ? LaunchDataGrad<3, 4>(a, stream) : LaunchDataGrad<5, 2>(a, stream);
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
  const DepthwiseGradPlan plan = PlanWeightGrad(g);
  const bool skips = g.stride == 2 && g.dilation == 1;
  if (g.kernel == 3) {
    skips ? LaunchWeightGrad<3, 2>(a, plan, stream) : LaunchWeightGrad<3, 1>(a, plan, stream);
  } else {
    skips ? LaunchWeightGrad<5, 2>(a, plan, stream) : LaunchWeightGrad<5, 1>(a, plan, stream);
  }
  if (a.reduces) ReduceWeightGrad(DepthwiseWeightPartials(a), stream);
}

}  // namespace ftt::cuda
