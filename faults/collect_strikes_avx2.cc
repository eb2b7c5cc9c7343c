#include "faults/collect_strikes.h"

#include <algorithm>
#include <cstring>

#include "faults/x86_intrinsics.h"

#ifdef FTT_X86_INTRINSICS

namespace ftt {
namespace {

#define FTT_AVX2_TARGET __attribute__((target("avx2")))

constexpr int kElementShift = 16;  // of a Strike as one word
constexpr int kTileShift = kElementShift + kTileLog2;

FTT_AVX2_TARGET __m256i Broadcast(uint32_t value) {
  return _mm256_set1_epi32(static_cast<int>(value));
}

FTT_AVX2_TARGET void Store(void* to, __m256i words) {
  _mm256_storeu_si256(static_cast<__m256i*>(to), words);
}

// Turns the words of two blocks at a time into strikes.
class Converter {
 public:
  FTT_AVX2_TARGET Converter(const FaultStep& step, uint32_t first_tile)
      : threshold_(Broadcast(step.one_threshold << kPayloadTypeShift)),
        first_tile_(Broadcast(first_tile << kTileShift)) {}

  // word0: counter words 0 of the blocks, which name their tiles.
  FTT_AVX2_TARGET __m256i Strikes(const uint32_t* blocks, const uint32_t* word0) const {
    const __m256i payloads = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(blocks));
    const __m256i both =
        _mm256_broadcastq_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(word0)));
    const __m256i counter = _mm256_castps_si256(
        _mm256_permutevar_ps(_mm256_castsi256_ps(both), _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1)));
    const __m256i tile = _mm256_sub_epi32(
        _mm256_slli_epi32(_mm256_srli_epi32(counter, kTileBlocksLog2), kTileShift), first_tile_);
    const __m256i position =
        _mm256_and_si256(_mm256_srli_epi32(payloads, kPayloadPositionShift - kElementShift),
                         Broadcast((kTileElements - 1) << kElementShift));
    // Types stay below 2^31, so a signed comparison does.
    const __m256i type = _mm256_and_si256(payloads, Broadcast(kTypeMask << kPayloadTypeShift));
    const __m256i positive = _mm256_and_si256(_mm256_cmpgt_epi32(threshold_, type), Broadcast(8));
    const __m256i cell = _mm256_and_si256(payloads, Broadcast(7));
    return _mm256_or_si256(_mm256_or_si256(tile, position), _mm256_or_si256(positive, cell));
  }

 private:
  __m256i threshold_, first_tile_;
};

FTT_AVX2_TARGET void StoreFour(Strike* to, __m128i strikes) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), strikes);
}

// Words 1 to 3 of a tile's first block: word 0 is the number of arrivals.
FTT_AVX2_TARGET void StoreThree(Strike* to, __m128i strikes) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_srli_si128(strikes, 4));
  const int last = _mm_extract_epi32(strikes, 3);
  std::memcpy(to + 2, &last, sizeof last);
}

// Counter words 0 and places of the blocks that follow the tiles' first ones. begin: [tiles + 1],
// where in the list of strikes each tile's begin.
FTT_AVX2_TARGET void PlaceBlocks(const uint32_t* begin, uint32_t first_tile, uint32_t tiles,
                                 StrikeScratch& s) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  uint32_t next = 0;
  for (uint32_t t = 0; t < tiles; ++t) {
    const uint32_t more = (begin[t + 1] - begin[t]) / 4;
    const __m256i first = Broadcast(SparseWord0(first_tile + t, 1)),
                  place = Broadcast(begin[t] + 3);
    for (uint32_t b = 0; b < more; b += 8) {
      const __m256i block = _mm256_add_epi32(lane, Broadcast(b));
      Store(&s.word0[next + b], _mm256_add_epi32(first, block));
      Store(&s.places[next + b], _mm256_add_epi32(place, _mm256_slli_epi32(block, 2)));
    }
    next += more;
  }
}

}  // namespace

FTT_AVX2_TARGET uint32_t CollectStrikesAvx2(const FaultStep& step, const PhiloxBatch& batch,
                                            uint32_t first_tile, uint32_t tiles, uint32_t elements,
                                            StrikeScratch& s) {
  uint32_t word0[kChunkTiles], first[4 * kChunkTiles], begin[kChunkTiles + 1];
  for (uint32_t t = 0; t < kChunkTiles; ++t) word0[t] = SparseWord0(first_tile + t, 0);
  PhiloxBlocks(batch, word0, static_cast<int>(tiles), first);
  uint32_t count = 0, blocks = 0;
  for (uint32_t t = 0; t < tiles; ++t) {
    const uint32_t arrivals = ArrivalCount(step, first[4 * t]);
    begin[t] = count;
    count += arrivals;
    blocks += arrivals / 4;  // (arrivals - 3) / 4 rounded up
  }
  begin[tiles] = count;
  s.Reserve(blocks);
  PlaceBlocks(begin, first_tile, tiles, s);
  s.places[blocks] = count;
  PhiloxBlocks(batch, s.word0.data(), static_cast<int>(blocks), s.blocks.data());

  // Whole blocks are stored. What a tile's last block has too many lies where the first words of
  // the tiles after it go, which are stored later.
  const Converter converter(step, first_tile);
  Strike* strikes = s.strikes.data();
  for (uint32_t b = 0; b < blocks; b += 2) {
    const __m256i two = converter.Strikes(&s.blocks[4 * b], &s.word0[b]);
    StoreFour(strikes + s.places[b], _mm256_castsi256_si128(two));
    StoreFour(strikes + s.places[b + 1], _mm256_extracti128_si256(two, 1));
  }
  for (uint32_t t = 0; t < tiles; t += 2) {
    const __m256i two = converter.Strikes(first + 4 * t, word0 + t);
    StoreThree(strikes + begin[t], _mm256_castsi256_si128(two));
    if (t + 1 < tiles) StoreThree(strikes + begin[t + 1], _mm256_extracti128_si256(two, 1));
  }
  if (elements == tiles << kTileLog2) return count;
  const auto beyond = [elements](Strike strike) { return strike.element >= elements; };
  return static_cast<uint32_t>(std::remove_if(strikes + begin[tiles - 1], strikes + count, beyond) -
                               strikes);
}

}  // namespace ftt

#endif
