// A bit of a word of the feature buffer is stuck.
#pragma once

#include "faults/models.h"

namespace ftt {

struct StuckFeature {
  static constexpr FaultModelInfo Info() {
    return {.name = "stuck-feature",
            .lifetime = Lifetime::kPermanent,
            .sites = kFeatureSites,
            .cells_log2 = 3,
            .one_fault = true,
            .keys = kKeyBit | kKeyValue,
            .valid_cells = AllBits,
            .rate_help = "probability per word",
            .help =
                "one bit (random, or bit=K) of a word of the feature buffer is stuck at 0 or 1 "
                "(random, or value=)"};
  }
  FTT_HD static FaultEffect Apply(const FaultStep& step, int code, FaultHit hit) {
    const int bit = static_cast<int>(hit.cells);
    return {SignExtendFault(step, hit.ones != 0 ? code | bit : code & ~bit), false};
  }
};

}  // namespace ftt
