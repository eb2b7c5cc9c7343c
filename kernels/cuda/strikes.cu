#include "kernels/cuda/strikes.h"

#include <algorithm>

#include "core/error.h"
#include "kernels/cuda/strikes.cuh"

namespace ftt::cuda {
namespace {

// Arrivals that nine in ten tiles do not exceed.
uint32_t UsualArrivals(const FaultStep& step) {
  return step.count_first + step.count_guide[256 * 9 / 10];
}

}  // namespace

bool CanList(const FaultStep& step, const MapShape& map) {
  return step.style == FaultStyle::kCells && step.sampler == Sampler::kSparse && step.one_fault &&
         step.valid_cells < 1 << (1 << StruckCode::kCellBits) &&
         map.channels <= 1 << StruckCode::kChannelBits &&
         map.MapPixels() < (1 << StruckCode::kPixelBits) - 1;
}

StrikeJob MakeStrikeJob(const MapShape& map, const std::vector<FaultStep>& steps) {
  StrikeJob job;
  job.channels = static_cast<uint32_t>(map.channels);
  job.elements = static_cast<uint32_t>(map.MapPixels()) * job.channels;
  job.inverse_channels = 0xFFFFFFFFu / job.channels + 1;
  job.tiles = DivideUp(static_cast<int>(job.elements), kTileElements);
  uint32_t most = 0, usual = 0;
  for (const FaultStep& step : steps) {
    FTT_CHECK(CanList(step, map), "list of faults: not possible for this model or map");
    most = std::max(most, step.count_first + step.count_size);
    usual = std::max(usual, UsualArrivals(step));
  }
  job.slots = RoundUp(static_cast<int>(std::min<uint32_t>(most, kTileElements)), 4);
  // A thread holds the four words of a block, the first of which is not an arrival. More threads
  // than that where a map has few tiles.
  while (job.share_log2 < 5 && (4u << job.share_log2) - 1 < usual) ++job.share_log2;
  while (job.share_log2 < 5 && (kWarpSize >> (job.share_log2 + 1)) >= job.tiles) ++job.share_log2;
  job.chunk_tiles = kStrikeTurns * (kWarpSize >> job.share_log2);
  return job;
}

void DrawStrikes(const StrikeArguments& a, DeviceStream stream) {
  if (a.chunk_count == 0) return;
  const auto blocks = static_cast<unsigned>(DivideUp(a.chunk_count, kStrikeWarps));
  LaunchKernel("DrawStrikes", &DrawStrikesKernel,
               {blocks, static_cast<unsigned>(a.images), static_cast<unsigned>(a.lanes)},
               kStrikeWarps * kWarpSize, kStrikeWarps * kStrikeWarpWords * 4, stream, a);
}

}  // namespace ftt::cuda
