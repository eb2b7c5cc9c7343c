// Batch-norm statistics and gradients. Part of elementwise_impl.h: once per instruction set, no
// include guard on purpose.

namespace ftt::cpu::FTT_ISA {
namespace {

// Rows of a map that are passed over together, so that what belongs to their columns stays in
// registers: as many as lie within a few cache lines of each other, for memory's sake.
inline int64_t RowsAtATime(int period, int least) { return std::clamp(512 / period, least, 16); }

}  // namespace
}  // namespace ftt::cpu::FTT_ISA

#if FTT_AVX2
#include "kernels/cpu/elementwise_avx2_norm.h"
#endif

namespace ftt::cpu::FTT_ISA {
namespace {

// A float as bfloat16, ties away from zero.
uint16_t NarrowGrad(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x8000u) >> 16);
}

// Upper half of a float, rounded to nearest, ties to even.
uint16_t RoundToBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#if FTT_AVX512
__m256i RoundToBf16(__m512 value) {
  const __m512i bits = _mm512_castps_si512(value);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
}

__mmask16 MaskAt(const uint8_t* mask, int64_t i) {
  if (mask == nullptr) return 0xFFFF;
  __mmask16 bits;
  std::memcpy(&bits, mask + i / 8, sizeof bits);
  return bits;
}

