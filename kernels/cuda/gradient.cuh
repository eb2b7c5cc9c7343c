// Device side of gradient.h.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/gradient.h"

namespace ftt::cuda {

// kN floats, a multiple of 4, from a multiple of 4 on.
template <int kN>
__device__ __forceinline__ void LoadFloats(const float* from, float (&v)[kN]) {
  FTT_UNROLL
  for (int i = 0; i < kN; i += 4) {
    const float4 f = *reinterpret_cast<const float4*>(from + i);
    v[i] = f.x;
    v[i + 1] = f.y;
    v[i + 2] = f.z;
    v[i + 3] = f.w;
  }
}

// Four gradients as they lie in memory, as floats, and the other way.
__device__ __forceinline__ float4 FloatsOf(const uint2& word) {
  return make_float4(BitsToFloat(word.x << 16), BitsToFloat(word.x & 0xFFFF0000u),
                     BitsToFloat(word.y << 16), BitsToFloat(word.y & 0xFFFF0000u));
}
__device__ __forceinline__ uint2 RoundedToBf16(const float4& v) {
  return make_uint2(PackBf16(v.x, v.y), PackBf16(v.z, v.w));
}
// Which of four gradients count, in the top bits of bytes; the other bits mean nothing. From mask
// bits, at most four, and from codes that must be above 0.
__device__ __forceinline__ uint32_t TopsOfBits(uint32_t bits) { return bits * 0x10204080u; }
__device__ __forceinline__ uint32_t TopsOfPositive(uint32_t codes) {
  return ((codes & 0x7F7F7F7Fu) + 0x7F7F7F7Fu) & ~codes;
}
// The others become 0.
__device__ __forceinline__ uint2 Counting(const uint2& four, uint32_t tops) {
  return make_uint2(four.x & BytePermute(tops, 0, 0x9988), four.y & BytePermute(tops, 0, 0xBBAA));
}
// f * unit + before where they count, before elsewhere.
__device__ __forceinline__ uint2 AddedWhere(uint32_t tops, const float (&f)[4], float unit,
                                            const uint2& before) {
  const float4 b = FloatsOf(before);
  const uint2 sum = RoundedToBf16(make_float4(fmaf(f[0], unit, b.x), fmaf(f[1], unit, b.y),
                                              fmaf(f[2], unit, b.z), fmaf(f[3], unit, b.w)));
  const uint32_t low = BytePermute(tops, 0, 0x9988), high = BytePermute(tops, 0, 0xBBAA);
  return make_uint2((sum.x & low) | (before.x & ~low), (sum.y & high) | (before.y & ~high));
}
__device__ __forceinline__ const uint2* FourOf(const Bf16* at) {
  return reinterpret_cast<const uint2*>(at);
}
__device__ __forceinline__ uint2* FourOf(Bf16* at) { return reinterpret_cast<uint2*>(at); }

}  // namespace ftt::cuda
