// Batch-norm statistics and gradients. Part of elementwise_impl.h: once per instruction set, no
// include guard on purpose.

#if FTT_AVX2
#include "kernels/cpu/elementwise_avx2_norm.h"
#endif

namespace ftt::cpu::FTT_ISA {
namespace {

constexpr int kFlushRows = 64;  // float partial sums are short, so that they stay accurate

// Upper half of a float, rounded to nearest, ties to even.
uint16_t RoundToBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#if !FTT_AVX2
void AddTo(const float* block, double* sums) {
  for (int k = 0; k < kVector; ++k) sums[k] += block[k];
}
#endif

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

void StatsBlock(const int32_t* v, int64_t rows, int period, int j, double* sum, double* sum_squares,
                int32_t* min, int32_t* max) {
  __m512 s = _mm512_setzero_ps(), q = _mm512_setzero_ps();
  __m512i lo = _mm512_loadu_si512(min + j), hi = _mm512_loadu_si512(max + j);
  for (int64_t r = 0; r < rows; ++r) {
    const __m512i row = _mm512_loadu_si512(v + r * period + j);
    const __m512 f = _mm512_cvtepi32_ps(row);
    s = _mm512_add_ps(s, f);
    q = _mm512_fmadd_ps(f, f, q);
    lo = _mm512_min_epi32(lo, row);
    hi = _mm512_max_epi32(hi, row);
  }
  float block[kVector];
  _mm512_storeu_ps(block, s);
  AddTo(block, sum + j);
  _mm512_storeu_ps(block, q);
  AddTo(block, sum_squares + j);
  _mm512_storeu_si512(min + j, lo);
  _mm512_storeu_si512(max + j, hi);
}

void NormSumsBlock(const int32_t* acc, int64_t rows, int period, const float* xscale,
                   const float* xshift, const uint8_t* mask, const float* grad, float* sum_g,
                   float* sum_gx) {
  const __m512 scale = _mm512_loadu_ps(xscale), shift = _mm512_loadu_ps(xshift);
  __m512 sg = _mm512_loadu_ps(sum_g), sx = _mm512_loadu_ps(sum_gx);
  for (int64_t r = 0, i = 0; r < rows; ++r, i += period) {
    const __m512 g = _mm512_maskz_loadu_ps(MaskAt(mask, i), grad + i);
    const __m512 xhat =
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(acc + i)), scale, shift);
    sg = _mm512_add_ps(sg, g);
    sx = _mm512_fmadd_ps(g, xhat, sx);
  }
  _mm512_storeu_ps(sum_g, sg);
  _mm512_storeu_ps(sum_gx, sx);
}

// fma(acc, q, fma(masked grad, p, r)) of one vector at element i; j: its place in the period.
__m512 NormGradient(const int32_t* acc, const uint8_t* mask, const float* grad, int64_t i, int j,
                    const NormCoefficients& k) {
  const __m512 g = _mm512_maskz_loadu_ps(MaskAt(mask, i), grad + i);
  const __m512 inner = _mm512_fmadd_ps(g, _mm512_loadu_ps(k.p + j), _mm512_loadu_ps(k.r + j));
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(acc + i)), _mm512_loadu_ps(k.q + j),
                         inner);
}
#elif !FTT_AVX2
uint32_t MaskAt(const uint8_t* mask, int64_t i) {
  if (mask == nullptr) return 0xFFFFu;
  return mask[i / 8] | static_cast<uint32_t>(mask[i / 8 + 1]) << 8;
}

void StatsBlock(const int32_t* v, int64_t rows, int period, int j, double* sum, double* sum_squares,
                int32_t* min, int32_t* max) {
  float s[kVector] = {}, q[kVector] = {};
  int32_t lo[kVector], hi[kVector];
  std::memcpy(lo, min + j, sizeof lo);
  std::memcpy(hi, max + j, sizeof hi);
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t* row = v + r * period + j;
    for (int k = 0; k < kVector; ++k) {
      const auto f = static_cast<float>(row[k]);
      s[k] += f;
      q[k] += f * f;
      lo[k] = row[k] < lo[k] ? row[k] : lo[k];
      hi[k] = row[k] > hi[k] ? row[k] : hi[k];
    }
  }
  AddTo(s, sum + j);
  AddTo(q, sum_squares + j);
  std::memcpy(min + j, lo, sizeof lo);
  std::memcpy(max + j, hi, sizeof hi);
}

