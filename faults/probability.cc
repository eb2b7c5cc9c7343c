#include "faults/probability.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>

namespace ftt {
namespace {

constexpr double kLn2 = 0.693147180559945309417232121458;

// ln(x) for x in (0, 1]: x = m * 2^e with m in [1/sqrt(2), sqrt(2)), ln(m) = 2 artanh((m-1)/(m+1)).
double Log(double x) {
  int e = 0;
  double m = std::frexp(x, &e);  // exact
  if (m < 0.70710678118654752) {
    m *= 2;
    --e;
  }
  const double z = (m - 1) / (m + 1), z2 = z * z;
  double sum = 0;
  for (int k = 31; k >= 1; k -= 2) sum = sum * z2 + 1.0 / k;
  return 2 * z * sum + e * kLn2;
}

// exp(-x), x >= 0.
double ExpNegative(double x) {
  if (x > 745) return 0;
  const auto n = static_cast<int>(x / kLn2);
  // Two-part ln 2, so that the remainder keeps its digits.
  const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  double sum = 1;
  for (int k = 24; k >= 1; --k) sum = 1 - sum * r / k;
  return std::ldexp(sum, -n);  // exact, or a rounding to subnormal
}

// round(2^32 * x) for x in [0, 1].
uint64_t ToFixed32(double x) { return static_cast<uint64_t>(x * 0x1p32 + 0.5); }

PoissonTable BuildPoisson(double mean) {
  // Weights relative to the mode need no exponential: w(k+1) = w(k) * mean / (k+1).
  constexpr double kNegligible = 1e-22;
  const auto mode = static_cast<uint32_t>(mean);
  std::vector<double> below, above;  // weights of mode-1, mode-2, ...; of mode+1, mode+2, ...
  double w = 1;
  for (uint32_t k = mode; k > 0; --k) {
    w = w * k / mean;
    if (w < kNegligible) break;
    below.push_back(w);
  }
  w = 1;
  for (uint32_t k = mode + 1;; ++k) {
    w = w * mean / k;
    if (w < kNegligible) break;
    above.push_back(w);
  }
  double low_sum = 0, high_sum = 0;  // smallest first
  for (size_t i = below.size(); i > 0; --i) low_sum += below[i - 1];
  for (size_t i = above.size(); i > 0; --i) high_sum += above[i - 1];
  const double total = low_sum + 1 + high_sum;

  PoissonTable table;
  const uint32_t lowest = mode - static_cast<uint32_t>(below.size());
  table.first = lowest;
  const auto add = [&](uint32_t k, uint64_t threshold) {
    if (threshold == 0) {
      table.first = k + 1;
    } else if (threshold < uint64_t{1} << 32) {
      table.thresholds.push_back(static_cast<uint32_t>(threshold));
    }
  };
  double cumulative = 0;
  for (size_t i = below.size(); i > 0; --i) {
    cumulative += below[i - 1];
    add(mode - static_cast<uint32_t>(i), ToFixed32(cumulative / total));
  }
  // From the mode on the upper tail is the small number that keeps its digits.
  std::vector<double> tails(above.size() + 1);
  double tail = 0;
  for (size_t i = above.size(); i > 0; --i) tails[i] = tail, tail += above[i - 1];
  tails[0] = tail;
  for (size_t i = 0; i < tails.size(); ++i) {
    add(mode + static_cast<uint32_t>(i), (uint64_t{1} << 32) - ToFixed32(tails[i] / total));
  }
  table.guide.resize(256);
  for (uint32_t i = 0; i < 256; ++i) {
    table.guide[i] = static_cast<uint16_t>(
        std::upper_bound(table.thresholds.begin(), table.thresholds.end(), i << 24) -
        table.thresholds.begin());
  }
  return table;
}

}  // namespace

double NegLog1m(double p) {
  if (p >= 1) return std::numeric_limits<double>::infinity();
  if (p > 0.0625) return -Log(1 - p);
  double sum = 0;  // p + p^2/2 + p^3/3 + ...
  for (int k = 14; k >= 1; --k) sum = sum * p + 1.0 / k;
  return sum * p;
}

double OneMinusExp(double x) {
  if (x > 0.5) return 1 - ExpNegative(x);
  double sum = 1;  // x * (1 - x/2 * (1 - x/3 * (1 - ...)))
  for (int k = 16; k >= 2; --k) sum = 1 - sum * x / k;
  return sum * x;
}

std::shared_ptr<const PoissonTable> PoissonTableFor(double mean) {
  // A search plans the same few means at every step. The limit only bounds memory: tables in use
  // stay alive.
  constexpr size_t kLimit = 4096;
  static std::mutex mutex;
  static std::map<double, std::shared_ptr<const PoissonTable>> cache;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = cache.find(mean);
  if (found != cache.end()) return found->second;
  if (cache.size() >= kLimit) cache.clear();
  return cache[mean] = std::make_shared<const PoissonTable>(BuildPoisson(mean));
}

const std::vector<uint32_t>& NormalThresholds() {
  static const std::vector<uint32_t> table = [] {
    // P(|n| < x) = 2 phi(x) (x + x^3/3 + x^5/15 + ...): all terms positive, so nothing cancels.
    constexpr double kTwoOverSqrtTwoPi = 0.797884560802865355879892119869;
    std::vector<uint32_t> thresholds;
    for (int i = 0;; ++i) {
      const double x = (i + 0.5) / 256;
      double term = x, sum = 0;
      for (int k = 3; term > 1e-20 * sum; k += 2) {
        sum += term;
        term = term * x * x / k;
      }
      const double p = kTwoOverSqrtTwoPi * ExpNegative(x * x / 2) * sum;
      const auto threshold = static_cast<uint64_t>(p * 0x1p31 + 0.5);
      if (threshold >= uint64_t{1} << 31) return thresholds;
      thresholds.push_back(static_cast<uint32_t>(threshold));
    }
  }();
  return table;
}

}  // namespace ftt
