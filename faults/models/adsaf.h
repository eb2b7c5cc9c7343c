// Stuck-at faults of RRAM crossbars: a weight is the difference of a positive and a negative array
// (semantics: FTT-NAS, arXiv 2003.10375, section 3.3; 83.7 % SAF0 and 16.3 % SAF1 after Chen et
// al., ITC 2014).
#pragma once

#include "faults/models.h"

namespace ftt {

// One multi-level cell per polarity. Cell 0 holds P = max(q, 0), cell 1 holds N = max(-q, 0).
struct Adsaf {
  static constexpr FaultModelInfo Info() {
    return {.name = "adsaf",
            .lifetime = Lifetime::kPermanent,
            .sites = SiteBit(SiteKind::kConvWeight),
            .cells_log2 = 1,
            .typed = true,
            .mask_above = 0,
            .keys = kKeySaf1,
            .valid_cells = [](int) { return 3u; },
            .rate_help = "probability per cell, two multi-level cells per weight",
            .help =
                "cells of the positive and negative array are stuck at the top level (share saf1, "
                "default 0.163) "
                "or at zero"};
  }
  FTT_HD static FaultEffect Apply(const FaultStep& step, int code, FaultHit hit) {
    const int top = FaultCodeMax(step);
    int positive = code > 0 ? code : 0;
    int negative = code < 0 ? -code : 0;
    if ((hit.cells & 1) != 0) positive = (hit.ones & 1) != 0 ? top : 0;
    if ((hit.cells & 2) != 0) negative = (hit.ones & 2) != 0 ? top : 0;
    return SaturateFault(step, positive - negative);
  }
};

// One single-level cell per bit: cells 0..b-2 hold P, cells 8..8+b-2 hold N. N = 2^(b-1) does not
// fit b-1 cells and is stored as the top level.
struct AdsafBit {
  static constexpr FaultModelInfo Info() {
    FaultModelInfo info = Adsaf::Info();
    info.name = "adsaf-bit";
    info.cells_log2 = 4;
    info.mask_above = 8;
    info.valid_cells = [](int bits) { return AllBits(bits - 1) * 0x101u; };
    info.rate_help = "probability per cell, 2*(bits-1) single-level cells per weight";
    info.help =
        "cells of the positive and negative array, one per bit, are stuck at one (share saf1, "
        "default 0.163) "
        "or at zero";
    return info;
  }
  FTT_HD static FaultEffect Apply(const FaultStep& step, int code, FaultHit hit) {
    const int top = FaultCodeMax(step);
    const int positive = code > 0 ? code : 0;
    const int negative = code < 0 ? (-code > top ? top : -code) : 0;
    const int p = Stuck(positive, hit.cells & 0xFF, hit.ones & 0xFF);
    const int n = Stuck(negative, hit.cells >> 8, hit.ones >> 8);
    return SaturateFault(step, p - n);
  }

 private:
  FTT_HD static int Stuck(int level, uint32_t cells, uint32_t ones) {
    return (level & ~static_cast<int>(cells)) | static_cast<int>(cells & ones);
  }
};

}  // namespace ftt
