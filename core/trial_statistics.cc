// The part of statistics.h that is about trials: bootstrap, sample size, stopping.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"
#include "core/philox.h"
#include "core/statistics.h"

namespace ftt {
namespace {

constexpr int64_t kFirstLook = 8;
constexpr double kStoppedWidening = 4;
constexpr uint64_t kTrialSeed = 1;

// Enough that 20 of them and more lie beyond each end of the interval.
int64_t Resamples(double confidence) {
  return std::max<int64_t>(2000, std::llround(std::ceil(40 / (1 - confidence)))) - 1;
}

// (mean of a resample - mean) / its standard error. deviations: samples minus their mean.
double ResampledT(std::span<const double> deviations, PhiloxSequence& random) {
  const auto count = static_cast<uint32_t>(deviations.size());
  const double n = count;
  double sum = 0, squares = 0;
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (uint32_t i = 0; i < count; ++i) {
    const double d = deviations[random.Below(count)];
    sum += d;
    squares += d * d;
    low = std::min(low, d);
    high = std::max(high, d);
  }
  if (low == high) return low == 0 ? 0 : low * std::numeric_limits<double>::infinity();
  return sum / n / std::sqrt((squares - sum * sum / n) / (n - 1) / n);
}

double NthOf(std::vector<double>& values, int64_t n) {
  const auto at = values.begin() + std::clamp<int64_t>(n, 0, std::ssize(values) - 1);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

double WiderSide(const MeanEstimate& e) {
  return std::max(e.mean - e.interval.low, e.interval.high - e.mean);
}

}  // namespace

double Skewness(std::span<const double> samples) {
  if (samples.size() < 3 || std::ranges::min(samples) == std::ranges::max(samples)) return 0;
  const double n = static_cast<double>(samples.size());
  double mean = 0, squares = 0, cubes = 0;
  for (const double x : samples) mean += x / n;
  for (const double x : samples) {
    squares += (x - mean) * (x - mean) / n;
    cubes += (x - mean) * (x - mean) * (x - mean) / n;
  }
  return cubes / std::pow(squares, 1.5) * std::sqrt(n * (n - 1)) / (n - 2);
}

MeanEstimate BootstrapMean(std::span<const double> samples, double confidence, uint64_t seed) {
  FTT_CHECK(samples.size() >= 2, "a bootstrap needs at least two samples, not {}", samples.size());
  MeanEstimate estimate = EstimateMean(samples, confidence);
  estimate.bootstrap = true;
  if (std::ranges::min(samples) == std::ranges::max(samples)) return estimate;
  std::vector<double> deviations;
  for (const double x : samples) deviations.push_back(x - estimate.mean);
  std::vector<double> t(static_cast<size_t>(Resamples(confidence)));
  PhiloxSequence random(seed, Stream::kBootstrap, static_cast<uint32_t>(samples.size()));
  for (double& value : t) value = ResampledT(deviations, random);
  const int64_t beyond = std::llround(static_cast<double>(t.size() + 1) * (1 - confidence) / 2);
  const double error = estimate.deviation / std::sqrt(static_cast<double>(samples.size()));
  // A resample whose mean is too high speaks of a population whose mean is lower.
  estimate.interval = {estimate.mean - NthOf(t, std::ssize(t) - beyond) * error,
                       estimate.mean - NthOf(t, beyond - 1) * error};
  return estimate;
}

MeanEstimate EstimateTrials(std::span<const double> samples, double confidence) {
  const MeanEstimate student = EstimateMean(samples, confidence);
  if (student.count < kBootstrapTrials || std::abs(Skewness(samples)) <= kBootstrapSkewness)
    return student;
  const MeanEstimate bootstrap = BootstrapMean(samples, confidence, kTrialSeed);
  const bool finite =
      std::isfinite(bootstrap.interval.low) && std::isfinite(bootstrap.interval.high);
  return finite ? bootstrap : student;
}

MeanEstimate EstimateStopped(std::span<const double> samples, double confidence) {
  MeanEstimate e = EstimateTrials(samples, confidence);
  const double factor = std::sqrt(1 + kStoppedWidening / static_cast<double>(e.count));
  e.interval = {e.mean - factor * (e.mean - e.interval.low),
                e.mean + factor * (e.interval.high - e.mean)};
  return e;
}

int64_t SampleSize(int64_t population, double margin, double confidence, double p) {
  FTT_CHECK(population >= 0, "sample size: a population of {}", population);
  FTT_CHECK(margin > 0 && margin < 1, "sample size: margin {} does not lie between 0 and 1",
            margin);
  FTT_CHECK(p > 0 && p < 1, "sample size: rate {} does not lie between 0 and 1", p);
  const double t = -NormalQuantile((1 - confidence) / 2);
  const double infinite = t * t * p * (1 - p) / (margin * margin);
  if (population == 0) return static_cast<int64_t>(std::ceil(infinite));
  const auto n = static_cast<double>(population);
  return static_cast<int64_t>(std::ceil(n * infinite / (n - 1 + infinite)));
}

int64_t NextLook(int64_t trials) {
  for (int64_t look = kFirstLook;; look *= 2) {
    if (look > trials) return look;
    if (look + look / 2 > trials) return look + look / 2;
  }
}

int64_t StoppingTrial(std::span<const double> samples, double margin, double confidence) {
  FTT_CHECK(margin > 0, "margin {} is not positive", margin);
  for (int64_t look = kFirstLook; look <= std::ssize(samples); look = NextLook(look)) {
    const auto seen = samples.first(static_cast<size_t>(look));
    if (WiderSide(EstimateMean(seen, confidence)) > margin ||
        WiderSide(EstimateTrials(seen, confidence)) > margin)
      continue;
    const int64_t next = NextLook(look);
    return next <= std::ssize(samples) ? next : 0;
  }
  return 0;
}

}  // namespace ftt
