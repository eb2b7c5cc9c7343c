// MAC-i.i.d. bit bias (semantics: FTT-NAS, arXiv 2003.10375, section 3.2).
#pragma once

#include "faults/models.h"

namespace ftt {

struct Mibb {
  static constexpr FaultModelInfo Info() {
    return {
        .name = "mibb",
        .lifetime = Lifetime::kTransient,
        .sites = SiteBit(SiteKind::kConv),
        .cells_log2 = 3,
        .one_fault = true,
        .per_mac = true,
        .keys = kKeySites | kKeyBit,
        .valid_cells = AllBits,
        .rate_help = "probability per multiply-add",
        .help =
            "an output code of a convolution, after its batch norm, gets a bias of +-2^k; hit with "
            "1-(1-RATE)^M, M multiply-adds per output"};
  }
  // saturate(code + s * 2^k); k: the one cell hit, s: + where its value is one.
  FTT_HD static FaultEffect Apply(const FaultStep& step, int code, FaultHit hit) {
    const int bias = static_cast<int>(hit.cells);
    return SaturateFault(step, hit.ones != 0 ? code + bias : code - bias);
  }
};

}  // namespace ftt
