// Works on a chunk of tiles at a time. Their payloads become strikes without gaps, by vectors and
// almost without branches; then one loop applies them. A code that was struck before is left alone:
// such strikes are rare.
#include "faults/bias_strikes.h"

#include <algorithm>
#include <array>
#include <type_traits>

#include "faults/collect_strikes.h"
#include "faults/x86_intrinsics.h"

namespace ftt {

#ifdef FTT_X86_INTRINSICS
namespace {

// By kind and code: the biased code, and 256 where it saturated if Result has room for that.
template <typename Result>
constexpr std::array<std::array<Result, 256>, 16> MakeBiased() {
  std::array<std::array<Result, 256>, 16> table{};
  for (uint32_t kind = 0; kind < 16; ++kind) {
    const int bias = 1 << (kind & 7);
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const int value = static_cast<int8_t>(byte) + (kind < 8 ? -bias : bias);
      const int code = std::clamp(value, -128, 127);
      table[kind][byte] =
          static_cast<Result>(static_cast<uint8_t>(code) | (code != value ? 256 : 0));
    }
  }
  return table;
}

template <typename Result>
constexpr std::array<std::array<Result, 256>, 16> kBiased = MakeBiased<Result>();

// By element within its tile, the last tile that was struck there. Strikes come tile by tile, so a
// table of one tile does, and stays in the first-level cache.
struct LastStruck {
  uint32_t by_element[kTileElements] = {};
  uint32_t tile = 0;  // of this thread's, counted from 1

  // Returns the number of the first of that many tiles.
  uint32_t Next(uint32_t tiles) {
    if (tile > UINT32_MAX - tiles) *this = {};
    tile += tiles;
    return tile - tiles + 1;
  }
};

// Not inline: there the compiler would look up the thread's scratch memory for every strike.
template <bool kMask>
__attribute__((noinline)) void Apply(const Strike* __restrict strikes, uint32_t count,
                                     uint32_t first_tile, uint32_t* __restrict last_struck,
                                     int8_t* __restrict codes, uint8_t* __restrict pass,
                                     uint32_t* __restrict histogram) {
  using Result = std::conditional_t<kMask, uint16_t, uint8_t>;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t kind = strikes[i].kind, element = strikes[i].element;
    const uint32_t tile = first_tile + (element >> kTileLog2);
    uint32_t& last = last_struck[element & (kTileElements - 1)];
    if (last == tile) [[unlikely]]
      continue;
    last = tile;
    ++histogram[kind];
    const auto code = static_cast<uint8_t>(codes[element]);
    const uint32_t result = kBiased<Result>[kind][code];
    codes[element] = static_cast<int8_t>(result);
    if (kMask) {
      const uint32_t stop = result >> 8;
      pass[element >> 3] = static_cast<uint8_t>(pass[element >> 3] & ~(stop << (element & 7)));
    }
  }
}

}  // namespace

bool CanStrikeBiases(const FaultStep& step) {
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  return has_avx2 && step.sampler == Sampler::kSparse && step.bits == 8 && step.first_cell == 0 &&
         step.cells_log2 == 3;
}

void StrikeBiases(const FaultStep& step, const PhiloxBatch& batch, int8_t* codes, int64_t elements,
                  uint8_t* pass_mask, uint32_t histogram[16]) {
  constexpr uint32_t kChunkArrivals = 16384;  // keeps a chunk in the cache
  static thread_local StrikeScratch scratch;
  static thread_local LastStruck last_struck;
  const auto all = static_cast<uint32_t>((elements + kTileElements - 1) >> kTileLog2);
  const uint32_t most = step.count_first + step.count_size;
  const uint32_t chunk = std::clamp<uint32_t>(kChunkArrivals / (most + 1), 1, kChunkTiles);
  for (uint32_t tile = 0; tile < all; tile += chunk) {
    const uint32_t tiles = std::min(chunk, all - tile);
    const int64_t base = int64_t{tile} << kTileLog2;
    const auto count =
        static_cast<uint32_t>(std::min<int64_t>(tiles << kTileLog2, elements - base));
    const uint32_t strikes = CollectStrikesAvx2(step, batch, tile, tiles, count, scratch);
    uint8_t* pass = pass_mask == nullptr ? nullptr : pass_mask + base / 8;
    (pass == nullptr ? Apply<false> : Apply<true>)(scratch.strikes.data(), strikes,
                                                   last_struck.Next(tiles), last_struck.by_element,
                                                   codes + base, pass, histogram);
  }
}

#else

bool CanStrikeBiases(const FaultStep&) { return false; }
void StrikeBiases(const FaultStep&, const PhiloxBatch&, int8_t*, int64_t, uint8_t*, uint32_t*) {}

#endif

}  // namespace ftt
