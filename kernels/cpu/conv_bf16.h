// Codes and gradients as bfloat16.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "core/bf16.h"

namespace ftt::cpu {

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
