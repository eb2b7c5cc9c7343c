// A processing element of a systolic array is stuck: its column computes wrong outputs for every
// layer.
#pragma once

#include "faults/models.h"

namespace ftt {

struct LaneStuck {
  static constexpr FaultModelInfo Info() {
    return {
        .name = "lane-stuck",
        .lifetime = Lifetime::kPermanent,
        .sites = SiteBit(SiteKind::kConv),
        .style = FaultStyle::kColumns,
        .keys = kKeyBit | kKeyValue | kKeyColumn,
        .rate_help = "probability per processing element of a rows x cols array",
        .help =
            "output channel c is computed by column c mod cols; a column with a stuck element "
            "gives 0 "
            "(mode=zero), the largest code (mode=max) or codes with a stuck bit (mode=bit,bit=K)"};
  }
  FTT_HD static FaultEffect Apply(const FaultStep& step, int code, FaultHit hit) {
    if (step.column_mode == ColumnMode::kZero) return {0, false};
    if (step.column_mode == ColumnMode::kMax) return {FaultCodeMax(step), false};
    const int bit = 1 << step.column_bit;
    return {SignExtendFault(step, (hit.ones & 1) != 0 ? code | bit : code & ~bit), false};
  }
};

}  // namespace ftt
