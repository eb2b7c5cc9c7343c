// Many Philox blocks of one key at once, as fast as the CPU allows.
#pragma once

#include <cstdint>

namespace ftt {

// The counters of a batch differ in word 0 only.
struct PhiloxBatch {
  uint32_t word1 = 0, word2 = 0, word3 = 0, key0 = 0, key1 = 0;
};

// Arrays are padded to a multiple of this many blocks: the functions below read and write up to the
// next multiple.
inline constexpr int kPhiloxPad = 16;

// out[4 * i + w] = word w of the block with counter word 0 = word0[i], i < n.
void PhiloxBlocks(const PhiloxBatch& batch, const uint32_t* word0, int n, uint32_t* out);

// The instruction sets of PhiloxBlocks that this CPU has, for tests: "generic", "avx2", "avx512".
using PhiloxBlocksFunction = void (*)(const PhiloxBatch&, const uint32_t*, int, uint32_t*);
struct PhiloxVariant {
  const char* name;
  PhiloxBlocksFunction function;
};
// Slowest first. Returns the number of entries written (at most 3).
int PhiloxVariants(PhiloxVariant* variants);

}  // namespace ftt
