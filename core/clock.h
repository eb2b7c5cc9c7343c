// Time for progress reports and benchmarks; never part of a result.
#pragma once

#include <chrono>

namespace ftt {

// Seconds of a clock that only moves forward.
inline double MonotonicSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace ftt
