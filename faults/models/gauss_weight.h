// Conductance variation of weights.
#pragma once

#include "faults/models.h"

namespace ftt {

struct GaussWeight {
  static constexpr FaultModelInfo Info() {
    return {.name = "gauss-weight",
            .lifetime = Lifetime::kPermanent,
            .sites = SiteBit(SiteKind::kConvWeight),
            .style = FaultStyle::kEvery,
            .rate_help = "sigma, relative to the weight",
            .help = "every convolution weight q becomes rint(q*(1+sigma*n)), n normal"};
  }
  // saturate(rint(q * (1 + sigma * n))) in integers: hit.ones is n in steps of 2^-8, step.sigma has
  // 40 fraction bits.
  FTT_HD static FaultEffect Apply(const FaultStep& step, int code, FaultHit hit) {
    constexpr int kShift = 48;
    const auto n = static_cast<int64_t>(static_cast<int32_t>(hit.ones));
    const int64_t value = int64_t{code} * (int64_t{1} << kShift) + code * step.sigma * n;
    int64_t rounded = value >> kShift;  // floor
    const int64_t fraction = value - rounded * (int64_t{1} << kShift);
    constexpr int64_t kHalf = int64_t{1} << (kShift - 1);
    if (fraction > kHalf || (fraction == kHalf && (rounded & 1) != 0)) ++rounded;
    return SaturateFault(step, static_cast<int>(rounded));
  }
};

}  // namespace ftt
