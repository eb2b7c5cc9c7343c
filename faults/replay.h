// Applies the rows of a fault list to one tensor; called by InjectFeature and InjectWeights.
#pragma once

#include "faults/inject.h"

namespace ftt {

void Replay(const SiteFaults& faults, FaultMoment moment, uint32_t image, int8_t* codes,
            int64_t elements, uint8_t* pass_mask, uint8_t* moved_mask, FaultCounts* counts,
            FaultRecorder* recorder);

}  // namespace ftt
