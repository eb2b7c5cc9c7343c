// Intervals and the distributions behind them.
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
  Interval interval;     // Student's t; for one sample the whole line
  int64_t count = 0;
};
// Mean of at least one sample with its t-interval.
MeanEstimate EstimateMean(std::span<const double> samples, double confidence);

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
