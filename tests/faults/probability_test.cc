#include "faults/probability.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/statistics.h"
#include "faults/address.h"

namespace ftt {
namespace {

TEST(Probability, LogarithmAndExponential) {
  for (const double p :
       {1e-300, 1e-30, 1e-12, 1e-6, 1e-3, 0.06249, 0.0625, 0.0626, 0.2, 0.5, 0.9, 0.999999}) {
    EXPECT_NEAR(NegLog1m(p) / -std::log1p(-p), 1, 1e-14) << p;
  }
  EXPECT_EQ(NegLog1m(0), 0);
  EXPECT_EQ(NegLog1m(1), std::numeric_limits<double>::infinity());
  for (const double x :
       {1e-300, 1e-20, 1e-9, 1e-3, 0.4999, 0.5, 0.5001, 1.0, 10.0, 40.0, 700.0, 2000.0}) {
    EXPECT_NEAR(OneMinusExp(x) / -std::expm1(-x), 1, 1e-14) << x;
  }
  EXPECT_EQ(OneMinusExp(0), 0);
  EXPECT_EQ(OneMinusExp(std::numeric_limits<double>::infinity()), 1);
}

// P(N <= k) of a Poisson variable is 1 - P(k+1, mean), the incomplete gamma function.
TEST(Probability, PoissonThresholds) {
  for (const double mean : {1e-9, 1e-6, 1e-3, 0.1, 1.0, 10.3, 108.0, 863.0, kMaxTileRate}) {
    const auto table = PoissonTableFor(mean);
    ASSERT_FALSE(table->thresholds.empty()) << mean;
    for (size_t i = 0; i < table->thresholds.size(); ++i) {
      const double k = table->first + static_cast<double>(i);
      const double expected = std::ldexp(1 - IncompleteGamma(k + 1, mean), 32);
      EXPECT_NEAR(table->thresholds[i], expected, 0.51 + 1e-4 * mean) << mean << " " << k;
      if (i > 0) {
        EXPECT_GE(table->thresholds[i], table->thresholds[i - 1]);
      }
    }
    // What the table leaves out is below its resolution on both sides.
    const double last = table->first + static_cast<double>(table->thresholds.size());
    EXPECT_LT(std::ldexp(IncompleteGamma(last + 1, mean), 32), 0.51 + 1e-4 * mean);
    if (table->first > 0) {
      EXPECT_LT(std::ldexp(1 - IncompleteGamma(table->first, mean), 32), 0.51 + 1e-4 * mean);
    }
  }
}

// For tiny means P(N >= 1) is the mean itself, to 2^-33.
TEST(Probability, PoissonIsExactForTinyMeans) {
  for (const double mean : {0x1p-32, 3 * 0x1p-32, 1024e-9, 1024e-6}) {
    const double none = PoissonTableFor(mean)->thresholds[0];
    EXPECT_NEAR(0x1p32 - none, -std::expm1(-mean) * 0x1p32, 0.5) << mean;
  }
}

TEST(Probability, PoissonQuantilesRiseWithTheMean) {
  for (double mean = 0.01; mean < 500; mean *= 1.07) {
    const auto low = PoissonTableFor(mean), high = PoissonTableFor(mean * 1.0001);
    const auto at = [](const PoissonTable& t, uint32_t k) {
      if (k < t.first) return uint64_t{0};
      return k - t.first < t.thresholds.size() ? uint64_t{t.thresholds[k - t.first]}
                                               : uint64_t{1} << 32;
    };
    for (uint32_t k = 0; k < 800; ++k) ASSERT_GE(at(*low, k), at(*high, k)) << mean << " " << k;
  }
}

TEST(Probability, NormalThresholds) {
  const std::vector<uint32_t>& table = NormalThresholds();
  ASSERT_GT(table.size(), 1500u);
  for (size_t i = 0; i < table.size(); i += i < 50 ? 1 : 37) {
    const double x = (static_cast<double>(i) + 0.5) / 256;
    EXPECT_NEAR(table[i], std::erf(x / std::sqrt(2.0)) * 0x1p31, 0.501) << i;
  }
}

}  // namespace
}  // namespace ftt
