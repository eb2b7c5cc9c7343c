#include "core/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>

namespace ftt {
namespace {

uint16_t CompilersHalf(float v) { return std::bit_cast<uint16_t>(static_cast<_Float16>(v)); }

TEST(HalfTest, EveryHalfSurvivesTheWayThroughFloat) {
  for (uint32_t h = 0; h < 0x10000u; ++h) {
    const auto half = static_cast<uint16_t>(h);
    const float value = HalfToFloat(half);
    if (std::isnan(value)) {
      EXPECT_TRUE((half & 0x7c00u) == 0x7c00u && (half & 0x3ffu) != 0) << h;
      EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(value)))) << h;
      continue;
    }
    EXPECT_EQ(value, static_cast<float>(std::bit_cast<_Float16>(half))) << h;
    EXPECT_EQ(FloatToHalf(value), half);
  }
}

TEST(HalfTest, RoundsAsTheCompilerDoes) {
  // All exponents; fractions around the bits that are cut off.
  for (uint32_t top = 0; top < 0x10000u; ++top) {
    for (const uint32_t low :
         {0u, 1u, 0xfffu, 0x1000u, 0x1001u, 0x1fffu, 0x2000u, 0x3000u, 0xffffu}) {
      const auto value = std::bit_cast<float>(top << 16 | low);
      if (std::isnan(value)) continue;
      ASSERT_EQ(FloatToHalf(value), CompilersHalf(value)) << value;
    }
  }
  EXPECT_EQ(FloatToHalf(65519.0f), 0x7bffu);  // the largest
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7c00u);
}

}  // namespace
}  // namespace ftt
