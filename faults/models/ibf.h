// Independent bit flips of stored codes, in the feature buffer or in the weight memory.
#pragma once

#include "faults/models.h"

namespace ftt {

struct IbfFeature {
  static constexpr FaultModelInfo Info() {
    return {
        .name = "ibf-feature",
        .lifetime = Lifetime::kTransient,
        .sites = kFeatureSites,
        .cells_log2 = 3,
        .keys = kKeyBit,
        .valid_cells = AllBits,
        .rate_help = "probability per bit",
        .help =
            "each bit (two's complement) of every code in the feature buffer flips independently"};
  }
  FTT_HD static FaultEffect Apply(const FaultStep& step, int code, FaultHit hit) {
    return {SignExtendFault(step, code ^ static_cast<int>(hit.cells)), false};
  }
};

struct IbfWeight {
  static constexpr FaultModelInfo Info() {
    FaultModelInfo info = IbfFeature::Info();
    info.name = "ibf-weight";
    info.lifetime = Lifetime::kPermanent;
    info.sites = kWeightSites;
    info.help = "each bit (two's complement) of every weight code flips independently";
    return info;
  }
  FTT_HD static FaultEffect Apply(const FaultStep& step, int code, FaultHit hit) {
    return IbfFeature::Apply(step, code, hit);
  }
};

}  // namespace ftt
