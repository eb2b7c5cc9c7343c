#include "core/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"

namespace ftt {
namespace {

TEST(Statistics, NormalQuantile) {
  EXPECT_NEAR(NormalQuantile(0.975), 1.959963984540054, 1e-13);
  EXPECT_NEAR(NormalQuantile(0.9995), 3.2905267314919255, 1e-12);
  EXPECT_NEAR(NormalQuantile(0.025), -1.959963984540054, 1e-13);
  EXPECT_NEAR(NormalQuantile(1e-10), -6.361340902404056, 1e-11);
  EXPECT_EQ(NormalQuantile(0.5), 0);
  EXPECT_THROW((void)NormalQuantile(0), Error);
  EXPECT_THROW((void)NormalQuantile(1), Error);
}

// Expected values come from inverting the finite sums of Abramowitz & Stegun 26.7.3 and 26.7.4.
TEST(Statistics, StudentTQuantile) {
  EXPECT_NEAR(StudentTQuantile(0.975, 1), 12.706204736174676, 1e-11);
  EXPECT_NEAR(StudentTQuantile(0.975, 2), 4.302652729749459, 1e-12);
  EXPECT_NEAR(StudentTQuantile(0.975, 9), 2.262157162798204, 1e-12);
  EXPECT_NEAR(StudentTQuantile(0.995, 30), 2.7499956535672241, 1e-11);
  EXPECT_NEAR(StudentTQuantile(0.9995, 4), 8.610301581379098, 1e-11);
  EXPECT_NEAR(StudentTQuantile(0.05, 9), -1.8331129326562356, 1e-12);
  EXPECT_NEAR(StudentTQuantile(0.975, 1e6), 1.9599663568818, 1e-9);
  EXPECT_EQ(StudentTQuantile(0.5, 3), 0);
  EXPECT_THROW((void)StudentTQuantile(0.9, 0), Error);
}

TEST(Statistics, Distributions) {
  EXPECT_NEAR(NormalCdf(1), 0.8413447460685429, 1e-15);
  // With one degree of freedom Student's t is the Cauchy distribution.
  for (const double x : {-30.0, -1.0, 0.0, 0.3, 2.0}) {
    EXPECT_NEAR(StudentTCdf(x, 1), 0.5 + std::atan(x) / std::acos(-1.0), 1e-14);
  }
  EXPECT_NEAR(ChiSquareCdf(3.841458820694124, 1), 0.95, 1e-13);
  EXPECT_NEAR(ChiSquareCdf(18.307038053275146, 10), 0.95, 1e-13);
  EXPECT_NEAR(ChiSquareCdf(4, 2), 1 - std::exp(-2), 1e-14);
  EXPECT_EQ(ChiSquareCdf(0, 3), 0);
  EXPECT_NEAR(IncompleteBeta(2, 3, 0.4), 0.5248, 1e-14);
  EXPECT_NEAR(IncompleteBeta(3, 2, 0.6), 1 - 0.5248, 1e-14);
  EXPECT_EQ(IncompleteBeta(2, 3, 1), 1);
}

TEST(Statistics, WilsonInterval) {
  const Interval ten = WilsonInterval(1, 10, 0.95);
  EXPECT_NEAR(ten.low, 0.017876213095072794, 1e-12);
  EXPECT_NEAR(ten.high, 0.40415002679523848, 1e-12);
  const Interval half = WilsonInterval(50, 100, 0.95);
  EXPECT_NEAR(half.low, 0.40383153, 1e-8);
  EXPECT_NEAR(half.high, 0.59616847, 1e-8);
  const Interval none = WilsonInterval(0, 20, 0.95);
  EXPECT_EQ(none.low, 0);
  EXPECT_NEAR(none.high, 0.16112515, 1e-7);
  EXPECT_EQ(WilsonInterval(20, 20, 0.95).high, 1);
  EXPECT_EQ(WilsonInterval(0, 0, 0.95).high, 1);
  EXPECT_TRUE(half.Contains(0.5));
  EXPECT_FALSE(half.Contains(0.6));
  EXPECT_THROW((void)WilsonInterval(3, 2, 0.95), Error);
  EXPECT_THROW((void)WilsonInterval(1, 2, 95), Error);
}

TEST(Statistics, EstimateMean) {
  const std::vector<double> samples = {1, 2, 3, 4, 5};
  const MeanEstimate estimate = EstimateMean(samples, 0.95);
  EXPECT_NEAR(estimate.mean, 3, 1e-14);
  EXPECT_NEAR(estimate.deviation, std::sqrt(2.5), 1e-14);
  EXPECT_NEAR(estimate.interval.low, 3 - 2.7764451051977987 * std::sqrt(0.5), 1e-11);
  EXPECT_NEAR(estimate.interval.high, 3 + 2.7764451051977987 * std::sqrt(0.5), 1e-11);
  EXPECT_EQ(estimate.count, 5);
  const std::vector<double> one = {7};
  EXPECT_EQ(EstimateMean(one, 0.9).mean, 7);
  EXPECT_EQ(EstimateMean(one, 0.9).interval.high, std::numeric_limits<double>::infinity());
  const std::vector<double> same = {2, 2, 2};
  EXPECT_EQ(EstimateMean(same, 0.9).interval.high, 2);
  EXPECT_THROW((void)EstimateMean({}, 0.9), Error);
}

}  // namespace
}  // namespace ftt
