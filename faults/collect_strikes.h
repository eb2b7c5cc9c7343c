// Internal to bias_strikes.cc: from Philox blocks to strikes.
#pragma once

#include <cstdint>
#include <vector>

#include "faults/philox_blocks.h"
#include "faults/step.h"

namespace ftt {

inline constexpr int kChunkTiles = 64;  // at most; Strike::element has 16 bits

// An arrival.
struct Strike {
  uint16_t kind;     // cell, + 8 where the bias is positive
  uint16_t element;  // within the chunk
};

struct StrikeScratch {
  // Of the blocks that follow the tiles' first ones: counter words 0, the blocks, and where in
  // `strikes` each one's go.
  std::vector<uint32_t> word0, blocks, places;
  std::vector<Strike> strikes;

  // Makes room for that many blocks, for the strikes of a chunk, and for a vector more.
  void Reserve(uint32_t more_blocks) {
    if (word0.size() >= more_blocks + kPhiloxPad) return;
    word0.resize(more_blocks + kPhiloxPad);
    blocks.resize(4 * word0.size());
    places.resize(word0.size());
    strikes.resize(4 * (word0.size() + kChunkTiles));
  }
};

// Writes the arrivals of at most kChunkTiles tiles to s.strikes, tile by tile and in their order,
// and returns their number. Those beyond the chunk's `elements` are left out. Needs AVX2.
uint32_t CollectStrikesAvx2(const FaultStep& step, const PhiloxBatch& batch, uint32_t first_tile,
                            uint32_t tiles, uint32_t elements, StrikeScratch& s);

}  // namespace ftt
