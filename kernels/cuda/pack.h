// Codes of weights -> what the convolutions read, for all convolutions of a network at once.
#pragma once

#include <cstdint>

#include "kernels/cuda/conv.h"
#include "kernels/cuda/conv_backward.h"
#include "kernels/cuda/depthwise.h"
#include "kernels/cuda/jobs.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

// As PackConvWeights, PackConvGradWeights and PackDepthwiseWeights say.
enum class PackLayout { kConv, kConvGrad, kDepthwise };

// One tensor in one layout.
struct PackJob {
  PackLayout layout = PackLayout::kConv;
  WindowGeometry geometry;
  int copies = 1;
  const int8_t* codes = nullptr;  // [copies][n]
  void* packed = nullptr;         // out, 16-byte aligned
};

// What is packed at a time, of one copy: 16 codes, 16 output channels of a tap and input channel,
// or a word.
FTT_HD constexpr int PackItems(PackLayout layout, const WindowGeometry& g) {
  if (layout == PackLayout::kDepthwise) return PackedDepthwiseWords(g);
  return static_cast<int>(
      (layout == PackLayout::kConv ? PackedConvBytes(g) : PackedConvGradElements(g)) / 16);
}

// Items of a part of a job, at most.
inline constexpr int kPackChunk = 512;

struct PackArguments {
  const PackJob* jobs = nullptr;     // device memory
  const JobChunk* chunks = nullptr;  // [chunk_count], device memory: every job from 0 to its end
  int chunk_count = 0;               // 0: nothing happens
  int copies = 1;                    // the most of any job
};
void PackWeights(const PackArguments& arguments, DeviceStream stream);

// One tensor alone.
void PackTensor(const PackJob& job, DeviceStream stream);

}  // namespace ftt::cuda
