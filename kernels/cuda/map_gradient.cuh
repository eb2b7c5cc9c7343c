// Kernel of MapGradient: eight channels a thread, whose p, q and r it loads once for all of its
// pixels.
#pragma once

#include "kernels/cuda/divider.h"
#include "kernels/cuda/gradient.cuh"
#include "kernels/cuda/raw_values.cuh"

namespace ftt::cuda {

inline constexpr int kMapThreads = 256;
inline constexpr int kMapPixels = 4;   // of a thread
inline constexpr int kMapBatch = 2;    // of these, pixels whose loads are under way together
inline constexpr int kMapGroups = 32;  // of eight channels, at most in a block

// `groups` groups of eight channels a block, `rows` pixels at once.
struct MapPlan {
  int rows = 1;
  Divider groups;
};

// A thread reads a pixel before it writes it, and no other's: `to` may be where the gradient lies.
template <bool kMapped, RawType kRaw>
__global__ void __launch_bounds__(kMapThreads, 3)
    MapGradientKernel(MapShape s, FTT_IN_PLACE OutputGradient y, MapPlan plan, Bf16* to) {
  const int stride = s.Stride(), pixels = s.Pixels(), lane = static_cast<int>(blockIdx.z);
  const int rows = plan.rows, groups = plan.groups.Divisor();
  const int thread = static_cast<int>(threadIdx.x), row = plan.groups(thread);
  const int channel = 8 * (static_cast<int>(blockIdx.y) * groups + thread - row * groups);
  const int first = static_cast<int>(blockIdx.x) * kMapPixels * rows + row;
  StartKernel(first + channel);
  if (row >= rows || channel >= stride) return;
  const int left = s.channels - channel;
  const uint32_t real = left >= 8 ? 0xFFu : left <= 0 ? 0u : (1u << left) - 1;
  const int64_t from = lane * s.LaneElements() + channel;
  uint4 grad[kMapBatch];
  using Raw = std::conditional_t<kRaw == RawType::kInt32, int32_t, Half>;
  RawValues<Raw, 8> raw[kMapBatch];
  uint32_t bits[kMapBatch];
  // Everything of a batch is under way before anything of it is used: a block of its own, from
  // which the compiler takes nothing apart.
  const auto load = [&](int i) {
    if (i >= kMapPixels || first + i * rows >= pixels) return;
    FTT_UNROLL
    for (int j = 0; j < kMapBatch; ++j) {
      const int pixel = first + (i + j) * rows;
      const int64_t at = from + int64_t{pixel < pixels ? pixel : first + i * rows} * stride;
      grad[j] = *reinterpret_cast<const uint4*>(y.grad + at);
      bits[j] = real;
      if (y.mask != nullptr) bits[j] &= y.mask[at >> 3];
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
  for (int i = 0; i < kMapPixels; i += kMapBatch) {
    FTT_UNROLL
    for (int j = 0; j < kMapBatch; ++j) {
      const int pixel = first + (i + j) * rows;
      if (pixel >= pixels) return;
      uint2 low = Counting(make_uint2(grad[j].x, grad[j].y), TopsOfBits(bits[j] & 0xF));
      uint2 high = Counting(make_uint2(grad[j].z, grad[j].w), TopsOfBits(bits[j] >> 4));
      if constexpr (kMapped) {
        const float4 f = FloatsOf(low), h = FloatsOf(high);
        float v[8] = {f.x, f.y, f.z, f.w, h.x, h.y, h.z, h.w}, stored[8];
        raw[j].Floats(stored);
        FTT_UNROLL
        for (int c = 0; c < 8; ++c) v[c] = fmaf(stored[c], q[c], fmaf(v[c], p[c], r[c]));
        low = RoundedToBf16(make_float4(v[0], v[1], v[2], v[3]));
        high = RoundedToBf16(make_float4(v[4], v[5], v[6], v[7]));
      }
      *reinterpret_cast<uint4*>(to + from + int64_t{pixel} * stride) =
          make_uint4(low.x, low.y, high.x, high.y);
    }
    load(i + kMapBatch);
  }
}

}  // namespace ftt::cuda
