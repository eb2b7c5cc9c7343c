// Internal: plan of a convolution by pairs (pair_conv.h), plain data that crosses the border
// between instruction sets.
#pragma once

#include <cstdint>

#include "kernels/cpu/direct_shape.h"

namespace ftt::cpu {

// A few rows of an image are staged with their padding as [rows][staged_w][in_c], codes after a
// ReLU as uint8, others as int16.
struct PairPlan {
  DirectShape shape;
  bool relu = false;
  int sample = 1;  // every how many-th input row and column is staged: all that a strided 1x1 reads
  int step = 1;    // staged pixels from one output to the next, and rows likewise
  int staged_w = 0;
  int block_rows = 0;  // output rows worked on at a time

  int CodeBytes() const { return relu ? 1 : 2; }
  int64_t PixelBytes() const { return int64_t{shape.in_c} * CodeBytes(); }
};

// One block of output channels. A step multiplies 4 neighbouring bytes of each pixel with as many
// weights of each channel: weights [step][channel][4 bytes], codes at the pixel's first one +
// offsets[step].
struct PairSteps {
  int channel = 0;   // first one
  int channels = 0;  // 16, 8 or 4; the last ones may lie behind the last channel
  int count = 0;
  const int32_t* offsets = nullptr;  // bytes
  const int8_t* weights = nullptr;
};

// Bytes that a kernel may read behind the staged rows, and sums it may write behind the last one.
inline constexpr int64_t kStagedSlack = 32;
inline constexpr int kSumSlack = 16;

}  // namespace ftt::cpu
