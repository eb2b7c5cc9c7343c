#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"
#include "core/statistics.h"
#include "tests/core/coverage.h"

namespace ftt {
namespace {

using testing::Coverage;
using testing::Draws;

constexpr int kRepeats = 1000;

double CoverageOfTrials(int trials, double truth, const std::function<double(Draws&)>& one) {
  return Coverage(kRepeats, truth, [&](Draws& draws) {
    return EstimateTrials(draws.Many(trials, one), 0.95).interval;
  });
}

TEST(TrialStatistics, Skewness) {
  // Deviations -2, -2, -2, 0, 6: m2 = 9.6, m3 = 38.4, G1 = m3 / m2^1.5 * sqrt(20) / 3.
  const std::vector<double> samples = {1, 1, 1, 3, 9};
  EXPECT_NEAR(Skewness(samples), 38.4 / std::pow(9.6, 1.5) * std::sqrt(20.0) / 3, 1e-12);
  EXPECT_NEAR(Skewness(std::vector<double>{1, 2, 3, 4}), 0, 1e-15);
  EXPECT_EQ(Skewness(std::vector<double>{0.1, 0.1, 0.1}), 0);
  EXPECT_EQ(Skewness(std::vector<double>{1, 5}), 0);
}

// Share of all n^n resamples of five samples whose t lies below `limit`.
double ExactShareBelow(const std::vector<double>& x, double limit) {
  const double mean = EstimateMean(x, 0.9).mean;
  int64_t below = 0;
  for (int code = 0; code < 3125; ++code) {
    std::vector<double> resample;
    for (int i = 0, rest = code; i < 5; ++i, rest /= 5)
      resample.push_back(x[static_cast<size_t>(rest % 5)]);
    const MeanEstimate e = EstimateMean(resample, 0.9);
    const double t = (e.mean - mean) / (e.deviation / std::sqrt(5.0));
    below += t < limit ? 1 : 0;
  }
  return static_cast<double>(below) / 3125;
}

TEST(TrialStatistics, BootstrapAgreesWithAllResamples) {
  const std::vector<double> x = {0.11, 0.19, 0.23, 0.47, 1.71};
  const MeanEstimate e = BootstrapMean(x, 0.9, 5);
  const double error = e.deviation / std::sqrt(5.0);
  EXPECT_NEAR(ExactShareBelow(x, (e.mean - e.interval.high) / error), 0.05, 0.015);
  EXPECT_NEAR(ExactShareBelow(x, (e.mean - e.interval.low) / error), 0.95, 0.015);
  // The long tail is to the right, and so is the interval's.
  EXPECT_GT(e.interval.high - e.mean, 2 * (e.mean - e.interval.low));
  EXPECT_TRUE(e.bootstrap);
  EXPECT_EQ(e.count, 5);
}

TEST(TrialStatistics, BootstrapIsAFunctionOfSamplesAndSeed) {
  const std::vector<double> x = {0.1, 0.15, 0.3, 0.32, 0.5, 0.9};
  EXPECT_EQ(BootstrapMean(x, 0.95, 3).interval.low, BootstrapMean(x, 0.95, 3).interval.low);
  EXPECT_NE(BootstrapMean(x, 0.95, 3).interval.low, BootstrapMean(x, 0.95, 4).interval.low);
  // More confidence, wider interval.
  EXPECT_LT(BootstrapMean(x, 0.99, 3).interval.low, BootstrapMean(x, 0.9, 3).interval.low);
}

TEST(TrialStatistics, BootstrapOfFewDistinctValues) {
  // A third of the resamples holds no 1: nothing bounds the mean from above.
  const std::vector<double> rare = {0, 0, 0, 0, 0, 0, 0, 1};
  const MeanEstimate e = BootstrapMean(rare, 0.95, 1);
  EXPECT_EQ(e.interval.high, std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isfinite(e.interval.low));
  const std::vector<double> same = {0.1, 0.1, 0.1};
  EXPECT_EQ(BootstrapMean(same, 0.95, 1).interval.low, BootstrapMean(same, 0.95, 1).interval.high);
  EXPECT_THROW((void)BootstrapMean(std::vector<double>{1}, 0.95, 1), Error);
  EXPECT_THROW((void)BootstrapMean(rare, 1, 1), Error);
}

TEST(TrialStatistics, EstimateTrialsChooses) {
  const std::vector<double> skewed = {0.1, 0.11, 0.12, 0.13, 0.14, 0.15, 0.3, 0.9};
  EXPECT_TRUE(EstimateTrials(skewed, 0.95).bootstrap);
  const auto few = std::span(skewed).last(7);
  EXPECT_GT(Skewness(few), kBootstrapSkewness);
  EXPECT_FALSE(EstimateTrials(few, 0.95).bootstrap);
  const std::vector<double> even = {1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_FALSE(EstimateTrials(even, 0.95).bootstrap);
  EXPECT_EQ(EstimateTrials(even, 0.95).interval.low, EstimateMean(even, 0.95).interval.low);
  // Skewed, but too few distinct values for the bootstrap.
  const std::vector<double> rare = {0, 0, 0, 0, 0, 0, 0, 1};
  EXPECT_FALSE(EstimateTrials(rare, 0.95).bootstrap);
  EXPECT_EQ(EstimateTrials(std::vector<double>{3}, 0.95).count, 1);
}

TEST(TrialStatistics, CoverageOfNormalSamples) {
  for (const int trials : {3, 10, 30}) {
    const double coverage =
        CoverageOfTrials(trials, 0.7, [](Draws& d) { return 0.7 + 0.05 * d.Normal(); });
    EXPECT_GT(coverage, 0.93) << trials << " trials";
    EXPECT_LT(coverage, 0.97) << trials << " trials";
  }
}

TEST(TrialStatistics, CoverageOfSkewedSamples) {
  for (const double a : {9.0, 0.125}) {
    const auto one = [&](Draws& d) { return d.Beta(a); };
    const double coverage = CoverageOfTrials(12, a / (a + 1), one);
    EXPECT_GT(coverage, 0.93) << "Beta(" << a << ", 1)";
    EXPECT_LT(coverage, 0.97) << "Beta(" << a << ", 1)";
    // What the bootstrap is for.
    EXPECT_LT(Coverage(kRepeats, a / (a + 1),
                       [&](Draws& d) { return EstimateMean(d.Many(12, one), 0.95).interval; }),
              0.925)
        << "Beta(" << a << ", 1)";
  }
}

TEST(TrialStatistics, CoverageOfRareOutcomesInFewTrials) {
  const double coverage =
      CoverageOfTrials(10, 0.03, [](Draws& d) { return d.Binomial(100, 0.03); });
  EXPECT_GT(coverage, 0.93);
  EXPECT_LT(coverage, 0.97);
}

TEST(TrialStatistics, CoverageOfPairedDifferences) {
  // Both networks suffer from the same chip; one loses 2 % more, and more on bad chips.
  const double coverage = CoverageOfTrials(12, 0.02, [](Draws& d) {
    const double chip = 0.1 * d.Beta(0.5);  // mean 1/30
    const double a = 0.9 - chip + 0.004 * d.Normal();
    const double b = 0.9 - 0.02 + 0.2 / 30 - 1.2 * chip + 0.004 * d.Normal();
    return a - b;
  });
  EXPECT_GT(coverage, 0.93);
  EXPECT_LT(coverage, 0.97);
}

TEST(TrialStatistics, WilsonCoverage) {
  const double coverage = Coverage(kRepeats, 0.1, [](Draws& d) {
    return WilsonInterval(std::llround(60 * d.Binomial(60, 0.1)), 60, 0.95);
  });
  EXPECT_GT(coverage, 0.93);
  EXPECT_LT(coverage, 0.97);
}

// n of Leveugle et al., from t(0.95) = 1.95996 and t(0.99) = 2.57583 by hand.
TEST(TrialStatistics, SampleSize) {
  EXPECT_EQ(SampleSize(0, 0.05, 0.95), 385);        // 384.15
  EXPECT_EQ(SampleSize(0, 0.01, 0.95), 9604);       // 9603.65
  EXPECT_EQ(SampleSize(0, 0.01, 0.99), 16588);      // 16587.2
  EXPECT_EQ(SampleSize(1000, 0.05, 0.95), 278);     // 277.74
  EXPECT_EQ(SampleSize(10000, 0.01, 0.95), 4900);   // 4899.2
  EXPECT_EQ(SampleSize(0, 0.01, 0.95, 0.1), 3458);  // 3457.3
  EXPECT_EQ(SampleSize(1, 0.01, 0.95), 1);
  EXPECT_EQ(SampleSize(int64_t{1} << 40, 0.01, 0.95), 9604);
  EXPECT_THROW((void)SampleSize(-1, 0.01, 0.95), Error);
  EXPECT_THROW((void)SampleSize(0, 0, 0.95), Error);
  EXPECT_THROW((void)SampleSize(0, 1, 0.95), Error);
  EXPECT_THROW((void)SampleSize(0, 0.01, 1), Error);
  EXPECT_THROW((void)SampleSize(0, 0.01, 0.95, 1), Error);
}

}  // namespace
}  // namespace ftt
