#include "faults/collect_strikes.h"

#include <algorithm>
#include <array>

#include "faults/x86_intrinsics.h"

#ifdef FTT_X86_INTRINSICS

namespace ftt {
namespace {

#define FTT_AVX2_TARGET __attribute__((target("avx2,popcnt")))

// By the bits of eight lanes: the lanes whose bit is set, in order, then lane 0.
constexpr std::array<uint64_t, 256> MakeCompress() {
  std::array<uint64_t, 256> table{};
  for (uint64_t bits = 0; bits < 256; ++bits) {
    int count = 0;
    for (uint64_t lane = 0; lane < 8; ++lane) {
      if ((bits >> lane & 1) != 0) table[bits] |= lane << (8 * count++);
    }
  }
  return table;
}

constexpr std::array<uint64_t, 256> kCompress = MakeCompress();

// Sum of the eight lanes, each two numbers of 16 bits.
FTT_AVX2_TARGET uint32_t SumLanes(__m256i v) {
  __m128i sum = _mm_add_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0x4E));
  sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0xB1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(sum));
}

// Turns vectors of payloads into strikes and counts them by kind.
class Collector {
 public:
  FTT_AVX2_TARGET Collector(const FaultStep& step, uint32_t elements, uint32_t* strikes)
      : threshold_(_mm256_set1_epi32(static_cast<int>(step.one_threshold << kPayloadTypeShift))),
        elements_(_mm256_set1_epi32(static_cast<int>(elements))),
        strikes_(strikes) {}

  // tiles: of each lane, within the chunk. lanes: all bits of a lane set where it counts. Nothing
  // here reaches 2^31, so that signed comparisons do.
  FTT_AVX2_TARGET void Take(__m256i payloads, __m256i tiles, __m256i lanes) {
    const __m256i element = _mm256_or_si256(_mm256_slli_epi32(tiles, kTileLog2),
                                            _mm256_srli_epi32(payloads, kPayloadPositionShift));
    lanes = _mm256_and_si256(lanes, _mm256_cmpgt_epi32(elements_, element));
    const __m256i type = _mm256_and_si256(
        payloads, _mm256_set1_epi32(static_cast<int>(kTypeMask << kPayloadTypeShift)));
    const __m256i above = _mm256_cmpgt_epi32(threshold_, type);
    const __m256i cell = _mm256_and_si256(payloads, _mm256_set1_epi32(7));
    const __m256i kind = _mm256_or_si256(cell, _mm256_and_si256(above, _mm256_set1_epi32(8)));
    const __m256i strike =
        _mm256_or_si256(_mm256_slli_epi32(element, 16), _mm256_slli_epi32(kind, 8));
    const auto bits = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(lanes)));
    const __m256i order =
        _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(kCompress[bits])));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(strikes_ + count),
                        _mm256_permutevar8x32_epi32(strike, order));
    count += static_cast<uint32_t>(__builtin_popcount(bits));
    // A byte per kind and lane, four kinds to a word.
    const __m256i one = _mm256_and_si256(
        lanes,
        _mm256_sllv_epi32(_mm256_set1_epi32(1),
                          _mm256_slli_epi32(_mm256_and_si256(cell, _mm256_set1_epi32(3)), 3)));
    const __m256i quad = _mm256_srli_epi32(kind, 2);
    for (int i = 0; i < 4; ++i) {
      counters_[i] = _mm256_add_epi32(
          counters_[i], _mm256_and_si256(one, _mm256_cmpeq_epi32(quad, _mm256_set1_epi32(i))));
    }
    if (++taken_ == 255) Flush();
  }

  // Empties the counters into the histogram.
  FTT_AVX2_TARGET void Flush() {
    const __m256i low = _mm256_set1_epi32(0x00FF00FF);
    for (int i = 0; i < 4; ++i) {
      const uint32_t even = SumLanes(_mm256_and_si256(counters_[i], low));
      const uint32_t odd = SumLanes(_mm256_and_si256(_mm256_srli_epi16(counters_[i], 8), low));
      histogram[4 * i] += even & 0xFFFF;
      histogram[4 * i + 1] += odd & 0xFFFF;
      histogram[4 * i + 2] += even >> 16;
      histogram[4 * i + 3] += odd >> 16;
      counters_[i] = _mm256_setzero_si256();
    }
    taken_ = 0;
  }

  uint32_t count = 0;
  uint32_t histogram[16] = {};

 private:
  __m256i counters_[4] = {};
  __m256i threshold_, elements_;
  uint32_t* strikes_;
  int taken_ = 0;
};

