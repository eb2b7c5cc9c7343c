#include "kernels/cuda/sum.h"

#include <algorithm>

#include "core/error.h"
#include "kernels/cuda/multiprocessors.h"
#include "kernels/cuda/sum.cuh"

namespace ftt::cuda {
namespace {

// Codes of a block: fewer where the map would not fill a device, though not so few that faults,
// sampled by tiles of 1024 elements, are sampled twice too often.
constexpr int kTileBytes = 8192, kLeastTileBytes = 2048, kLeastFaultyTileBytes = 4096;
constexpr int kWantedBlocks = 2;  // of a multiprocessor

struct SumGrid {
  GridSize grid;
  SumPlan plan;
  size_t shared_bytes;
};

SumGrid PlanSum(const SumArguments& a) {
  const MapShape& s = a.shape;
  FTT_CHECK(a.count >= 0 && a.count <= kMaxSumInputs, "sum of {} values; at most {} are possible",
            a.count, kMaxSumInputs);
  FTT_CHECK(s.lanes > 0 && s.images > 0 && s.h > 0 && s.w > 0 && s.channels > 0,
            "sum: the map is empty");
  const int least = a.faults.Staged() ? kLeastFaultyTileBytes : kLeastTileBytes;
  int bytes = kTileBytes;
  while (bytes > least &&
         s.lanes * s.LaneElements() < int64_t{kWantedBlocks} * Multiprocessors() * bytes)
    bytes /= 2;
  const int stride = s.Stride(), tile = stride < bytes ? bytes / stride : 1;
  const int pixels = tile < s.Pixels() ? tile : s.Pixels();
  size_t shared = 0;
  if (a.faults.Staged()) {
    shared = static_cast<size_t>(
        LayoutOfStage(pixels, stride, a.mask != nullptr, a.faults.collects, kSumThreads).Bytes());
  }
  return {{static_cast<unsigned>(DivideUp(s.Pixels(), pixels)), static_cast<unsigned>(s.lanes), 1},
          {pixels, Divider(s.MapPixels())},
          shared};
}

}  // namespace

int SumBlocks(const MapShape& s) {
  // Enough to fill a device; more would only lengthen the second pass.
  const int all = std::min(4 * Multiprocessors(), kMostSumBlocks);
  const int most = s.lanes < all ? all / s.lanes : 1;
  constexpr int64_t kBlockPacks = int64_t{kSumPacks} * kSumThreads;
  const int64_t blocks = (s.LaneElements() / 8 + kBlockPacks - 1) / kBlockPacks;
  return static_cast<int>(blocks < most ? blocks : most);
}

void Add(const SumArguments& a, DeviceStream stream) {
  const SumGrid grid = PlanSum(a);
  const int blocks = SumBlocks(a.shape);
  if (a.largest != nullptr) {
    LaunchKernel("LargestSum", &LargestSumKernel,
                 {static_cast<unsigned>(blocks), static_cast<unsigned>(a.shape.lanes), 1},
                 kSumThreads, 0, stream, a);
  }
  LaunchKernel("Add", &AddKernel, grid.grid, kSumThreads, grid.shared_bytes, stream, a, grid.plan,
               blocks);
}

void Concat(const SumArguments& a, bool fixed_exponent, DeviceStream stream) {
  const SumGrid grid = PlanSum(a);
  int channels = 0;
  for (int k = 0; k < a.count; ++k) channels += a.inputs[k].channels;
  FTT_CHECK(a.count > 0 && channels == a.shape.channels,
            "concatenation: inputs have {} channels, the output {}", channels, a.shape.channels);
  LaunchKernel("Concat", &ConcatKernel, grid.grid, kSumThreads, grid.shared_bytes, stream, a,
               grid.plan, fixed_exponent);
}

}  // namespace ftt::cuda
