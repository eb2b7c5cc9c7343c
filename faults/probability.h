// Numbers that decide faults, computed with additions, multiplications and divisions only, so that
// every platform gets the same bits (libm functions differ in their last digit).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace ftt {

// -ln(1-p) for p in [0, 1]; infinity at 1. Relative error below 1e-14.
double NegLog1m(double p);
// 1-exp(-x) for x >= 0, infinity included. Relative error below 1e-14.
double OneMinusExp(double x);

// Quantiles of a Poisson distribution for a 32-bit draw, see FaultStep. Probabilities are exact to
// 2^-33.
struct PoissonTable {
  uint32_t first = 0;
  std::vector<uint32_t>
      thresholds;               // 2^32 * P(N <= first + i), rounded; ascending, all in (0, 2^32)
  std::vector<uint16_t> guide;  // [256] thresholds at or below (i << 24)
};

// mean in [0, kMaxTileRate]. Tables are built once per mean and shared; safe to call from several
// threads.
std::shared_ptr<const PoissonTable> PoissonTableFor(double mean);

// thresholds[i] = 2^31 * P(|n| < (i + 0.5) / 256) for a standard normal n, rounded; see FaultStep.
const std::vector<uint32_t>& NormalThresholds();

}  // namespace ftt
