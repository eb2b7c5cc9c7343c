// Internal: plan of a direct convolution (direct_conv.h), plain data that crosses the border
// between instruction sets.
#pragma once

#include <cstdint>

namespace ftt::cpu {

struct DirectShape {
  int in_h = 1, in_w = 1, in_c = 1;
  int out_h = 1, out_w = 1, out_c = 1;
  // Output 0 reads input (tap * dilation - pad); pad may be negative.
  int kernel = 1, stride = 1, pad = 0, dilation = 1;
  friend bool operator==(const DirectShape&, const DirectShape&) = default;
};

// An image is staged with its padding, rectified, as [staged_h][staged_w][in_c]. Output pixel p of
// a run then reads, for each part k of the filter, part_bytes bytes at p * pixel_bytes +
// offsets[k].
struct DirectPlan {
  DirectShape shape;
  int staged_h = 0, staged_w = 0;
  int parts = 0, part_bytes = 0;  // a multiple of 4, at most 64
  int blocks = 0;                 // of 16 output channels
  // Runs go over the pixels of several output rows, those of the padding between them included; or
  // over one output row each.
  bool flat = false;
  int row_pixels = 0;  // in the accumulators, from one output row to the next
  int block_rows = 0;  // output rows worked on at a time
};

// Bytes that a kernel may touch behind the last value of its buffers.
inline constexpr int64_t kDirectSlack = 64;
inline constexpr int kTilePixels = 16;

}  // namespace ftt::cpu
