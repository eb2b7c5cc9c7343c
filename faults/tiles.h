// The samplers on the CPU: turns Philox blocks into payload words, tile by tile.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "faults/philox_blocks.h"
#include "faults/step.h"

namespace ftt {

// A consumer has Begin(int64_t base, int elements), Take(const uint32_t* payloads, uint32_t count)
// and End(). Tiles without faults may be left out. Payload positions are below 1024 and may lie
// beyond the last element of the last tile.

struct TileScratch {
  std::vector<uint32_t> word0, blocks, first;
};

inline void BlocksOf(const PhiloxBatch& batch, std::vector<uint32_t>& word0,
                     std::vector<uint32_t>& blocks) {
  const size_t n = word0.size();
  const size_t padded = (n + kPhiloxPad - 1) / kPhiloxPad * kPhiloxPad;
  word0.resize(padded);
  if (blocks.size() < 4 * padded) blocks.resize(4 * padded);
  PhiloxBlocks(batch, word0.data(), static_cast<int>(n), blocks.data());
  word0.resize(n);
}

template <typename Consumer>
void SparseTiles(const FaultStep& step, const PhiloxBatch& batch, int64_t elements, TileScratch& s,
                 Consumer& consumer) {
  constexpr uint32_t kChunk = 64;
  constexpr uint32_t kChunkArrivals = 16384;  // keeps the blocks of a chunk in the cache
  constexpr uint32_t kFirstPayloads = 3;
  const auto tiles = static_cast<uint32_t>((elements + kTileElements - 1) >> kTileLog2);
  const uint32_t most = step.count_first + step.count_size;
  const uint32_t chunk = std::clamp(kChunkArrivals / (most + 1), 1u, kChunk);
  for (uint32_t begin = 0; begin < tiles; begin += chunk) {
    const uint32_t n = std::min(chunk, tiles - begin);
    s.word0.resize(n);
    for (uint32_t t = 0; t < n; ++t) s.word0[t] = SparseWord0(begin + t, 0);
    BlocksOf(batch, s.word0, s.first);
    uint32_t arrivals[kChunk];
    s.word0.clear();
    for (uint32_t t = 0; t < n; ++t) {
      arrivals[t] = ArrivalCount(step, s.first[4 * t]);
      for (uint32_t a = kFirstPayloads, block = 1; a < arrivals[t]; a += 4, ++block) {
        s.word0.push_back(SparseWord0(begin + t, block));
      }
    }
    BlocksOf(batch, s.word0, s.blocks);
    const uint32_t* more = s.blocks.data();
    for (uint32_t t = 0; t < n; ++t) {
      if (arrivals[t] == 0) continue;
      const int64_t base = int64_t{begin + t} << kTileLog2;
      consumer.Begin(base, static_cast<int>(std::min<int64_t>(kTileElements, elements - base)));
      consumer.Take(&s.first[4 * t + 1], std::min(arrivals[t], kFirstPayloads));
      if (arrivals[t] > kFirstPayloads) {
        const uint32_t rest = arrivals[t] - kFirstPayloads;
        consumer.Take(more, rest);
        more += (rest + 3) / 4 * 4;
      }
      consumer.End();
    }
  }
}

template <typename Consumer>
void DenseTiles(const FaultStep& step, const PhiloxBatch& batch, int64_t elements, TileScratch& s,
                Consumer& consumer) {
  const int cells_log2 = step.one_fault ? 0 : step.cells_log2;
  const int units_per_block_log2 = step.dense_pairs ? 1 : 2;
  const int stride = step.dense_pairs ? 2 : 1;  // words per unit
  uint32_t hits[kTileElements];                 // of one cell range: unit within the tile
  for (int64_t base = 0; base < elements; base += kTileElements) {
    const auto n = static_cast<uint32_t>(std::min<int64_t>(kTileElements, elements - base));
    const uint32_t units = n << cells_log2;
    const auto first_block = static_cast<uint32_t>((base << cells_log2) >> units_per_block_log2);
    s.word0.resize((units + (1u << units_per_block_log2) - 1) >> units_per_block_log2);
    for (uint32_t i = 0; i < s.word0.size(); ++i) s.word0[i] = first_block + i;
    BlocksOf(batch, s.word0, s.blocks);
    consumer.Begin(base, static_cast<int>(n));
    const uint32_t* draws = s.blocks.data();
    for (uint32_t begin = 0; begin < units; begin += kTileElements) {
      const uint32_t end = std::min(units, begin + kTileElements);
      uint32_t count = 0;
      for (uint32_t u = begin; u < end; ++u) {
        hits[count] = u;
        count += draws[u * stride] <= step.dense_last ? 1 : 0;
      }
      for (uint32_t i = 0; i < count; ++i) {
        const uint32_t u = hits[i];
        const uint32_t extra = step.dense_pairs ? draws[u * stride + 1] : 0;
        hits[i] = DensePayload(step, u >> cells_log2, u & ((1u << cells_log2) - 1),
                               draws[u * stride], extra);
      }
      consumer.Take(hits, count);
    }
    consumer.End();
  }
}

}  // namespace ftt
