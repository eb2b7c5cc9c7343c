// Pools over runs of pixels. Part of elementwise_impl.h: once per instruction set, no include guard
// on purpose.

#if FTT_AVX2
#include "kernels/cpu/elementwise_avx2_pool.h"
#endif

namespace ftt::cpu::FTT_ISA {
namespace {

#if FTT_AVX512
// The first `count` of a vector's lanes, all where there are more.
__mmask64 FirstBytes(int64_t count) { return count >= 64 ? ~0ull : (1ull << count) - 1; }
__mmask32 FirstWords(int64_t count) { return count >= 32 ? ~0u : (1u << count) - 1; }
#endif

// All taps of a pixel in registers: masked stores that were read again would stall.
void MaxWindows(const int8_t* x, int taps, int64_t tap_step, int64_t pixels, int64_t pixel_step,
                int64_t c, int8_t floor, int8_t* out) {
#if FTT_AVX512
  const __m512i low = _mm512_set1_epi8(floor);
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t i = 0; i < c; i += 64) {
      const __mmask64 lanes = FirstBytes(c - i);
      __m512i best = low;
      for (int t = 0; t < taps; ++t) {
        best = _mm512_max_epi8(
            best, _mm512_maskz_loadu_epi8(lanes, x + p * pixel_step + t * tap_step + i));
      }
      _mm512_mask_storeu_epi8(out + p * c + i, lanes, best);
    }
  }
#elif FTT_AVX2
  for (int64_t p = 0; p < pixels; ++p) {
    ForPieces(c,
              MaxPiece{x + p * pixel_step, taps, tap_step, _mm256_set1_epi8(floor), out + p * c});
  }
#else
  std::fill_n(out, pixels * c, floor);
  for (int64_t p = 0; p < pixels; ++p) {
    for (int t = 0; t < taps; ++t) {
      const int8_t* from = x + p * pixel_step + t * tap_step;
      int8_t* to = out + p * c;
      for (int64_t i = 0; i < c; ++i) to[i] = from[i] > to[i] ? from[i] : to[i];
    }
  }
#endif
}

void SumWindows(const int16_t* x, int taps, int64_t tap_step, int64_t pixels, int64_t pixel_step,
                int64_t c, int16_t* out) {
#if FTT_AVX512
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t i = 0; i < c; i += 32) {
      const __mmask32 lanes = FirstWords(c - i);
      __m512i sum = _mm512_setzero_si512();
      for (int t = 0; t < taps; ++t) {
        sum = _mm512_add_epi16(
            sum, _mm512_maskz_loadu_epi16(lanes, x + p * pixel_step + t * tap_step + i));
      }
      _mm512_mask_storeu_epi16(out + p * c + i, lanes, sum);
    }
  }
#else
#if FTT_AVX2
  if (c >= 4) {
    for (int64_t p = 0; p < pixels; ++p) {
      ForPieces(2 * c, SumPiece{reinterpret_cast<const uint8_t*>(x + p * pixel_step), taps,
                                2 * tap_step, reinterpret_cast<uint8_t*>(out + p * c)});
    }
    return;
  }
#endif
  std::fill_n(out, pixels * c, int16_t{0});
  for (int64_t p = 0; p < pixels; ++p) {
    for (int t = 0; t < taps; ++t) {
      const int16_t* from = x + p * pixel_step + t * tap_step;
      int16_t* to = out + p * c;
      for (int64_t i = 0; i < c; ++i) to[i] = static_cast<int16_t>(to[i] + from[i]);
    }
  }
#endif
}

void CopyPixels(const int8_t* x, int64_t pixels, int64_t c, int64_t step, int8_t* out) {
#if FTT_AVX512
  if (c <= 64) {
    const __mmask64 lanes = FirstBytes(c);
    for (int64_t p = 0; p < pixels; ++p)
      _mm512_mask_storeu_epi8(out + p * step, lanes, _mm512_maskz_loadu_epi8(lanes, x + p * c));
    return;
  }
#elif FTT_AVX2
  if (c <= 256) {
    for (int64_t p = 0; p < pixels; ++p) ForPieces(c, CopyPiece{x + p * c, out + p * step});
    return;
  }
#endif
  for (int64_t p = 0; p < pixels; ++p)
    std::memcpy(out + p * step, x + p * c, static_cast<size_t>(c));
}

