// Compiled for AVX2; runs only where PairConv::Available().
#include "kernels/cpu/pair_avx2.h"

#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/unroll.h"

namespace ftt::cpu {
namespace {

constexpr int kPixels = 6;  // of a tile; by 16 channels the sums take 12 of 16 registers

struct Tile {
  const uint8_t* x[kPixels];
  int32_t* sums;
  int64_t sum_step;
};

inline __m256i Load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

// The products of 4 bytes of codes, in every lane of x, with the weights of 8 channels.
template <bool kRelu>
inline __m256i Products(__m256i x, __m256i weights) {
  if (!kRelu) return _mm256_madd_epi16(x, weights);
  return _mm256_madd_epi16(_mm256_maddubs_epi16(x, weights), _mm256_set1_epi16(1));
}

// kCount pixels by kVectors of 8 channels.
template <bool kRelu, int kVectors, int kCount>
void Multiply(const PairSteps& steps, const Tile& tile) {
  __m256i sum[kCount][kVectors];
  FTT_UNROLL
  for (auto& pixel : sum) {
    FTT_UNROLL
    for (__m256i& v : pixel) v = _mm256_setzero_si256();
  }
  const int8_t* w = steps.weights;
  for (int i = 0; i < steps.count; ++i, w += 32 * kVectors) {
    const int64_t at = steps.offsets[i];
    __m256i weights[kVectors];
    FTT_UNROLL
    for (int v = 0; v < kVectors; ++v) weights[v] = Load(w + 32 * v);
    FTT_UNROLL
    for (int p = 0; p < kCount; ++p) {
      int32_t codes;
      std::memcpy(&codes, tile.x[p] + at, sizeof codes);
      const __m256i x = _mm256_set1_epi32(codes);
      FTT_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        sum[p][v] = _mm256_add_epi32(sum[p][v], Products<kRelu>(x, weights[v]));
        // Keeps GCC from holding a sum in two registers, and so from spilling the others.
        asm("" : "+x"(sum[p][v]));
      }
    }
  }
  int32_t* to = tile.sums;
  FTT_UNROLL
  for (int p = 0; p < kCount; ++p, to += tile.sum_step) {
    FTT_UNROLL
    for (int v = 0; v < kVectors; ++v)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 8 * v), sum[p][v]);
  }
}

// Up to kPixels pixels by 4 channels: two pixels share a vector.
template <bool kRelu>
void MultiplyFour(const PairSteps& steps, const Tile& tile, int count) {
  constexpr int kPairs = kPixels / 2;
  const uint8_t* x[kPixels];
  for (int p = 0; p < kPixels; ++p) x[p] = tile.x[p < count ? p : 0];
  const auto codes = [&](int p, int64_t at) {
    int32_t four;
    std::memcpy(&four, x[p] + at, sizeof four);
    return _mm256_set1_epi32(four);
  };
  __m256i sum[kPairs];
  FTT_UNROLL
  for (__m256i& v : sum) v = _mm256_setzero_si256();
  const int8_t* w = steps.weights;
  for (int i = 0; i < steps.count; ++i, w += 16) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w));
    const __m256i weights = _mm256_broadcastsi128_si256(half);
    FTT_UNROLL
    for (int p = 0; p < kPairs; ++p) {
      const int64_t at = steps.offsets[i];
      const __m256i two = _mm256_blend_epi32(codes(2 * p, at), codes(2 * p + 1, at), 0xf0);
      sum[p] = _mm256_add_epi32(sum[p], Products<kRelu>(two, weights));
    }
  }
  alignas(32) int32_t sums[kPixels][4];
  std::memcpy(sums, sum, sizeof sums);
  for (int p = 0; p < count; ++p)
    std::memcpy(tile.sums + p * tile.sum_step, sums[p], sizeof sums[p]);
}

