// bfloat16 on the host: the upper half of a float32.
#pragma once

#include <bit>
#include <cstdint>

namespace ftt {

// Rounded to nearest, ties to even; the value must not be a NaN. Branch-free, so that loops over it
// vectorise.
inline uint16_t FloatToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
// Exact.
inline float Bf16ToFloat(uint16_t value) { return std::bit_cast<float>(uint32_t{value} << 16); }

}  // namespace ftt
