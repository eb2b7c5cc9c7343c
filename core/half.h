// IEEE 754 half precision (binary16) without hardware for it.
#pragma once

#include <cstdint>

namespace ftt {

// Rounded to nearest, ties to even; infinite above 65,519.99.
uint16_t FloatToHalf(float value);
// Exact.
float HalfToFloat(uint16_t half);

}  // namespace ftt
