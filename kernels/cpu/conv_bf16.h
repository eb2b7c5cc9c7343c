// bfloat16 for gradients: the upper half of a float32.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace ftt::cpu {

// Rounds to nearest, ties to even; the value must not be a NaN. Branch-free, so that loops over it
// vectorise.
inline uint16_t FloatToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Exact: an 8-bit code needs 8 significant bits, which bfloat16 has.
inline uint16_t CodeToBf16(int code) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(static_cast<float>(code)) >> 16);
}

inline void FloatsToBf16(const float* values, size_t count, uint16_t* out) {
  for (size_t i = 0; i < count; ++i) out[i] = FloatToBf16(values[i]);
}

// out[i] = codes[i], or max(codes[i], 0) with relu.
inline void CodesToBf16(const int8_t* codes, size_t count, bool relu, uint16_t* out) {
  const int floor = relu ? 0 : -128;
  for (size_t i = 0; i < count; ++i) {
    const int code = codes[i];
    out[i] = CodeToBf16(code > floor ? code : floor);
  }
}

}  // namespace ftt::cpu
