// The hot path of bit biases (mibb) with the sparse sampler: a vector of payloads at a time.
#pragma once

#include <cstdint>

#include "faults/philox_blocks.h"
#include "faults/step.h"

namespace ftt {

// Whether this CPU (AVX2) and step are ones for StrikeBiases: 8-bit codes, any bit, sparse.
bool CanStrikeBiases(const FaultStep& step);

// Biases the codes of one image like every other path. pass_mask: nullable, see InjectFeature.
// histogram[cell + 8 * positive] += codes hit.
void StrikeBiases(const FaultStep& step, const PhiloxBatch& batch, int8_t* codes, int64_t elements,
                  uint8_t* pass_mask, uint32_t histogram[16]);

}  // namespace ftt