template <bool kRelu, int kChannels>
void Multiply(const PairSteps& steps, const Tile& tile, int count) {
  if constexpr (kChannels == 4) {
    MultiplyFour<kRelu>(steps, tile, count);
  } else {
    constexpr int kVectors = kChannels / 8;
    switch (count) {
      case 1:
        return Multiply<kRelu, kVectors, 1>(steps, tile);
      case 2:
        return Multiply<kRelu, kVectors, 2>(steps, tile);
      case 3:
        return Multiply<kRelu, kVectors, 3>(steps, tile);
      case 4:
        return Multiply<kRelu, kVectors, 4>(steps, tile);
      case 5:
        return Multiply<kRelu, kVectors, 5>(steps, tile);
      default:
        return Multiply<kRelu, kVectors, kPixels>(steps, tile);
    }
  }
}

template <bool kRelu, int kChannels>
void Rows(const PairPlan& plan, const PairSteps& steps, const uint8_t* staged, int rows,
          int32_t* sums) {
  const DirectShape& s = plan.shape;
  const int64_t pixel = plan.step * plan.PixelBytes(), row = plan.staged_w * pixel;
  Tile tile;
  tile.sums = sums + steps.channel;
  tile.sum_step = s.out_c;
  int column = 0;
  for (int left = rows * s.out_w; left > 0; left -= kPixels) {
    const int count = left < kPixels ? left : kPixels;
    for (int p = 0; p < count; ++p) {
      tile.x[p] = staged + column * pixel;
      if (++column < s.out_w) continue;
      column = 0;
      staged += row;
    }
    Multiply<kRelu, kChannels>(steps, tile, count);
    tile.sums += kPixels * tile.sum_step;
  }
}

void StageCodes(const int8_t* from, int64_t n, bool relu, uint8_t* to) {
  int64_t i = 0;
  if (relu) {
    for (; i + 32 <= n; i += 32) {
      const __m256i v = _mm256_max_epi8(Load(from + i), _mm256_setzero_si256());
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), v);
    }
    for (; i < n; ++i) to[i] = static_cast<uint8_t>(from[i] > 0 ? from[i] : 0);
    return;
  }
  auto* wide = reinterpret_cast<int16_t*>(to);
  for (; i + 16 <= n; i += 16) {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(wide + i), _mm256_cvtepi8_epi16(v));
  }
  for (; i < n; ++i) wide[i] = from[i];
}

}  // namespace

void PairStageAvx2(const PairPlan& plan, const int8_t* x, int in_h, int first, int rows,
                   uint8_t* staged) {
  const DirectShape& s = plan.shape;
  const int64_t pixel = plan.PixelBytes();
  int begin = 0, end = plan.staged_w;  // staged pixels inside the image
  while (begin < end && begin * plan.sample < s.pad) ++begin;
  while (end > begin && (end - 1) * plan.sample - s.pad >= s.in_w) --end;
  for (int r = 0; r < rows; ++r, staged += plan.staged_w * pixel) {
    const int y = (first + r) * plan.sample - s.pad;
    if (y < 0 || y >= in_h) {
      std::memset(staged, 0, static_cast<size_t>(plan.staged_w * pixel));
      continue;
    }
    const int8_t* from = x + (int64_t{y} * s.in_w + begin * plan.sample - s.pad) * s.in_c;
    uint8_t* to = staged + begin * pixel;
    if (plan.sample == 1) {
      StageCodes(from, int64_t{end - begin} * s.in_c, plan.relu, to);
      continue;
    }
    for (int p = begin; p < end; ++p, from += int64_t{plan.sample} * s.in_c, to += pixel)
      StageCodes(from, s.in_c, plan.relu, to);
  }
}

void PairRowsAvx2(const PairPlan& plan, const PairSteps& steps, const uint8_t* staged, int rows,
                  int32_t* sums) {
  auto* const run = steps.channels == 16  ? (plan.relu ? Rows<true, 16> : Rows<false, 16>)
                    : steps.channels == 8 ? (plan.relu ? Rows<true, 8> : Rows<false, 8>)
                                          : (plan.relu ? Rows<true, 4> : Rows<false, 4>);
  run(plan, steps, staged, rows, sums);
}

}  // namespace ftt::cpu
