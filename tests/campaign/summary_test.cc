#include "campaign/summary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/error.h"
#include "tests/core/coverage.h"

namespace ftt {
namespace {

using testing::Coverage;
using testing::Draws;

TrialRow Trial(int number, int64_t correct) {
  TrialRow t;
  t.trial = number;
  t.correct = correct;
  return t;
}

TEST(Summary, MeansAndIntervalsComeFromTrials) {
  NetworkRow network;
  network.golden_correct = 180;
  std::vector<TrialRow> trials = {Trial(0, 160), Trial(1, 170), Trial(2, 150)};
  for (TrialRow& t : trials) {
    t.sdc1 = 200 - t.correct;
    t.sdc5 = 2 + t.trial;
    t.masked = 20;
    t.due = t.trial == 2 ? 3 : 0;
    t.exposed = 1000;
    t.delivered = static_cast<uint64_t>(10 * (t.trial + 1));
  }
  const PointSummary s = Summarise(trials, network, 200, 0.95);
  EXPECT_NEAR(s.accuracy.mean, 0.8, 1e-12);
  // Deviation 0.05, t(0.975, 2) = 4.302653.
  EXPECT_NEAR(s.accuracy.interval.low, 0.8 - 4.302652729749 * 0.05 / std::sqrt(3.0), 1e-9);
  EXPECT_NEAR(s.accuracy.interval.high, 0.8 + 4.302652729749 * 0.05 / std::sqrt(3.0), 1e-9);
  EXPECT_EQ(s.accuracy.count, 3);
  // A point that a margin ended is less sure: sqrt(1 + 4/3). The other shares ended nothing.
  const PointSummary stopped = Summarise(trials, network, 200, 0.95, 3);
  EXPECT_NEAR(stopped.accuracy.interval.low,
              0.8 - std::sqrt(7.0 / 3) * (0.8 - s.accuracy.interval.low), 1e-9);
  EXPECT_NEAR(stopped.accuracy.interval.high,
              0.8 + std::sqrt(7.0 / 3) * (s.accuracy.interval.high - 0.8), 1e-9);
  EXPECT_EQ(stopped.sdc1.interval.high, s.sdc1.interval.high);
  EXPECT_EQ(Summarise(trials, network, 200, 0.95, 2).accuracy.interval.low,
            s.accuracy.interval.low);
  EXPECT_NEAR(s.sdc1.mean, 0.2, 1e-12);
  EXPECT_NEAR(s.sdc5.mean, 0.015, 1e-12);
  EXPECT_NEAR(s.masked.mean, 0.1, 1e-12);
  EXPECT_NEAR(s.masked.interval.high, 0.1, 1e-12);
  EXPECT_NEAR(s.due.mean, 0.005, 1e-12);
  EXPECT_EQ(s.due.interval.low, 0);  // a share is not negative
  EXPECT_NEAR(s.delivered_rate, 0.02, 1e-12);
  EXPECT_NEAR(s.golden_accuracy, 0.9, 1e-12);
}

TEST(Summary, OneTrialSaysNothingOfTheSpread) {
  const PointSummary s = Summarise({Trial(0, 7)}, NetworkRow{}, 10, 0.95);
  EXPECT_NEAR(s.accuracy.mean, 0.7, 1e-12);
  EXPECT_EQ(s.accuracy.interval.low, 0);
  EXPECT_EQ(s.accuracy.interval.high, 1);
  EXPECT_EQ(s.delivered_rate, 0);
  EXPECT_THROW((void)Summarise({}, NetworkRow{}, 10, 0.95), Error);
  EXPECT_THROW((void)Summarise({Trial(0, 0)}, NetworkRow{}, 0, 0.95), Error);
}

TEST(Summary, SkewedTrialsGetABootstrap) {
  std::vector<TrialRow> trials;
  for (int i = 0; i < 12; ++i) trials.push_back(Trial(i, i < 10 ? 900 + i : 500 + 100 * (i - 10)));
  const PointSummary s = Summarise(trials, NetworkRow{}, 1000, 0.95);
  EXPECT_TRUE(s.accuracy.bootstrap);
  EXPECT_GT(s.accuracy.mean - s.accuracy.interval.low, s.accuracy.interval.high - s.accuracy.mean);
  EXPECT_FALSE(s.sdc1.bootstrap);
}

TEST(PairedDifference, PairsByTrialNumber) {
  const std::vector<TrialRow> a = {Trial(4, 90), Trial(1, 60), Trial(7, 80), Trial(9, 10)};
  const std::vector<TrialRow> b = {Trial(0, 10), Trial(1, 50), Trial(4, 78), Trial(7, 72)};
  const MeanEstimate d = PairedDifference(a, b, 100, 0.95);  // 0.12, 0.10, 0.08
  EXPECT_EQ(d.count, 3);
  EXPECT_NEAR(d.mean, 0.1, 1e-12);
  EXPECT_NEAR(d.interval.low, 0.1 - 4.302652729749 * 0.02 / std::sqrt(3.0), 1e-9);
  EXPECT_NEAR(PairedDifference(b, a, 100, 0.95).mean, -0.1, 1e-12);
  EXPECT_EQ(PairedDifference(a, {Trial(2, 5)}, 100, 0.95).count, 0);
  const MeanEstimate one = PairedDifference({Trial(2, 5)}, {Trial(2, 3)}, 100, 0.95);
  EXPECT_EQ(one.interval.low, -1);
  EXPECT_EQ(one.interval.high, 1);
}

// Chips differ far more than networks do; pairs do not see it.
TEST(PairedDifference, CoverageAndGain) {
  double paired_width = 0, single_width = 0;
  const double coverage = Coverage(500, 0.02, [&](Draws& draws) {
    std::vector<TrialRow> a, b;
    for (int i = 0; i < 12; ++i) {
      const double chip = 0.7 + 0.05 * draws.Normal();
      const auto correct = [&](double loss) {
        return std::llround(1e6 * (chip - loss + 0.004 * draws.Normal()));
      };
      a.push_back(Trial(i, correct(0)));
      b.push_back(Trial(i, correct(0.02)));
    }
    const MeanEstimate d = PairedDifference(a, b, 1000000, 0.95);
    const MeanEstimate single = Summarise(a, NetworkRow{}, 1000000, 0.95).accuracy;
    paired_width += d.interval.high - d.interval.low;
    single_width += single.interval.high - single.interval.low;
    return d.interval;
  });
  EXPECT_GT(coverage, 0.93);
  EXPECT_LT(coverage, 0.97);
  EXPECT_LT(paired_width, 0.2 * single_width);
}

}  // namespace
}  // namespace ftt