void NormSumsBlock(const int32_t* acc, int64_t rows, int period, const float* xscale,
                   const float* xshift, const uint8_t* mask, const float* grad, float* sum_g,
                   float* sum_gx) {
  for (int64_t r = 0, i = 0; r < rows; ++r, i += period) {
    const uint32_t bits = MaskAt(mask, i);
    for (int k = 0; k < kVector; ++k) {
      const float g = ((bits >> k) & 1) != 0 ? grad[i + k] : 0.0f;
      sum_g[k] += g;
      sum_gx[k] += g * (static_cast<float>(acc[i + k]) * xscale[k] + xshift[k]);
    }
  }
}
#endif

void Stats(const int32_t* v, int64_t n, int period, double* sum, double* sum_squares, int32_t* min,
           int32_t* max) {
  const int64_t rows = n / period;
  for (int64_t r = 0; r < rows; r += kFlushRows) {
    const int64_t count = std::min<int64_t>(kFlushRows, rows - r);
    for (int j = 0; j < period; j += kVector) {
      StatsBlock(v + r * period, count, period, j, sum, sum_squares, min, max);
    }
  }
  for (int64_t i = rows * period; i < n; ++i) {
    const auto j = i - rows * period;
    const auto f = static_cast<float>(v[i]);
    sum[j] += f;
    sum_squares[j] += double{f} * f;
    min[j] = std::min(min[j], v[i]);
    max[j] = std::max(max[j], v[i]);
  }
}

float MaskedGrad(const uint8_t* mask, const float* grad, int64_t i) {
  return mask == nullptr || ((mask[i / 8] >> (i % 8)) & 1) != 0 ? grad[i] : 0.0f;
}

// A few rows at a time over many channels, so that memory is read in the order in which it lies.
void NormBackwardSums(const int32_t* acc, int64_t n, int period, const float* xscale,
                      const float* xshift, const uint8_t* mask, const float* grad, double* sum_g,
                      double* sum_gx) {
  constexpr int kColumns = 512, kRows = 4;
  const int64_t rows = n / period;
  for (int first = 0; first < period; first += kColumns) {
    const int width = std::min(kColumns, period - first);
    for (int64_t flush = 0; flush < rows; flush += kFlushRows) {
      float sg[kColumns], sx[kColumns];
      std::fill_n(sg, width, 0.0f);
      std::fill_n(sx, width, 0.0f);
      const int64_t end = std::min(flush + kFlushRows, rows);
      for (int64_t r = flush; r < end; r += kRows) {
        const int64_t count = std::min<int64_t>(kRows, end - r);
        for (int j = 0; j < width; j += kVector) {
          const int64_t at = r * period + first + j;
          NormSumsBlock(acc + at, count, period, xscale + first + j, xshift + first + j,
                        mask == nullptr ? nullptr : mask + at / 8, grad + at, sg + j, sx + j);
        }
      }
      for (int j = 0; j < width; ++j) {
        sum_g[first + j] += sg[j];
        sum_gx[first + j] += sx[j];
      }
    }
  }
  for (int64_t i = rows * period; i < n; ++i) {
    const auto j = i - rows * period;
    const float g = MaskedGrad(mask, grad, i);
    sum_g[j] += g;
    sum_gx[j] += double{g} * (static_cast<float>(acc[i]) * xscale[j] + xshift[j]);
  }
}

float NormGradientAt(const int32_t* acc, const uint8_t* mask, const float* grad, int64_t i,
                     int64_t j, const NormCoefficients& k) {
  return std::fmaf(static_cast<float>(acc[i]), k.q[j],
                   std::fmaf(MaskedGrad(mask, grad, i), k.p[j], k.r[j]));
}

void NormBackwardApply(const int32_t* acc, int64_t n, int period, const NormCoefficients& k,
                       const uint8_t* mask, const float* grad, float* out) {
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

void NormBackwardBf16(const int32_t* acc, int64_t n, int period, const NormCoefficients& k,
                      const uint8_t* mask, const float* grad, uint16_t* out) {
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
