// Internal to bias_strikes.cc: from Philox blocks to strikes, one function per instruction set.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "faults/philox_blocks.h"
#include "faults/step.h"

namespace ftt {

inline constexpr int kChunkTiles = 16;
inline constexpr int kChunkElements = kChunkTiles * kTileElements;

struct StrikeScratch {
  // strikes: of a chunk, element << 16 | kind << 8; kind: cell, + 8 where the bias is positive.
  std::vector<uint32_t> word0, blocks, strikes;
  uint8_t seen[kChunkElements] = {};  // the last chunk that struck the element
  uint8_t chunk = 0;

  uint8_t NextChunk() {
    if (++chunk == 0) {
      std::memset(seen, 0, sizeof seen);
      chunk = 1;
    }
    return chunk;
  }
  // Makes room for the blocks that follow the tiles' first ones, their strikes, and a vector more.
  void Reserve(uint32_t more_blocks) {
    if (word0.size() >= more_blocks + kChunkTiles) return;
    word0.resize(more_blocks + kChunkTiles);
    blocks.resize(4 * (more_blocks + kChunkTiles));
    strikes.resize(4 * (more_blocks + 2 * kChunkTiles) + 16);
  }
};

// Writes the arrivals of at most kChunkTiles tiles that hit one of the chunk's `elements` to
// s.strikes, adds them to histogram[kind], and returns their number.
using CollectStrikes = uint32_t (*)(const FaultStep& step, const PhiloxBatch& batch,
                                    uint32_t first_tile, uint32_t tiles, uint32_t elements,
                                    StrikeScratch& s, uint32_t* histogram);

uint32_t CollectStrikesAvx2(const FaultStep& step, const PhiloxBatch& batch, uint32_t first_tile,
                            uint32_t tiles, uint32_t elements, StrikeScratch& s,
                            uint32_t* histogram);
uint32_t CollectStrikesAvx512(const FaultStep& step, const PhiloxBatch& batch, uint32_t first_tile,
                              uint32_t tiles, uint32_t elements, StrikeScratch& s,
                              uint32_t* histogram);

}  // namespace ftt
