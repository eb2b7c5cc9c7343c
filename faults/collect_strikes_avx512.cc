#include "faults/collect_strikes.h"

#include <algorithm>

#include "faults/x86_intrinsics.h"

#ifdef FTT_X86_INTRINSICS

namespace ftt {
namespace {

#define FTT_AVX512_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

// Turns vectors of payloads into strikes and counts them by kind.
class Collector {
 public:
  FTT_AVX512_TARGET Collector(const FaultStep& step, uint32_t elements, uint32_t* strikes)
      : threshold_(_mm512_set1_epi32(static_cast<int>(step.one_threshold << kPayloadTypeShift))),
        elements_(_mm512_set1_epi32(static_cast<int>(elements))),
        strikes_(strikes) {}

  // tiles: of each lane, within the chunk. Lanes outside `lanes` do not count.
  FTT_AVX512_TARGET void Take(__m512i payloads, __m512i tiles, __mmask16 lanes) {
    const __m512i element = _mm512_or_si512(_mm512_slli_epi32(tiles, kTileLog2),
                                            _mm512_srli_epi32(payloads, kPayloadPositionShift));
    lanes = _mm512_mask_cmplt_epu32_mask(lanes, element, elements_);
    const __m512i type = _mm512_and_si512(
        payloads, _mm512_set1_epi32(static_cast<int>(kTypeMask << kPayloadTypeShift)));
    const __mmask16 positive = _mm512_mask_cmplt_epu32_mask(lanes, type, threshold_);
    const __m512i cell = _mm512_and_si512(payloads, _mm512_set1_epi32(7));
    const __m512i kind = _mm512_mask_or_epi32(cell, positive, cell, _mm512_set1_epi32(8));
    const __m512i strike =
        _mm512_or_si512(_mm512_slli_epi32(element, 16), _mm512_slli_epi32(kind, 8));
    _mm512_storeu_si512(strikes_ + count, _mm512_maskz_compress_epi32(lanes, strike));
    count += static_cast<uint32_t>(__builtin_popcount(lanes));
    // A byte per cell and lane, four cells to a word.
    const __m512i one = _mm512_sllv_epi32(
        _mm512_set1_epi32(1), _mm512_slli_epi32(_mm512_and_si512(cell, _mm512_set1_epi32(3)), 3));
    const __mmask16 upper = _mm512_test_epi32_mask(cell, _mm512_set1_epi32(4));
    const auto negative = static_cast<__mmask16>(lanes & ~positive);
    low_[0] = _mm512_mask_add_epi32(low_[0], negative & ~upper, low_[0], one);
    high_[0] = _mm512_mask_add_epi32(high_[0], negative & upper, high_[0], one);
    low_[1] = _mm512_mask_add_epi32(low_[1], positive & ~upper, low_[1], one);
    high_[1] = _mm512_mask_add_epi32(high_[1], positive & upper, high_[1], one);
    if (++taken_ == 255) Flush();
  }

  // Empties the counters into the histogram.
  FTT_AVX512_TARGET void Flush() {
    for (int sign = 0; sign < 2; ++sign) {
      for (int half = 0; half < 2; ++half) {
        __m512i& counter = half == 0 ? low_[sign] : high_[sign];
        for (int cell = 0; cell < 4; ++cell) {
          const __m512i bytes = _mm512_and_si512(
              _mm512_srli_epi32(counter, static_cast<unsigned>(8 * cell)), _mm512_set1_epi32(255));
          histogram[8 * sign + 4 * half + cell] +=
              static_cast<uint32_t>(_mm512_reduce_add_epi32(bytes));
        }
        counter = _mm512_setzero_si512();
      }
    }
    taken_ = 0;
  }

  uint32_t count = 0;
  uint32_t histogram[16] = {};

 private:
  __m512i low_[2] = {}, high_[2] = {};
  __m512i threshold_, elements_;
  uint32_t* strikes_;
  int taken_ = 0;
};

}  // namespace

FTT_AVX512_TARGET uint32_t CollectStrikesAvx512(const FaultStep& step, const PhiloxBatch& batch,
                                                uint32_t first_tile, uint32_t tiles,
                                                uint32_t elements, StrikeScratch& s,
                                                uint32_t* histogram) {
  uint32_t word0[kChunkTiles], first[4 * kChunkTiles];
  for (uint32_t t = 0; t < kChunkTiles; ++t) word0[t] = SparseWord0(first_tile + t, 0);
  PhiloxBlocks(batch, word0, static_cast<int>(tiles), first);
  uint32_t arrivals[kChunkTiles] = {}, blocks = 0;
  for (uint32_t t = 0; t < tiles; ++t) {
    arrivals[t] = ArrivalCount(step, first[4 * t]);
    blocks += arrivals[t] / 4;  // (arrivals - 3) / 4 rounded up
  }
  s.Reserve(blocks);
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  uint32_t* next = s.word0.data();
  for (uint32_t t = 0; t < tiles; ++t) {
    const uint32_t more = arrivals[t] / 4;
    const uint32_t word = SparseWord0(first_tile + t, 1);
    for (uint32_t b = 0; b < more; b += 16) {
      _mm512_storeu_si512(next + b,
                          _mm512_add_epi32(lane, _mm512_set1_epi32(static_cast<int>(word + b))));
    }
    next += more;
  }
  PhiloxBlocks(batch, s.word0.data(), static_cast<int>(blocks), s.blocks.data());

  Collector collector(step, elements, s.strikes.data());
  const __m512i counts = _mm512_loadu_si512(arrivals);
  const __m512i word = _mm512_and_si512(lane, _mm512_set1_epi32(3));
  const __m512i quad = _mm512_srli_epi32(lane, 2);  // the block of a lane's word
  for (uint32_t t = 0; t < tiles; t += 4) {
    const __m512i tile = _mm512_add_epi32(quad, _mm512_set1_epi32(static_cast<int>(t)));
    const __m512i n = _mm512_permutexvar_epi32(tile, counts);
    // Word w holds arrival w - 1, word 0 none.
    const __mmask16 lanes = _mm512_mask_cmple_epu32_mask(0xEEEE, word, n);
    collector.Take(_mm512_loadu_si512(first + 4 * t), tile, lanes);
  }
  for (uint32_t b = 0; b < blocks; b += 4) {
    const __m512i at = _mm512_permutexvar_epi32(
        quad, _mm512_castsi128_si512(
                  _mm_loadu_si128(reinterpret_cast<const __m128i*>(s.word0.data() + b))));
    const __m512i tile = _mm512_sub_epi32(_mm512_srli_epi32(at, kTileBlocksLog2),
                                          _mm512_set1_epi32(static_cast<int>(first_tile)));
    const __m512i block = _mm512_and_si512(at, _mm512_set1_epi32((1 << kTileBlocksLog2) - 1));
    // Word w of block k > 0 holds arrival 4 k + w - 1.
    const __m512i arrival = _mm512_add_epi32(_mm512_slli_epi32(block, 2), word);
    const uint32_t words = 4 * std::min(blocks - b, 4u);
    const __mmask16 lanes = _mm512_mask_cmple_epu32_mask(
        static_cast<__mmask16>((1u << words) - 1), arrival, _mm512_permutexvar_epi32(tile, counts));
    collector.Take(_mm512_loadu_si512(s.blocks.data() + 4 * b), tile, lanes);
  }
  collector.Flush();
  for (int kind = 0; kind < 16; ++kind) histogram[kind] += collector.histogram[kind];
  return collector.count;
}

}  // namespace ftt

#endif
