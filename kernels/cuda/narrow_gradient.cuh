// Kernel of NarrowGradient: eight channels a thread, whose p, q and r it loads once for all of its
// pixels.
#pragma once

#include "kernels/cuda/divider.h"
#include "kernels/cuda/gradient.cuh"

namespace ftt::cuda {

inline constexpr int kNarrowThreads = 256;
inline constexpr int kNarrowPixels = 4;   // of a thread
inline constexpr int kNarrowBatch = 2;    // of these, pixels whose loads are under way together
inline constexpr int kNarrowGroups = 32;  // of eight channels, at most in a block

// `groups` groups of eight channels a block, `rows` pixels at once.
struct NarrowPlan {
  int rows = 1;
  Divider groups;
};

template <bool kMapped, RawType kRaw>
__global__ void __launch_bounds__(kNarrowThreads, 3)
    NarrowGradientKernel(MapShape s, FTT_IN_PLACE OutputGradient y, NarrowPlan plan,
                         uint16_t* narrow) {
  const int stride = s.Stride(), pixels = s.Pixels(), lane = static_cast<int>(blockIdx.z);
  const int rows = plan.rows, groups = plan.groups.Divisor();
  const int thread = static_cast<int>(threadIdx.x), row = plan.groups(thread);
  const int channel = 8 * (static_cast<int>(blockIdx.y) * groups + thread - row * groups);
  const int first = static_cast<int>(blockIdx.x) * kNarrowPixels * rows + row;
  StartKernel(first + channel);
  if (row >= rows || channel >= stride) return;
  const int64_t from = lane * s.LaneElements() + channel;
  float p[8], q[8], r[8];
  if constexpr (kMapped) {
    const int64_t norm = int64_t{lane} * stride + channel;
    LoadFloats(y.p + norm, p);
    LoadFloats(y.q + norm, q);
    LoadFloats(y.r + norm, r);
  }
  FTT_UNROLL
  for (int i = 0; i < kNarrowPixels; i += kNarrowBatch) {
    float v[kNarrowBatch][8], raw[kNarrowBatch][8];
    uint32_t bits[kNarrowBatch];
    FTT_UNROLL
    for (int j = 0; j < kNarrowBatch; ++j) {
      const int pixel = first + (i + j) * rows;
      const int64_t at = from + int64_t{pixel < pixels ? pixel : pixels - 1} * stride;
      LoadFloats(y.grad + at, v[j]);
      bits[j] = y.mask != nullptr ? y.mask[at >> 3] : 0xFFu;
      if constexpr (kMapped) LoadRaw(y.raw, kRaw, at, raw[j]);
    }
    FTT_UNROLL
    for (int j = 0; j < kNarrowBatch; ++j) {
      const int pixel = first + (i + j) * rows;
      if (pixel >= pixels) return;
      FTT_UNROLL
      for (int c = 0; c < 8; ++c) {
        v[j][c] = (bits[j] >> c & 1) != 0 ? v[j][c] : 0.0f;
        if constexpr (kMapped) v[j][c] = fmaf(raw[j][c], q[c], fmaf(v[j][c], p[c], r[c]));
      }
      *reinterpret_cast<uint4*>(narrow + from + int64_t{pixel} * stride) =
          make_uint4(PackBf16(v[j][0], v[j][1]), PackBf16(v[j][2], v[j][3]),
                     PackBf16(v[j][4], v[j][5]), PackBf16(v[j][6], v[j][7]));
    }
  }
}

}  // namespace ftt::cuda
