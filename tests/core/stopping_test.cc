// The sequential stopping rule, by simulation: what intervals are worth after stopping.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/statistics.h"
#include "tests/core/coverage.h"

namespace ftt {
namespace {

using testing::Coverage;
using testing::Draws;

constexpr int kMostTrials = 512;
constexpr int kRepeats = 800;

using One = std::function<double(Draws&)>;

struct Stopped {
  double covered = 0;        // share of experiments whose interval contains the truth
  double within_margin = 0;  // share whose mean is within the margin of the truth
};
// Trials until the rule says stop, many times. The margin is what a known deviation would reach
// after `trials` trials.
Stopped StopAll(double trials, double truth, double deviation, const One& one) {
  const double margin = NormalQuantile(0.975) * deviation / std::sqrt(trials);
  Stopped stopped;
  for (int i = 0; i < kRepeats; ++i) {
    Draws draws(static_cast<uint32_t>(i));
    const std::vector<double> samples = draws.Many(kMostTrials, one);
    const int64_t n = StoppingTrial(samples, margin, 0.95);
    EXPECT_GT(n, 0);
    const MeanEstimate e = EstimateStopped(std::span(samples).first(static_cast<size_t>(n)), 0.95);
    stopped.covered += e.interval.Contains(truth) ? 1.0 / kRepeats : 0;
    stopped.within_margin += std::abs(e.mean - truth) <= margin ? 1.0 / kRepeats : 0;
  }
  return stopped;
}

TEST(Stopping, Looks) {
  std::vector<int64_t> looks;
  for (int64_t n = 0; n < 100; n = looks.back()) looks.push_back(NextLook(n));
  EXPECT_EQ(looks, (std::vector<int64_t>{8, 12, 16, 24, 32, 48, 64, 96, 128}));
  EXPECT_EQ(NextLook(7), 8);
  EXPECT_EQ(NextLook(13), 16);
}

TEST(Stopping, AtTheLookAfterTheOneThatSaysStop) {
  // t(0.975, 7) = 2.364624; deviation of 1..8 is sqrt(6): half width 2.047824.
  std::vector<double> samples = {1, 8, 2, 7, 3, 6, 4, 5};
  EXPECT_EQ(StoppingTrial(samples, 2.0479, 0.95), 0);
  for (const double x : {900.0, -900.0, 500.0}) samples.push_back(x);  // whatever they are
  EXPECT_EQ(StoppingTrial(samples, 2.0479, 0.95), 0);
  samples.push_back(-500);
  EXPECT_EQ(StoppingTrial(samples, 2.0479, 0.95), 12);
  EXPECT_EQ(StoppingTrial(samples, 2.0478, 0.95), 0);
  EXPECT_EQ(StoppingTrial(samples, 2.0479, 0.96), 0);
  EXPECT_EQ(StoppingTrial(std::span(samples).first(7), 100, 0.95), 0);
  // Whoever asks late, after a batch of trials, gets the same answer.
  samples.push_back(3);
  EXPECT_EQ(StoppingTrial(samples, 2.0479, 0.95), 12);
  EXPECT_THROW((void)StoppingTrial(samples, 0, 0.95), Error);
}

TEST(Stopping, IntervalsAreWidened) {
  const std::vector<double> samples = {1, 8, 2, 7, 3, 6, 4, 5};
  const MeanEstimate e = EstimateStopped(samples, 0.95);
  EXPECT_DOUBLE_EQ(e.mean, 4.5);
  EXPECT_NEAR(e.interval.low, 4.5 - 2.508062, 1e-5);
  EXPECT_NEAR(e.interval.high, 4.5 + 2.508062, 1e-5);
}

TEST(Stopping, CoverageOfNormalSamples) {
  for (const double trials : {10.0, 45.0}) {
    const Stopped stopped = StopAll(trials, 0, 1, [](Draws& d) { return d.Normal(); });
    EXPECT_GT(stopped.covered, 0.93) << trials;
    EXPECT_LT(stopped.covered, 0.97) << trials;
    EXPECT_GT(stopped.within_margin, 0.96) << trials;
  }
}

TEST(Stopping, CoverageOfSkewedSamples) {
  for (const double trials : {10.0, 20.0, 45.0}) {
    // Beta(9, 1): mean 9/10, variance 9 / (100 * 11).
    const Stopped stopped =
        StopAll(trials, 0.9, std::sqrt(9.0 / 1100), [](Draws& d) { return d.Beta(9); });
    EXPECT_GT(stopped.covered, 0.93) << trials;
    EXPECT_LT(stopped.covered, 0.97) << trials;
    EXPECT_GT(stopped.within_margin, 0.95) << trials;
  }
}

// What the rule is for: stopping as soon as the half width of any number of trials is reached.
TEST(Stopping, LookingAfterEveryTrialUndercovers) {
  const double margin = NormalQuantile(0.975) / std::sqrt(10.0);
  EXPECT_LT(Coverage(kRepeats, 0,
                     [&](Draws& d) {
                       std::vector<double> samples = {d.Normal()};
                       MeanEstimate e;
                       do {
                         samples.push_back(d.Normal());
                         e = EstimateMean(samples, 0.95);
                       } while (e.interval.high - e.mean > margin);
                       return e.interval;
                     }),
            0.91);
}

}  // namespace
}  // namespace ftt
