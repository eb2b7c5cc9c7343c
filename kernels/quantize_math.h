// Fixed-point arithmetic shared by all backends, host and device: exponents, rounding,
// requantization.
//
// A tensor is int8 codes q and one exponent e: x = q * 2^e. Codes of b bits lie in [-2^(b-1),
// 2^(b-1) - 1].
#pragma once

#include <cstdint>
#include <cstring>

#include "core/host_device.h"

namespace ftt {

inline constexpr int kDefaultBits = 8;
// Additions align to the smaller exponent, but no part is shifted further left than this (8-bit
// codes stay below 2^28).
inline constexpr int kMaxAlignShift = 20;

FTT_HD inline int CodeMax(int bits) { return (1 << (bits - 1)) - 1; }
FTT_HD inline int CodeMin(int bits) { return -(1 << (bits - 1)); }

FTT_HD inline int SaturateCode(int v, int bits) {
  const int high = CodeMax(bits);
  const int low = CodeMin(bits);
  return v > high ? high : (v < low ? low : v);
}

// 2^e for e in [-126, 127], from the bits of the float.
FTT_HD inline float PowerOfTwo(int e) {
  const uint32_t word = static_cast<uint32_t>(e + 127) << 23;
  float value;
  memcpy(&value, &word, sizeof value);
  return value;
}

// e = ceil(log2(max(max_abs, 1e-5))) - (bits - 1), from the float's bits so that every platform
// agrees.
FTT_HD inline int ExponentFor(float max_abs, int bits) {
  const float floor = 1e-5f;
  const float m = max_abs > floor ? max_abs : floor;
  uint32_t word;
  memcpy(&word, &m, sizeof word);
  const int exponent = static_cast<int>(word >> 23) - 127;
  const int ceil_log2 = exponent + ((word & 0x7FFFFFu) != 0 ? 1 : 0);
  return ceil_log2 - (bits - 1);
}

// v * 2^-shift rounded to nearest, ties to even; a negative shift multiplies. |v| < 2^28; right
// shifts of 31 and more give 0, left shifts saturate the caller's range long before they could
// overflow (they are limited to 30 - 28 bits of headroom by going through 64 bits).
FTT_HD inline int64_t RoundShift(int32_t v, int shift) {
  if (shift <= 0) return static_cast<int64_t>(v) * (int64_t{1} << (-shift > 32 ? 32 : -shift));
  if (shift > 30) return 0;
  const int32_t half = (int32_t{1} << (shift - 1)) - 1;
  return (v + half + ((v >> shift) & 1)) >> shift;
}

FTT_HD inline int SaturateCode64(int64_t v, int bits) {
  const int high = CodeMax(bits);
  const int low = CodeMin(bits);
  return v > high ? high : (v < low ? low : static_cast<int>(v));
}

// The exponent to which the parts of a sum are aligned: the smallest, unless another part would be
// shifted too far.
FTT_HD inline int AlignedExponent(int smallest, int largest) {
  return largest - smallest > kMaxAlignShift ? largest - kMaxAlignShift : smallest;
}

}  // namespace ftt
