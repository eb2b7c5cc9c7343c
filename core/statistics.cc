#include "core/statistics.h"

#include <cmath>
#include <limits>

#include "core/error.h"

namespace ftt {
namespace {

constexpr double kTiny = 1e-300;
constexpr double kPrecision = 1e-16;
constexpr int kMaxTerms = 100000;  // reached by no argument that a sample of sensible size leads to

// Continued fraction of the incomplete beta function by Lentz's method (Press et al., Numerical
// Recipes, 3rd edition, 6.4.5). Converges fast for x < (a+1)/(a+b+2).
double BetaFraction(double a, double b, double x) {
  const auto guard = [](double value) { return std::abs(value) < kTiny ? kTiny : value; };
  double c = 1;
  double d = 1 / guard(1 - (a + b) * x / (a + 1));
  double fraction = d;
  for (int m = 1; m < kMaxTerms; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / guard(1 + even * d);
    c = guard(1 + even / c);
    fraction *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / guard(1 + odd * d);
    c = guard(1 + odd / c);
    fraction *= d * c;
    if (std::abs(d * c - 1) < kPrecision * 8) break;
  }
  return fraction;
}

// Finds the root of an increasing function by bisection to the last bit; `low` and `high` enclose
// it.
template <typename Function>
double Bisect(const Function& function, double target, double low, double high) {
  while (true) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) return middle;
    (function(middle) < target ? low : high) = middle;
  }
}

void CheckProbability(double p) {
  FTT_CHECK(p > 0 && p < 1, "probability or confidence is {}; it must lie between 0 and 1", p);
}

}  // namespace

double IncompleteBeta(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                                a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return front * BetaFraction(a, b, x) / a;
  return 1 - front * BetaFraction(b, a, 1 - x) / b;
}

double IncompleteGamma(double a, double x) {
  if (x <= 0) return 0;
  const double front = std::exp(a * std::log(x) - x - std::lgamma(a));
  if (x < a + 1) {  // series (Abramowitz & Stegun 6.5.29)
    double term = 1 / a;
    double sum = term;
    for (int n = 1; n < kMaxTerms && term > sum * kPrecision; ++n) {
      term *= x / (a + n);
      sum += term;
    }
    return front * sum;
  }
  // Continued fraction of the upper function (Abramowitz & Stegun 6.5.31), Lentz's method.
  double b = x + 1 - a;
  double c = 1 / kTiny;
  double d = 1 / b;
  double fraction = d;
  for (int n = 1; n < kMaxTerms; ++n) {
    const double an = -n * (n - a);
    b += 2;
    d = an * d + b;
    d = 1 / (std::abs(d) < kTiny ? kTiny : d);
    c = b + an / c;
    if (std::abs(c) < kTiny) c = kTiny;
    fraction *= d * c;
    if (std::abs(d * c - 1) < kPrecision * 8) break;
  }
  return 1 - front * fraction;
}

double NormalCdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

double ChiSquareCdf(double x, double degrees_of_freedom) {
  return IncompleteGamma(degrees_of_freedom / 2, x / 2);
}

double StudentTCdf(double x, double degrees_of_freedom) {
  const double nu = degrees_of_freedom;
  // Both forms of the tail agree; each keeps its precision where the other loses it (Abramowitz &
  // Stegun 26.7.1).
  const double tail = x * x < nu ? 0.5 - 0.5 * IncompleteBeta(0.5, nu / 2, x * x / (nu + x * x))
                                 : 0.5 * IncompleteBeta(nu / 2, 0.5, nu / (nu + x * x));
  return x > 0 ? 1 - tail : tail;
}

double NormalQuantile(double p) {
  CheckProbability(p);
  // The lower tail has the better relative precision.
  if (p > 0.5) return -NormalQuantile(1 - p);
  if (p == 0.5) return 0;
  return Bisect(NormalCdf, p, -40, 0);
}

double StudentTQuantile(double p, double degrees_of_freedom) {
  CheckProbability(p);
  FTT_CHECK(degrees_of_freedom > 0, "degrees of freedom are {}; they must be positive",
            degrees_of_freedom);
  if (p > 0.5) return -StudentTQuantile(1 - p, degrees_of_freedom);
  if (p == 0.5) return 0;
  const auto cdf = [=](double x) { return StudentTCdf(x, degrees_of_freedom); };
  double low = -1;
  while (cdf(low) > p) low *= 2;
  return Bisect(cdf, p, low, 0);
}

Interval WilsonInterval(int64_t successes, int64_t trials, double confidence) {
  CheckProbability(confidence);
  FTT_CHECK(successes >= 0 && successes <= trials, "{} successes in {} trials", successes, trials);
  if (trials == 0) return {0, 1};
  const double z = -NormalQuantile((1 - confidence) / 2);
  const double n = static_cast<double>(trials);
  const double rate = static_cast<double>(successes) / n;
  const double centre = rate + z * z / (2 * n);
  const double half = z * std::sqrt(rate * (1 - rate) / n + z * z / (4 * n * n));
  const double scale = 1 + z * z / n;
  // The ends are exact where the formula only nearly is.
  return {successes == 0 ? 0 : (centre - half) / scale,
          successes == trials ? 1 : (centre + half) / scale};
}

MeanEstimate EstimateMean(std::span<const double> samples, double confidence) {
  CheckProbability(confidence);
  FTT_CHECK(!samples.empty(), "a mean needs at least one sample");
  MeanEstimate estimate;
  estimate.count = static_cast<int64_t>(samples.size());
  const double n = static_cast<double>(samples.size());
  for (const double x : samples) estimate.mean += x / n;
  if (samples.size() == 1) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    estimate.interval = {-kInfinity, kInfinity};
    return estimate;
  }
  double squares = 0;
  for (const double x : samples) squares += (x - estimate.mean) * (x - estimate.mean);
  estimate.deviation = std::sqrt(squares / (n - 1));
  const double half =
      -StudentTQuantile((1 - confidence) / 2, n - 1) * estimate.deviation / std::sqrt(n);
  estimate.interval = {estimate.mean - half, estimate.mean + half};
  return estimate;
}

}  // namespace ftt
