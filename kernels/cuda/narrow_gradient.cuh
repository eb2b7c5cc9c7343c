// Kernel of NarrowGradient: eight channels a thread, whose p, q and r it loads once for all of its
// pixels.
#pragma once

#include "kernels/cuda/divider.h"
#include "kernels/cuda/gradient.cuh"
#include "kernels/cuda/raw_values.cuh"

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
  float v[kNarrowBatch][8];
  using Raw = std::conditional_t<kRaw == RawType::kInt32, int32_t, Half>;
  RawValues<Raw, 8> raw[kNarrowBatch];
  uint32_t bits[kNarrowBatch];
  // Everything of a batch is under way before anything of it is used: a block of its own, from
  // which the compiler takes nothing apart.
  const auto load = [&](int i) {
    if (i >= kNarrowPixels || first + i * rows >= pixels) return;
    FTT_UNROLL
    for (int j = 0; j < kNarrowBatch; ++j) {
      const int pixel = first + (i + j) * rows;
      const int64_t at = from + int64_t{pixel < pixels ? pixel : pixels - 1} * stride;
      LoadFloats(y.grad + at, v[j]);
      bits[j] = 0xFF;
      if (y.mask != nullptr) bits[j] = y.mask[at >> 3];
      if constexpr (kMapped) raw[j].Load(static_cast<const Raw*>(y.raw) + at);
    }
  };
  load(0);
  float p[8], q[8], r[8];
  if constexpr (kMapped) {
    const int64_t norm = int64_t{lane} * stride + channel;
    LoadFloats(y.p + norm, p);
    LoadFloats(y.q + norm, q);
    LoadFloats(y.r + norm, r);
  }
  FTT_UNROLL
  for (int i = 0; i < kNarrowPixels; i += kNarrowBatch) {
    FTT_UNROLL
    for (int j = 0; j < kNarrowBatch; ++j) {
      const int pixel = first + (i + j) * rows;
      if (pixel >= pixels) return;
      float values[8];
      if constexpr (kMapped) raw[j].Floats(values);
      FTT_UNROLL
      for (int c = 0; c < 8; ++c) {
        const float g = (bits[j] >> c & 1) != 0 ? v[j][c] : 0.0f;
        values[c] = kMapped ? fmaf(values[c], q[c], fmaf(g, p[c], r[c])) : g;
      }
      *reinterpret_cast<uint4*>(narrow + from + int64_t{pixel} * stride) =
          make_uint4(PackBf16(values[0], values[1]), PackBf16(values[2], values[3]),
                     PackBf16(values[4], values[5]), PackBf16(values[6], values[7]));
    }
    load(i + kNarrowBatch);
  }
}

}  // namespace ftt::cuda
