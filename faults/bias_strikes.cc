// Works on 16 tiles at a time. Their payloads become strikes, words of (element, kind) without
// gaps, by vectors and without a branch per tile; then one loop applies them. A code that was
// struck before is left alone, and that strike taken out of the histogram again: such strikes are
// rare.
#include "faults/bias_strikes.h"

#include <algorithm>
#include <array>

#include "faults/collect_strikes.h"
#include "faults/x86_intrinsics.h"

namespace ftt {

#ifdef FTT_X86_INTRINSICS
namespace {

// By kind << 8 | code: the biased code, and 256 where it saturated.
constexpr std::array<uint16_t, 16 * 256> MakeBiased() {
  std::array<uint16_t, 16 * 256> table{};
  for (int kind = 0; kind < 16; ++kind) {
    for (int byte = 0; byte < 256; ++byte) {
      const int bias = 1 << (kind & 7);
      const int value = static_cast<int8_t>(byte) + (kind < 8 ? -bias : bias);
      const int code = std::clamp(value, -128, 127);
      table[static_cast<size_t>(kind << 8 | byte)] =
          static_cast<uint16_t>(static_cast<uint8_t>(code) | (code != value ? 256 : 0));
    }
  }
  return table;
}

constexpr std::array<uint16_t, 16 * 256> kBiased = MakeBiased();

// Not inline: there the compiler would look up the thread's scratch memory for every strike.
template <bool kMask>
__attribute__((noinline)) void Apply(const uint32_t* __restrict strikes, uint32_t count,
                                     uint8_t chunk, uint8_t* __restrict seen,
                                     int8_t* __restrict codes, uint8_t* __restrict pass,
                                     uint32_t* histogram) {
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t strike = strikes[i], element = strike >> 16;
    if (seen[element] == chunk) [[unlikely]] {
      --histogram[strike >> 8 & 15];
      continue;
    }
    seen[element] = chunk;
    const auto code = static_cast<uint8_t>(codes[element]);
    const uint32_t result = kBiased[(strike & 0xFFFF) | code];
    codes[element] = static_cast<int8_t>(result);
    if (kMask) {
      const uint32_t stop = result >> 8;
      pass[element >> 3] = static_cast<uint8_t>(pass[element >> 3] & ~(stop << (element & 7)));
    }
  }
}

}  // namespace

int StrikeVariants() {
  static const int count = [] {
    if (!__builtin_cpu_supports("avx2")) return 0;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
               ? 2
               : 1;
  }();
  return count;
}

bool CanStrikeBiases(const FaultStep& step) {
  return step.sampler == Sampler::kSparse && step.bits == 8 && step.first_cell == 0 &&
         step.cells_log2 == 3 && StrikeVariants() > 0;
}

void StrikeBiases(const FaultStep& step, const PhiloxBatch& batch, int8_t* codes, int64_t elements,
                  uint8_t* pass_mask, uint32_t histogram[16], int variant) {
  static thread_local StrikeScratch thread_scratch;
  StrikeScratch& scratch = thread_scratch;
  const CollectStrikes collect = variant == 0 ? CollectStrikesAvx2 : CollectStrikesAvx512;
  for (int64_t base = 0; base < elements; base += kChunkElements) {
    const auto count = static_cast<uint32_t>(std::min<int64_t>(kChunkElements, elements - base));
    const uint32_t tiles = (count + kTileElements - 1) >> kTileLog2;
    const uint32_t strikes = collect(step, batch, static_cast<uint32_t>(base >> kTileLog2), tiles,
                                     count, scratch, histogram);
    const uint8_t chunk = scratch.NextChunk();
    uint8_t* pass = pass_mask == nullptr ? nullptr : pass_mask + base / 8;
    (pass == nullptr ? Apply<false> : Apply<true>)(scratch.strikes.data(), strikes, chunk,
                                                   scratch.seen, codes + base, pass, histogram);
  }
}

#else

int StrikeVariants() { return 0; }
bool CanStrikeBiases(const FaultStep&) { return false; }
void StrikeBiases(const FaultStep&, const PhiloxBatch&, int8_t*, int64_t, uint8_t*, uint32_t*,
                  int) {}

#endif

}  // namespace ftt
