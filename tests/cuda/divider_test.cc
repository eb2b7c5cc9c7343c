// Quotients by multiplication against those of the processor.
#include "kernels/cuda/divider.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "core/philox.h"

namespace ftt::cuda {
namespace {

void ExpectQuotients(int divisor, const std::vector<int>& values) {
  const Divider by(divisor);
  ASSERT_EQ(by.Divisor(), divisor);
  for (const int v : values) ASSERT_EQ(by(v), v / divisor) << v << " / " << divisor;
}

// Where a quotient changes, if a product is off by the least.
std::vector<int> Edges(int divisor) {
  std::vector<int> values = {0, 1, INT32_MAX - 1, INT32_MAX};
  const int last = INT32_MAX / divisor;
  for (const int quotient : {1, 2, 3, last / 3, last / 2, last - 1, last}) {
    const int64_t at = int64_t{quotient} * divisor;
    for (const int64_t v : {at - 1, at, at + 1}) {
      if (v >= 0 && v <= INT32_MAX) values.push_back(static_cast<int>(v));
    }
  }
  return values;
}

TEST(DividerTest, SmallDivisors) {
  for (int divisor = 1; divisor <= 5000; ++divisor) ExpectQuotients(divisor, Edges(divisor));
}

TEST(DividerTest, SmallNumbers) {
  std::vector<int> values(2000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>(i);
  for (int divisor = 1; divisor <= 1100; ++divisor) ExpectQuotients(divisor, values);
}

TEST(DividerTest, LargeDivisors) {
  for (int shift = 12; shift < 31; ++shift) {
    for (const int divisor : {(1 << shift) - 1, 1 << shift, (1 << shift) + 1})
      ExpectQuotients(divisor, Edges(divisor));
  }
  ExpectQuotients(INT32_MAX, Edges(INT32_MAX));
  PhiloxSequence draws(3, Stream::kShuffle, 1);
  for (int i = 0; i < 20000; ++i) {
    const auto divisor = static_cast<int>(draws.Below(INT32_MAX)) + 1;
    ExpectQuotients(divisor, {static_cast<int>(draws.Below(INT32_MAX))});
  }
}

}  // namespace
}  // namespace ftt::cuda