void SumPixels(const int8_t* x, int64_t pixels, int64_t c, bool relu, int32_t* sums) {
  const int low = relu ? 0 : -128;
  int64_t i = 0;
#if FTT_AVX512
  const __m512i floor = _mm512_set1_epi32(low);
  for (; i + kVector <= c; i += kVector) {
    __m512i sum = _mm512_setzero_si512();
    for (int64_t p = 0; p < pixels; ++p) {
      const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + p * c + i));
      sum = _mm512_add_epi32(sum, _mm512_max_epi32(_mm512_cvtepi8_epi32(codes), floor));
    }
    _mm512_storeu_si512(sums + i, sum);
  }
#elif FTT_AVX2
  i = SumPixelsVectors(x, pixels, c, relu, sums);
#endif
  for (; i < c; ++i) {
    int32_t sum = 0;
    for (int64_t p = 0; p < pixels; ++p) sum += std::max<int>(x[p * c + i], low);
    sums[i] = sum;
  }
}

void FirstMax(const int8_t* x, int64_t n, uint8_t tap, int8_t* best, uint8_t* arg) {
  int64_t i = 0;
#if FTT_AVX2
  i = FirstMaxVectors(x, n, tap, best, arg);
#endif
  for (; i < n; ++i) {
    const bool better = (x[i] > best[i]) | (arg[i] == kNoTap);
    arg[i] = better ? tap : arg[i];
    best[i] = better ? x[i] : best[i];
  }
}

void RouteGrad(const float* g, const uint8_t* arg, uint8_t tap, int64_t n, float* gx) {
  int64_t i = 0;
#if FTT_AVX2
  i = RouteGradVectors(g, arg, tap, n, gx);
#endif
  for (; i < n; ++i) gx[i] += arg[i] == tap ? g[i] : 0.0f;
}

void AddCodes(const int8_t* x, int64_t n, bool relu, int16_t* sums) {
  const auto low = static_cast<int16_t>(relu ? 0 : -128);
  int64_t i = 0;
#if FTT_AVX2
  i = AddCodesVectors(x, n, relu, sums);
#endif
  for (; i < n; ++i) {
    const int16_t code = x[i];
    sums[i] = static_cast<int16_t>(sums[i] + (code > low ? code : low));
  }
}

void WidenCodes(const int8_t* x, int64_t n, int32_t* out) {
  int64_t i = 0;
#if FTT_AVX2
  i = WidenCodesVectors(x, n, out);
#endif
  for (; i < n; ++i) out[i] = x[i];
}

// Float division is exact enough to round right: |sum| <= 128 * taps, and quotients at a distance
// of 1 / (2 taps) from a tie are told apart from it. A product with the reciprocal, corrected once
// by the remainder, is such a quotient: exact where it can be, as all ties are.
void AverageSums(const int16_t* sums, int64_t n, int taps, int32_t* out) {
  const auto divisor = static_cast<float>(taps);
  int64_t i = 0;
#if FTT_AVX512
  const __m512 reciprocal = _mm512_set1_ps(1.0f / divisor);
  for (; i + kVector <= n; i += kVector) {
    const __m256i sum = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + i));
    const __m512 value = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(sum));
    const __m512 guess = _mm512_mul_ps(value, reciprocal);
    const __m512 rest = _mm512_fnmadd_ps(guess, _mm512_set1_ps(divisor), value);
    _mm512_storeu_si512(out + i,
                        _mm512_cvt_roundps_epi32(_mm512_fmadd_ps(rest, reciprocal, guess),
                                                 _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
#elif FTT_AVX2
  i = AverageSumsVectors(sums, n, divisor, out);
#endif
  for (; i < n; ++i) {
    out[i] = static_cast<int32_t>(std::rint(static_cast<float>(sums[i]) / divisor));
  }
}

}  // namespace
}  // namespace ftt::cpu::FTT_ISA
