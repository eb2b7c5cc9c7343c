// Max and average pools, as accumulators: the largest code, or the mean rounded to nearest even
// over the valid taps.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

enum class PoolType : uint8_t { kMax, kAverage };

struct PoolArguments {
  WindowGeometry geometry;  // out_channels = in_channels, at most 4096
  PoolType type = PoolType::kMax;
  const int8_t* x = nullptr;
  WindowOutput out;
};

void Pool(const PoolArguments& arguments, DeviceStream stream);

struct GlobalSumArguments {
  MapShape in;  // at most 4096 channels
  bool relu = false;
  const int8_t* x = nullptr;
  int32_t* sums = nullptr;     // out: [lanes][images][Stride()]
  int64_t* moments = nullptr;  // nullable: added to, see MomentRow
};
// Sum of each channel over the map.
void GlobalSum(const GlobalSumArguments& arguments, DeviceStream stream);

}  // namespace ftt::cuda
