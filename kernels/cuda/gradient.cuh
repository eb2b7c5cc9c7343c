// Device side of gradient.h.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/gradient.h"

namespace ftt::cuda {

// kN floats from a multiple of kN; kN = 2 or a multiple of 4.
template <int kN>
__device__ __forceinline__ void LoadFloats(const float* from, float (&v)[kN]) {
  if constexpr (kN == 2) {
    const float2 f = *reinterpret_cast<const float2*>(from);
    v[0] = f.x;
    v[1] = f.y;
  } else {
    FTT_UNROLL
    for (int i = 0; i < kN; i += 4) {
      const float4 f = *reinterpret_cast<const float4*>(from + i);
      v[i] = f.x;
      v[i + 1] = f.y;
      v[i + 2] = f.z;
      v[i + 3] = f.w;
    }
  }
}

// kN (2, 4 or 8) stored outputs as floats, from a multiple of kN.
template <int kN>
__device__ __forceinline__ void LoadRaw(const void* raw, RawType type, int64_t at, float (&v)[kN]) {
  if (type == RawType::kInt32) {
    const int32_t* from = static_cast<const int32_t*>(raw) + at;
    FTT_UNROLL
    for (int i = 0; i < kN; i += 2) {
      const int2 pair = *reinterpret_cast<const int2*>(from + i);
      v[i] = static_cast<float>(pair.x);
      v[i + 1] = static_cast<float>(pair.y);
    }
    return;
  }
  const Half* from = static_cast<const Half*>(raw) + at;
  Half half[kN];
  if constexpr (kN == 8) {
    const uint4 all = *reinterpret_cast<const uint4*>(from);
    memcpy(half, &all, sizeof half);
  } else if constexpr (kN == 4) {
    const uint2 all = *reinterpret_cast<const uint2*>(from);
    memcpy(half, &all, sizeof half);
  } else {
    const uint32_t all = *reinterpret_cast<const uint32_t*>(from);
    memcpy(half, &all, sizeof half);
  }
  FTT_UNROLL
  for (int i = 0; i < kN; ++i) v[i] = HalfToFloat(half[i]);
}

// The gradient of channels [channel, channel + kN) at element `at` of the map (counted over all
// lanes); norm: element of p, q and r, lane * Stride() + channel. kN is 2, 4 or 8 and divides all
// three.
template <int kN>
__device__ __forceinline__ void LoadGradient(const OutputGradient& y, int64_t at, int64_t norm,
                                             float (&v)[kN]) {
  LoadFloats(y.grad + at, v);
  if (y.mask != nullptr) {
    const uint32_t bits = static_cast<uint32_t>(y.mask[at >> 3]) >> (at & 7);
    FTT_UNROLL
    for (int i = 0; i < kN; ++i) v[i] = (bits >> i & 1) != 0 ? v[i] : 0.0f;
  }
  if (y.raw == nullptr) return;
  float raw[kN], p[kN], q[kN], r[kN];
  LoadRaw(y.raw, y.raw_type, at, raw);
  LoadFloats(y.p + norm, p);
  LoadFloats(y.q + norm, q);
  LoadFloats(y.r + norm, r);
  FTT_UNROLL
  for (int i = 0; i < kN; ++i) v[i] = fmaf(raw[i], q[i], fmaf(v[i], p[i], r[i]));
}

// Byte i of a word of codes as a float, or max(code, 0). 2^23 + code + 128 is put together from
// bytes, which is cheaper than a conversion.
__device__ __forceinline__ float CodeToFloat(uint32_t word, int i, bool relu) {
  const uint32_t bits =
      BytePermute(word ^ 0x80808080u, 0x4B000000u, 0x7440u | static_cast<uint32_t>(i));
  float v;
  memcpy(&v, &bits, sizeof v);
  v -= 8388736.0f;
  return relu ? fmaxf(v, 0.0f) : v;
}

}  // namespace ftt::cuda