FTT_AVX2_TARGET __m256i Load(const uint32_t* words) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
}

FTT_AVX2_TARGET __m256i Halves(uint32_t low, uint32_t high) {
  return _mm256_set_m128i(_mm_set1_epi32(static_cast<int>(high)),
                          _mm_set1_epi32(static_cast<int>(low)));
}

}  // namespace

FTT_AVX2_TARGET uint32_t CollectStrikesAvx2(const FaultStep& step, const PhiloxBatch& batch,
                                            uint32_t first_tile, uint32_t tiles, uint32_t elements,
                                            StrikeScratch& s, uint32_t* histogram) {
  uint32_t word0[kChunkTiles], first[4 * kChunkTiles];
  for (uint32_t t = 0; t < kChunkTiles; ++t) word0[t] = SparseWord0(first_tile + t, 0);
  PhiloxBlocks(batch, word0, static_cast<int>(tiles), first);
  uint32_t arrivals[kChunkTiles] = {}, blocks = 0;
  for (uint32_t t = 0; t < tiles; ++t) {
    arrivals[t] = ArrivalCount(step, first[4 * t]);
    blocks += arrivals[t] / 4;  // (arrivals - 3) / 4 rounded up
  }
  s.Reserve(blocks);
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  uint32_t* next = s.word0.data();
  for (uint32_t t = 0; t < tiles; ++t) {
    const uint32_t more = arrivals[t] / 4;
    const uint32_t word = SparseWord0(first_tile + t, 1);
    for (uint32_t b = 0; b < more; b += 8) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(next + b),
                          _mm256_add_epi32(lane, _mm256_set1_epi32(static_cast<int>(word + b))));
    }
    next += more;
  }
  PhiloxBlocks(batch, s.word0.data(), static_cast<int>(blocks), s.blocks.data());

  Collector collector(step, elements, s.strikes.data());
  // Word w of block 0 holds arrival w - 1, word 0 none.
  const __m256i arrival = _mm256_setr_epi32(1 << 30, 0, 1, 2, 1 << 30, 0, 1, 2);
  for (uint32_t t = 0; t < tiles; t += 2) {
    collector.Take(Load(first + 4 * t), Halves(t, t + 1),
                   _mm256_cmpgt_epi32(Halves(arrivals[t], arrivals[t + 1]), arrival));
  }
  // Word w of block k > 0 holds arrival 4 k + w - 1.
  const __m256i word = _mm256_setr_epi32(-1, 0, 1, 2, -1, 0, 1, 2);
  const auto tile_of = [&](uint32_t b) { return (s.word0[b] >> kTileBlocksLog2) - first_tile; };
  const auto block_of = [&](uint32_t b) {
    return (s.word0[b] & ((1u << kTileBlocksLog2) - 1)) << 2;
  };
  for (uint32_t b = 0; b < blocks; b += 2) {
    const uint32_t second = std::min(b + 1, blocks - 1), t0 = tile_of(b), t1 = tile_of(second);
    const uint32_t more = b + 1 < blocks ? arrivals[t1] : 0;
    collector.Take(
        Load(s.blocks.data() + 4 * b), Halves(t0, t1),
        _mm256_cmpgt_epi32(Halves(arrivals[t0], more),
                           _mm256_add_epi32(Halves(block_of(b), block_of(second)), word)));
  }
  collector.Flush();
  for (int kind = 0; kind < 16; ++kind) histogram[kind] += collector.histogram[kind];
  return collector.count;
}

}  // namespace ftt

#endif
