// How often intervals of simulated samples contain the truth.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "core/philox.h"
#include "core/statistics.h"

namespace ftt::testing {

// Draws by inversion, so that the same seed gives the same samples everywhere.
class Draws {
 public:
  explicit Draws(uint32_t repeat) : random_(20260, Stream::kShapes, repeat) {}
  double Uniform() { return (1 - random_.UniformDouble()); }  // on (0, 1]
  double Normal() {                                           // Box and Muller
    const double radius = std::sqrt(-2 * std::log(Uniform()));
    return radius * std::cos(2 * std::acos(-1.0) * Uniform());
  }
  // Beta(a, 1): mean a / (a + 1), and the more skewed the further a is from 1.
  double Beta(double a) { return std::pow(Uniform(), 1 / a); }
  // Share of successes.
  double Binomial(int trials, double p) {
    int successes = 0;
    for (int i = 0; i < trials; ++i) successes += Uniform() <= p ? 1 : 0;
    return static_cast<double>(successes) / trials;
  }
  std::vector<double> Many(int count, const std::function<double(Draws&)>& one) {
    std::vector<double> samples;
    for (int i = 0; i < count; ++i) samples.push_back(one(*this));
    return samples;
  }

 private:
  PhiloxSequence random_;
};

// Share of `repeats` simulated experiments whose interval contains the truth. Its standard error is
// 0.7 % for 1000 experiments at 95 %.
inline double Coverage(int repeats, double truth,
                       const std::function<Interval(Draws&)>& experiment) {
  int hits = 0;
  for (int i = 0; i < repeats; ++i) {
    Draws draws(static_cast<uint32_t>(i));
    hits += experiment(draws).Contains(truth) ? 1 : 0;
  }
  return static_cast<double>(hits) / repeats;
}

}  // namespace ftt::testing
