// Intervals and the distributions behind them. How campaigns use them: docs/campaigns.md.
#pragma once

#include <cstdint>
#include <span>

namespace ftt {

struct Interval {
  double low = 0;
  double high = 0;
  bool Contains(double x) const { return low <= x && x <= high; }
};

// Wilson score interval of a rate from `successes` in `trials` (E. B. Wilson, JASA 22, 1927); [0,
// 1] without trials. `confidence` lies in (0, 1), e.g. 0.95.
Interval WilsonInterval(int64_t successes, int64_t trials, double confidence);

struct MeanEstimate {
  double mean = 0;
  double deviation = 0;  // sample standard deviation (divisor n-1); 0 for one sample
  Interval interval;     // for one sample the whole line
  int64_t count = 0;
  bool bootstrap = false;  // the interval is BootstrapMean's, else Student's t
};
// Mean of at least one sample with its t-interval.
MeanEstimate EstimateMean(std::span<const double> samples, double confidence);

// Skewness of the population the samples are from, G1 of Joanes and Gill (The Statistician 47,
// 1998); 0 for fewer than three samples, or equal ones.
double Skewness(std::span<const double> samples);

// Mean with its percentile-t ("studentised") bootstrap interval (Efron and Tibshirani, An
// Introduction to the Bootstrap, 1993, section 12.5). An end is infinite where too many resamples
// are of one value only to tell it. The same samples and seed give the same interval. Two samples
// at least.
MeanEstimate BootstrapMean(std::span<const double> samples, double confidence, uint64_t seed);

// Mean of a campaign's trials: Student's t, or, from kBootstrapTrials trials on and where the
// samples' |skewness| exceeds kBootstrapSkewness, the bootstrap, if both its ends are finite.
MeanEstimate EstimateTrials(std::span<const double> samples, double confidence);
inline constexpr int64_t kBootstrapTrials = 8;
inline constexpr double kBootstrapSkewness = 0.5;

// Number of fault injections that estimate a rate near `p` among `population` possible faults (0:
// infinitely many) to within +-margin: n = N t^2 p(1-p) / (e^2 (N-1) + t^2 p(1-p)), rounded up
// (Leveugle et al., Statistical Fault Injection, DATE 2009). margin lies in (0, 1), e.g. 0.01.
int64_t SampleSize(int64_t population, double margin, double confidence, double p = 0.5);

// Sequential stopping: the number of trials after which a campaign stops, 0 where these are not
// enough. Trials are looked at after 8, 12, 16, 24, 32, 48, ... of them. The first look at which
// the t-interval and EstimateTrials' interval of that many first trials both stay within the margin
// on either side says stop; the trials up to the look after it count as well, for a lucky moment is
// over by then. Stopping after any trial with such an interval instead, intervals that promise 95 %
// would hold in 88 %. margin is positive, in the samples' unit.
int64_t StoppingTrial(std::span<const double> samples, double margin, double confidence);
// Mean of trials that ended by that rule: EstimateTrials' interval, wider by sqrt(1 + 4/n). It
// holds in 94 to 97 % where 95 % are asked for, and the mean is within the margin in 97 % and more:
// tests/core/stopping_test.cc.
MeanEstimate EstimateStopped(std::span<const double> samples, double confidence);
// Trials at the first look after `trials` of them: run until there are that many, then ask.
int64_t NextLook(int64_t trials);

// x with P(X <= x) = p, for p in (0, 1).
double NormalQuantile(double p);
double StudentTQuantile(double p, double degrees_of_freedom);

// P(X <= x).
double NormalCdf(double x);
double StudentTCdf(double x, double degrees_of_freedom);
double ChiSquareCdf(double x, double degrees_of_freedom);

// Regularized incomplete beta function I_x(a, b) and lower gamma function P(a, x).
double IncompleteBeta(double a, double b, double x);
double IncompleteGamma(double a, double x);

}  // namespace ftt
