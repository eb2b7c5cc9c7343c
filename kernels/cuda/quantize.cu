#include "kernels/cuda/quantize.h"

#include "core/error.h"
#include "kernels/cuda/multiprocessors.h"
#include "kernels/cuda/quantize.cuh"

namespace ftt::cuda {
namespace {

// Codes of a block: fewer where a small map would leave multiprocessors without any.
constexpr int kMostTileBytes = 8192, kLeastTileBytes = 2048;
constexpr int64_t kEnoughBlocks = 4;  // of a multiprocessor
constexpr int kMaxChannels = 8 * kQuantizeThreads;

struct QuantizeGrid {
  GridSize grid;
  QuantizePlan plan;
  size_t shared_bytes;
};

QuantizeGrid PlanQuantize(const MapShape& s, bool masked, const SiteFaultsView& faults) {
  FTT_CHECK(s.lanes > 0 && s.images > 0 && s.h > 0 && s.w > 0, "quantize: the map is empty");
  FTT_CHECK(s.channels > 0 && s.channels <= kMaxChannels,
            "quantize: {} channels; 1 to {} are possible", s.channels, kMaxChannels);
  const int stride = s.Stride();
  int bytes = kMostTileBytes;
  while (bytes > kLeastTileBytes &&
         s.lanes * s.LaneElements() / bytes < kEnoughBlocks * Multiprocessors())
    bytes /= 2;
  const int tile = stride < bytes ? bytes / stride : 1;
  const int pixels = tile < s.Pixels() ? tile : s.Pixels();
  const auto blocks = static_cast<unsigned>(DivideUp(s.Pixels(), pixels));
  const StageLayout layout =
      LayoutOfStage(pixels, stride, masked, faults.collects, kQuantizeThreads);
  const int groups = stride / 8;
  return {{blocks, static_cast<unsigned>(s.lanes), 1},
          {pixels, kQuantizeThreads / groups, Divider(groups), Divider(s.MapPixels())},
          faults.Staged() ? static_cast<size_t>(layout.Bytes()) : 0};
}

}  // namespace

void Quantize(const QuantizeArguments& a, DeviceStream stream) {
  FTT_CHECK(a.bits >= 4 && a.bits <= 8, "quantize: codes of {} bits; 4 to 8 are possible", a.bits);
  const QuantizeGrid grid = PlanQuantize(a.shape, a.mask != nullptr, a.faults);
  if (a.raw_type == RawType::kInt32) {
    LaunchKernel("Quantize<int32>", &QuantizeKernel<int32_t>, grid.grid, kQuantizeThreads,
                 grid.shared_bytes, stream, a, grid.plan);
  } else {
    LaunchKernel("Quantize<half>", &QuantizeKernel<Half>, grid.grid, kQuantizeThreads,
                 grid.shared_bytes, stream, a, grid.plan);
  }
}

void Inject(const InjectArguments& a, DeviceStream stream) {
  if (a.faults.lanes == nullptr) return;
  const QuantizeGrid grid = PlanQuantize(a.shape, false, a.faults);
  LaunchKernel("Inject", &InjectKernel, grid.grid, kQuantizeThreads, grid.shared_bytes, stream, a,
               grid.plan);
}

}  // namespace ftt::cuda
