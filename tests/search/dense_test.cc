#include "search/dense.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/philox.h"

namespace ftt::dense {
namespace {

struct Sizes {
  size_t n, rows, cols;
};
// Multiples of the tiles and sizes with remainders on every side.
const Sizes kSizes[] = {{1, 1, 1}, {1, 4, 8}, {3, 7, 13}, {5, 8, 24}, {2, 3, 9}, {13, 9, 7}};

std::vector<double> Draw(size_t n, uint32_t purpose) {
  PhiloxSequence draws(7, Stream::kController, purpose);
  std::vector<double> values(n);
  for (double& v : values) v = 2 * draws.UniformDouble() - 1;
  return values;
}

// The order of the additions is part of the contract: checkpoints of one machine go on on another.
TEST(Dense, ProductAddsFourRowsAtATime) {
  for (const auto [n, rows, cols] : kSizes) {
    const std::vector<double> x = Draw(n * rows, 1), w = Draw(rows * cols, 2);
    std::vector<double> y = Draw(n * cols, 3), expected = y;
    AddProduct(x.data(), n, w.data(), rows, cols, y.data());
    for (size_t t = 0; t < n; ++t) {
      for (size_t c = 0; c < cols; ++c) {
        const auto term = [&](size_t r) { return x[t * rows + r] * w[r * cols + c]; };
        double& sum = expected[t * cols + c];
        size_t r = 0;
        for (; r + 4 <= rows; r += 4) sum += term(r) + term(r + 1) + term(r + 2) + term(r + 3);
        for (; r < rows; ++r) sum += term(r);
      }
    }
    EXPECT_EQ(y, expected) << n << " " << rows << " " << cols;
  }
}

TEST(Dense, TransposedProductHasEightPartialSums) {
  for (const auto [n, rows, cols] : kSizes) {
    const std::vector<double> dy = Draw(n * cols, 1), w = Draw(rows * cols, 2);
    std::vector<double> dx = Draw(n * rows, 3), expected = dx;
    AddProductTransposed(dy.data(), n, w.data(), rows, cols, dx.data());
    for (size_t t = 0; t < n; ++t) {
      for (size_t r = 0; r < rows; ++r) {
        double s[8] = {};
        for (size_t c = 0; c < cols; ++c)
          s[c < cols / 8 * 8 ? c % 8 : 0] += w[r * cols + c] * dy[t * cols + c];
        expected[t * rows + r] += ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
      }
    }
    EXPECT_EQ(dx, expected) << n << " " << rows << " " << cols;
  }
}

TEST(Dense, OuterSumsInOrderAndOverwrites) {
  for (const auto [n, rows, cols] : kSizes) {
    const std::vector<double> x = Draw(n * rows, 1), dy = Draw(n * cols, 2);
    std::vector<double> dw = Draw(rows * cols, 3), expected(rows * cols, 0.0);
    Outer(x.data(), dy.data(), n, rows, cols, dw.data());
    for (size_t t = 0; t < n; ++t) {
      for (size_t r = 0; r < rows; ++r) {
        for (size_t c = 0; c < cols; ++c)
          expected[r * cols + c] += x[t * rows + r] * dy[t * cols + c];
      }
    }
    EXPECT_EQ(dw, expected) << n << " " << rows << " " << cols;
  }
}

}  // namespace
}  // namespace ftt::dense