// Sixteen accumulators.
__m512 LoadRaw(const int32_t* p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }
__m512 LoadRaw(const float* p) { return _mm512_loadu_ps(p); }
__m512 LoadRaw(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

__m512i IntsOf(const int32_t* p, __m512) { return _mm512_loadu_si512(p); }
__m512i IntsOf(const float*, __m512 loaded) { return _mm512_cvtps_epi32(loaded); }

// Sixteen gradients, 0 where `bits` has a 0.
__m512 LoadGrad(__mmask16 bits, const float* p) { return _mm512_maskz_loadu_ps(bits, p); }
__m512 LoadGrad(__mmask16 bits, const uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(bits, p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

// Sixteen floats as bfloat16, ties away from zero.
void StoreNarrow(uint16_t* p, __m512 v) {
  const __m512i rounded = _mm512_add_epi32(_mm512_castps_si512(v), _mm512_set1_epi32(0x8000));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

template <bool kHalves, typename V>
void StatsBlock(const V* v, int64_t rows, int period, float* sum, float* sum_squares, int32_t* min,
                int32_t* max, float down, uint16_t* halves) {
  const __m512 factor = _mm512_set1_ps(down);
  __m512 s = _mm512_loadu_ps(sum), q = _mm512_loadu_ps(sum_squares);
  __m512i lo = _mm512_loadu_si512(min), hi = _mm512_loadu_si512(max);
  for (int64_t r = 0, i = 0; r < rows; ++r, i += period) {
    const __m512 f = LoadRaw(v + i);
    const __m512i row = IntsOf(v + i, f);
    s = _mm512_add_ps(s, f);
    q = _mm512_fmadd_ps(f, f, q);
    lo = _mm512_min_epi32(lo, row);
    hi = _mm512_max_epi32(hi, row);
    if (!kHalves) continue;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(halves + i),
                        _mm512_cvtps_ph(_mm512_mul_ps(f, factor), _MM_FROUND_TO_NEAREST_INT));
  }
  _mm512_storeu_ps(sum, s);
  _mm512_storeu_ps(sum_squares, q);
  _mm512_storeu_si512(min, lo);
  _mm512_storeu_si512(max, hi);
}

template <typename Raw>
void NormSumsBlock(const Raw* acc, int64_t rows, int period, const uint8_t* mask, const float* grad,
                   float* sum_g, float* sum_ga, uint16_t* narrow) {
  __m512 sg = _mm512_loadu_ps(sum_g), sa = _mm512_loadu_ps(sum_ga);
  for (int64_t r = 0, i = 0; r < rows; ++r, i += period) {
    const __m512 g = _mm512_maskz_loadu_ps(MaskAt(mask, i), grad + i);
    sg = _mm512_add_ps(sg, g);
    sa = _mm512_fmadd_ps(g, LoadRaw(acc + i), sa);
    if (narrow != nullptr) StoreNarrow(narrow + i, g);
  }
  _mm512_storeu_ps(sum_g, sg);
  _mm512_storeu_ps(sum_ga, sa);
}

// fma(acc, q, fma(masked grad, p, r)) of one vector at element i; j: its place in the period.
template <typename Raw, typename Grad>
__m512 NormGradient(const Raw* acc, const uint8_t* mask, const Grad* grad, int64_t i, int j,
                    const NormCoefficients& k) {
  const __m512 g = LoadGrad(MaskAt(mask, i), grad + i);
  const __m512 inner = _mm512_fmadd_ps(g, _mm512_loadu_ps(k.p + j), _mm512_loadu_ps(k.r + j));
  return _mm512_fmadd_ps(LoadRaw(acc + i), _mm512_loadu_ps(k.q + j), inner);
}
#elif !FTT_AVX2
uint32_t MaskAt(const uint8_t* mask, int64_t i) {
  if (mask == nullptr) return 0xFFFFu;
  return mask[i / 8] | static_cast<uint32_t>(mask[i / 8 + 1]) << 8;
}

template <bool kHalves, typename V>
void StatsBlock(const V* v, int64_t rows, int period, float* sum, float* sum_squares, int32_t* min,
                int32_t* max, float down, uint16_t* halves) {
  for (int64_t r = 0, i = 0; r < rows; ++r, i += period) {
    for (int k = 0; k < kVector; ++k) {
      const float f = RawFloat(v[i + k]);
      const auto whole = static_cast<int32_t>(v[i + k]);
      sum[k] += f;
      sum_squares[k] += f * f;
      min[k] = whole < min[k] ? whole : min[k];
      max[k] = whole > max[k] ? whole : max[k];
      if (kHalves) halves[i + k] = RoundToHalf(f * down);
    }
  }
}

template <typename Raw>
void NormSumsBlock(const Raw* acc, int64_t rows, int period, const uint8_t* mask, const float* grad,
                   float* sum_g, float* sum_ga, uint16_t* narrow) {
  for (int64_t r = 0, i = 0; r < rows; ++r, i += period) {
    const uint32_t bits = MaskAt(mask, i);
    for (int k = 0; k < kVector; ++k) {
      const float g = ((bits >> k) & 1) != 0 ? grad[i + k] : 0.0f;
      sum_g[k] += g;
      sum_ga[k] += g * RawFloat(acc[i + k]);
      if (narrow != nullptr) narrow[i + k] = NarrowGrad(g);
    }
  }
}
#endif

// Calls block(first element, rows, column, sums a, sums b) for pieces of [rows][period] that are 16
// columns wide, and flush(column, a, b) for each column when its float sums have grown long enough.
// A few rows at a time over many channels, so that memory is read in the order in which it lies.
template <typename Block, typename Flush>
void SumRows(int64_t rows, int period, const Block& block, const Flush& flush) {
  constexpr int kColumns = 512;
  const int64_t few = RowsAtATime(period, 4);
  for (int first = 0; first < period; first += kColumns) {
    const int width = std::min(kColumns, period - first);
    for (int64_t start = 0; start < rows; start += kStatsRows) {
      float a[kColumns], b[kColumns];
      std::fill_n(a, width, 0.0f);
      std::fill_n(b, width, 0.0f);
      const int64_t end = std::min(start + kStatsRows, rows);
      for (int64_t r = start; r < end; r += few) {
        const int64_t count = std::min(few, end - r);
        for (int j = 0; j < width; j += kVector)
          block(r * period + first + j, count, first + j, a + j, b + j);
      }
      for (int j = 0; j < width; ++j) flush(first + j, a[j], b[j]);
    }
  }
}

template <bool kHalves, typename V>
void StatsRows(const V* v, int64_t rows, int period, double* sum, double* sum_squares, int32_t* min,
               int32_t* max, float down, uint16_t* halves) {
  SumRows(
      rows, period,
      [&](int64_t at, int64_t count, int column, float* s, float* q) {
        StatsBlock<kHalves>(v + at, count, period, s, q, min + column, max + column, down,
                            kHalves ? halves + at : nullptr);
      },
      [&](int column, float s, float q) {
        sum[column] += s;
        sum_squares[column] += q;
      });
}

template <typename V>
void Stats(const V* v, int64_t n, int period, double* sum, double* sum_squares, int32_t* min,
           int32_t* max, float down, uint16_t* halves) {
  const int64_t rows = n / period;
  (halves == nullptr ? StatsRows<false, V> : StatsRows<true, V>)(v, rows, period, sum, sum_squares,
                                                                 min, max, down, halves);
  for (int64_t i = rows * period; i < n; ++i) {
    const auto j = i - rows * period;
    const float f = RawFloat(v[i]);
    const auto whole = static_cast<int32_t>(v[i]);
    sum[j] += f;
    sum_squares[j] += double{f} * f;
    min[j] = std::min(min[j], whole);
    max[j] = std::max(max[j], whole);
    if (halves != nullptr) halves[i] = RoundToHalf(f * down);
  }
}

float GradFloat(float grad) { return grad; }
float GradFloat(uint16_t grad) {
  const uint32_t bits = uint32_t{grad} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <typename Grad>
float MaskedGrad(const uint8_t* mask, const Grad* grad, int64_t i) {
  return mask == nullptr || ((mask[i / 8] >> (i % 8)) & 1) != 0 ? GradFloat(grad[i]) : 0.0f;
}

template <typename Raw>
void NormBackwardSums(const Raw* acc, int64_t n, int period, const float* xscale,
                      const float* xshift, const uint8_t* mask, const float* grad, double* sum_g,
                      double* sum_gx, uint16_t* narrow) {
  const int64_t rows = n / period;
  SumRows(
      rows, period,
      [&](int64_t at, int64_t count, int, float* g, float* ga) {
        NormSumsBlock(acc + at, count, period, mask == nullptr ? nullptr : mask + at / 8, grad + at,
                      g, ga, narrow == nullptr ? nullptr : narrow + at);
      },
      [&](int column, float g, float ga) {
        sum_g[column] += g;
        sum_gx[column] += double{xscale[column]} * ga + double{xshift[column]} * g;
      });
  for (int64_t i = rows * period; i < n; ++i) {
    const auto j = i - rows * period;
    const float g = MaskedGrad(mask, grad, i);
    sum_g[j] += g;
    sum_gx[j] += double{g} * (RawFloat(acc[i]) * xscale[j] + xshift[j]);
    if (narrow != nullptr) narrow[i] = NarrowGrad(g);
  }
}

template <typename Raw, typename Grad>
float NormGradientAt(const Raw* acc, const uint8_t* mask, const Grad* grad, int64_t i, int64_t j,
                     const NormCoefficients& k) {
  return std::fmaf(RawFloat(acc[i]), k.q[j], std::fmaf(MaskedGrad(mask, grad, i), k.p[j], k.r[j]));
}

template <typename Raw, typename Grad>
void NormBackwardApply(const Raw* acc, int64_t n, int period, const NormCoefficients& k,
                       const uint8_t* mask, const Grad* grad, float* out) {
  int64_t i = 0;
  int j = 0;
#if FTT_AVX512
  for (; i + kVector <= n; i += kVector) {
    _mm512_storeu_ps(out + i, NormGradient(acc, mask, grad, i, j, k));
    j = j + kVector == period ? 0 : j + kVector;
  }
#elif FTT_AVX2
  i = mask == nullptr ? NormApplyVectors<false>(acc, n, period, k, mask, grad, out)
                      : NormApplyVectors<true>(acc, n, period, k, mask, grad, out);
  j = static_cast<int>(i % period);
#endif
  for (; i < n; ++i) {
    out[i] = NormGradientAt(acc, mask, grad, i, j, k);
    j = j + 1 == period ? 0 : j + 1;
  }
}

template <typename Raw, typename Grad>
void NormBackwardBf16(const Raw* acc, int64_t n, int period, const NormCoefficients& k,
                      const uint8_t* mask, const Grad* grad, uint16_t* out) {
  int64_t i = 0;
  int j = 0;
#if FTT_AVX512
  for (; i + kVector <= n; i += kVector) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i),
                        RoundToBf16(NormGradient(acc, mask, grad, i, j, k)));
    j = j + kVector == period ? 0 : j + kVector;
  }
#endif
  for (; i < n; ++i) {
    out[i] = RoundToBf16(NormGradientAt(acc, mask, grad, i, j, k));
    j = j + 1 == period ? 0 : j + 1;
  }
}

}  // namespace
}  // namespace ftt::cpu::FTT_ISA
