// Float weights to codes, with the weight faults of each lane.
#pragma once

#include <vector>

#include "engine/lanes.h"
#include "kernels/backend.h"

namespace ftt {

// Quantizes [n] floats: exponent from max |w|. With `want_keep` the straight-through mask is filled
// where something saturated. One copy; see ApplyWeightFaults.
WeightCodes QuantizeWeights(const std::vector<float>& weights, int bits, bool want_keep);

// One copy per lane with that lane's faults, when any lane has faults at this op's weights;
// otherwise unchanged.
void ApplyWeightFaults(WeightCodes& weights, LanePlan& lanes, size_t op, bool want_keep);

}  // namespace ftt
