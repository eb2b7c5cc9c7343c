#include "kernels/cuda/backward.h"

#include "core/error.h"
#include "kernels/cuda/backward.cuh"
#include "kernels/cuda/map_gradient.cuh"
#include "kernels/cuda/multiprocessors.h"

namespace ftt::cuda {
namespace {

// Three to a multiprocessor of an H100, as many as registers allow: more rows of sums would only be
// more to add up.
int SumBlocks() { return 3 * Multiprocessors(); }
// More than that would only wait.
int ManyBlocks() { return 496 * Multiprocessors(); }

// How a map's pixels are shared among about `blocks` blocks.
struct PixelPlan {
  PlacePlan place;
  GridSize grid;
};
PixelPlan PlanPixels(const MapShape& s, int blocks) {
  const int vectors = s.Stride() / 4, groups = DivideUp(vectors, kBackwardThreads);
  const int slots = groups > 1 ? 1 : kBackwardThreads / vectors;
  const int round = slots * kBackwardFlight, of_lane = blocks / (s.lanes * groups);
  const int rounds = DivideUp(DivideUp(s.Pixels(), round), of_lane < 1 ? 1 : of_lane);
  PixelPlan plan;
  const int width = vectors < kBackwardThreads ? vectors : kBackwardThreads;
  plan.place = {round * rounds, width, slots, Divider(width)};
  plan.grid = {static_cast<unsigned>(DivideUp(s.Pixels(), plan.place.pixels)),
               static_cast<unsigned>(s.lanes), static_cast<unsigned>(groups)};
  return plan;
}

// Sums over the map, what follows from them, and the gradients of the parameters.
template <typename Raw>
void LaunchNormSums(const NormBackwardArguments& a, DeviceStream stream) {
  if (a.mean == nullptr && a.grad_beta == nullptr) return;
  const PixelPlan plan = PlanPixels(a.shape, SumBlocks());
  LaunchKernel("NormSums", &NormSumsKernel<Raw>, plan.grid, kBackwardThreads, 0, stream, a,
               plan.place);
  LaunchKernel("NormSumsFinish", &NormSumsFinishKernel,
               {static_cast<unsigned>(a.shape.Stride() / kFinishChannels), 1, 1}, kFinishThreads, 0,
               stream, a, static_cast<int>(plan.grid.x));
}

template <bool kMapped, RawType kRaw>
void LaunchMap(const MapShape& s, const OutputGradient& y, Bf16* to, DeviceStream stream) {
  const int all = s.Stride() / 8, groups = DivideUp(all, DivideUp(all, kMapGroups));
  LaunchKernel("MapGradient", &MapGradientKernel<kMapped, kRaw>,
               {static_cast<unsigned>(DivideUp(s.Pixels(), kMapThreads / groups * kMapPixels)),
                static_cast<unsigned>(DivideUp(all, groups)), static_cast<unsigned>(s.lanes)},
               kMapThreads, 0, stream, s, y, MapPlan{kMapThreads / groups, Divider(groups)}, to);
}

}  // namespace

int NormBackwardBlocks(const MapShape& s) {
  return static_cast<int>(PlanPixels(s, SumBlocks()).grid.x);
}

OutputGradient NormBackward(const NormBackwardArguments& a, DeviceStream stream) {
  FTT_CHECK(a.shape.lanes > 0 && a.shape.Pixels() > 0 && a.shape.channels > 0,
            "norm backward: the map is empty");
  if (a.raw_type == RawType::kInt32) {
    LaunchNormSums<int32_t>(a, stream);
  } else {
    LaunchNormSums<Half>(a, stream);
  }
  OutputGradient y;
  y.grad = a.grad;
  y.mask = a.mask;
  if (a.mean == nullptr) return y;
  const int n = a.shape.lanes * a.shape.Stride();
  y.raw = a.raw;
  y.raw_type = a.raw_type;
  y.p = a.map;
  y.q = a.map + n;
  y.r = a.map + 2 * n;
  return y;
}

void MapGradient(const MapShape& s, const OutputGradient& y, Bf16* to, DeviceStream stream) {
  if (y.raw == nullptr) return LaunchMap<false, RawType::kInt32>(s, y, to, stream);
  if (y.raw_type == RawType::kHalf) return LaunchMap<true, RawType::kHalf>(s, y, to, stream);
  LaunchMap<true, RawType::kInt32>(s, y, to, stream);
}

void SumBackward(const SumBackwardArguments& a, DeviceStream stream) {
  SumBackwardAll({a}, {}, stream);
}

void SumBackwardAll(const std::vector<SumBackwardArguments>& inputs, const CutMasksArguments& cut,
                    DeviceStream stream) {
  FTT_CHECK(inputs.size() <= kMaxSumInputs && cut.count <= kMaxSumInputs,
            "sum backward: {} inputs and {} masks; at most {} are possible", inputs.size(),
            cut.count, kMaxSumInputs);
  if (inputs.empty()) {
    if (cut.count == 0) return;
    const int64_t words = cut.shape.lanes * cut.shape.LaneElements() / (16 * 8);
    LaunchKernel("CutMasks", &CutMasksKernel,
                 {static_cast<unsigned>(words / kBackwardThreads + 1), 1, 1}, kBackwardThreads, 0,
                 stream, cut);
    return;
  }
  SumBackwardInputs all;
  all.count = static_cast<int>(inputs.size());
  all.cut = cut;
  all.by_lanes = Divider(inputs[0].shape.lanes);
  bool aligned = true;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const SumBackwardArguments& a = all.of[i] = inputs[i];
    FTT_CHECK(a.channels > 0 && a.channel_offset >= 0 &&
                  a.channel_offset + a.channels <= a.shape.channels,
              "sum backward: channels {} at {} of {}", a.channels, a.channel_offset,
              a.shape.channels);
    FTT_CHECK(a.channels == inputs[0].channels, "sum backward: inputs of {} and {} channels",
              a.channels, inputs[0].channels);
    aligned = aligned && a.channel_offset % 4 == 0;
  }
  MapShape in = inputs[0].shape;
  in.channels = inputs[0].channels;
  PixelPlan plan = PlanPixels(in, ManyBlocks());
  plan.grid.y *= static_cast<unsigned>(inputs.size());
  plan.grid.y += cut.count > 0 ? 1 : 0;
  LaunchKernel("SumBackward", aligned ? &SumBackwardKernel<true> : &SumBackwardKernel<false>,
               plan.grid, kBackwardThreads, 0, stream, all, plan.place);
}

void GlobalSumBackward(const GlobalSumBackwardArguments& a, DeviceStream stream) {
  const PixelPlan plan = PlanPixels(a.in, ManyBlocks());
  LaunchKernel("GlobalSumBackward", &GlobalSumBackwardKernel, plan.grid, kBackwardThreads, 0,
               stream, a, plan.place, Divider(a.in.MapPixels()));
}

}  // namespace ftt::cuda
