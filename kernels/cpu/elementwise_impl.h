// Bodies of the elementwise passes. Included once per instruction set with FTT_ISA naming the
// namespace; no include guard on purpose, and nothing here may be inline-shared between translation
// units.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/elementwise.h"

#if defined(__AVX512BW__) && defined(__AVX512VL__)
#define FTT_AVX512 1
#include <immintrin.h>
#else
#define FTT_AVX512 0
#endif

#include "kernels/cpu/elementwise_norm.h"
#include "kernels/cpu/elementwise_pool.h"

namespace ftt::cpu::FTT_ISA {
namespace {

void ReluU8(const int8_t* x, int64_t n, uint8_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<uint8_t>(x[i] < 0 ? 0 : x[i]);
}

void ToFloat(const int8_t* x, int64_t n, bool relu, float* out) {
  int64_t i = 0;
#if FTT_AVX512
  const __m512i floor = _mm512_set1_epi32(relu ? 0 : -128);
  for (; i + kVector <= n; i += kVector) {
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i));
    const __m512i wide = _mm512_max_epi32(_mm512_cvtepi8_epi32(codes), floor);
    _mm512_storeu_ps(out + i, _mm512_cvtepi32_ps(wide));
  }
#endif
  const int low = relu ? 0 : -128;
  for (; i < n; ++i) {
    const int code = x[i];
    out[i] = static_cast<float>(code > low ? code : low);
  }
}

void ToBf16(const int8_t* x, int64_t n, bool relu, uint16_t* out) {
  int64_t i = 0;
#if FTT_AVX512
  const __m512i floor = _mm512_set1_epi32(relu ? 0 : -128);
  for (; i + kVector <= n; i += kVector) {
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i));
    const __m512i wide = _mm512_max_epi32(_mm512_cvtepi8_epi32(codes), floor);
    const __m512i bits = _mm512_srli_epi32(_mm512_castps_si512(_mm512_cvtepi32_ps(wide)), 16);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm512_cvtepi32_epi16(bits));
  }
#endif
  const int low = relu ? 0 : -128;
  for (; i < n; ++i) {
    const int code = x[i];
    out[i] = RoundToBf16(static_cast<float>(code > low ? code : low));
  }
}

void ToBf16FromFloats(const float* x, const uint8_t* mask, int64_t n, uint16_t* out) {
  int64_t i = 0;
#if FTT_AVX512
  for (; i + kVector <= n; i += kVector) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i),
                        RoundToBf16(_mm512_maskz_loadu_ps(MaskAt(mask, i), x + i)));
  }
#endif
  for (; i < n; ++i) out[i] = RoundToBf16(MaskedGrad(mask, x, i));
}

bool QuantizeOne(int32_t acc, float scale, float shift, float low, float high, int8_t* code) {
  const float y = std::rint(std::fmaf(static_cast<float>(acc), scale, shift));
  *code = static_cast<int8_t>(y < low ? low : (y > high ? high : y));
  return y >= low && y <= high;
}

void StoreMaskBits(uint8_t* mask, int64_t i, int count, uint32_t bits) {
  // i is a multiple of 8; the last byte of a map may be partial
  for (int b = 0; b * 8 < count; ++b) mask[i / 8 + b] = static_cast<uint8_t>(bits >> (8 * b));
}

void QuantizeTail(const int32_t* acc, int64_t i, int count, const float* scale, const float* shift,
                  int low, int high, int8_t* codes, uint8_t* mask) {
  uint32_t bits = 0;
  for (int k = 0; k < count; ++k) {
    const bool inside = QuantizeOne(acc[i + k], scale[k], shift[k], static_cast<float>(low),
                                    static_cast<float>(high), codes + i + k);
    bits |= (inside ? 1u : 0u) << k;
  }
  if (mask != nullptr) StoreMaskBits(mask, i, count, bits);
}

void Quantize(const int32_t* acc, int64_t n, int period, const float* scale, const float* shift,
              int low, int high, int8_t* codes, uint8_t* mask) {
  int64_t i = 0;
  int j = 0;
#if FTT_AVX512
  const __m512 vlow = _mm512_set1_ps(static_cast<float>(low));
  const __m512 vhigh = _mm512_set1_ps(static_cast<float>(high));
  for (; i + kVector <= n; i += kVector) {
    const __m512 a = _mm512_cvtepi32_ps(_mm512_loadu_si512(acc + i));
    __m512 y = _mm512_fmadd_ps(a, _mm512_loadu_ps(scale + j), _mm512_loadu_ps(shift + j));
    y = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 clamped = _mm512_min_ps(_mm512_max_ps(y, vlow), vhigh);
    if (mask != nullptr) {
      const __mmask16 inside = _mm512_cmp_ps_mask(y, clamped, _CMP_EQ_OQ);
      std::memcpy(mask + i / 8, &inside, sizeof inside);
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + i),
                     _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(clamped)));
    j = j + kVector == period ? 0 : j + kVector;
  }
#else
  const auto flow = static_cast<float>(low), fhigh = static_cast<float>(high);
  for (; i + kVector <= n; i += kVector) {
    float y[kVector], clamped[kVector];
    for (int k = 0; k < kVector; ++k) {
      y[k] = std::rint(std::fmaf(static_cast<float>(acc[i + k]), scale[j + k], shift[j + k]));
      clamped[k] = std::min(std::max(y[k], flow), fhigh);
      codes[i + k] = static_cast<int8_t>(static_cast<int>(clamped[k]));
    }
    if (mask != nullptr) {
      uint32_t bits = 0;
      for (int k = 0; k < kVector; ++k) bits |= (y[k] == clamped[k] ? 1u : 0u) << k;
      StoreMaskBits(mask, i, kVector, bits);
    }
    j = j + kVector == period ? 0 : j + kVector;
  }
#endif
  if (i < n)
    QuantizeTail(acc, i, static_cast<int>(n - i), scale + j, shift + j, low, high, codes, mask);
}

struct Parts {
  const int8_t *x, *y;
  int x_shift, y_shift;
  int x_low, y_low;  // 0 with ReLU on load, else -128
};

inline int32_t SumAt(const Parts& s, int64_t i) {
  const int x = std::max<int>(s.x[i], s.x_low);
  return x << s.x_shift;
}
inline int32_t SumAt2(const Parts& s, int64_t i) {
  return SumAt(s, i) + (std::max<int>(s.y[i], s.y_low) << s.y_shift);
}

int32_t SumMax(const int8_t* x, int x_shift, bool x_relu, const int8_t* y, int y_shift, bool y_relu,
               int64_t n) {
  const Parts s{x, y, x_shift, y_shift, x_relu ? 0 : -128, y_relu ? 0 : -128};
  int32_t largest = 0;
  if (y == nullptr) {
    for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(SumAt(s, i)));
  } else {
    for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(SumAt2(s, i)));
  }
  return largest;
}

// Rounds a block of sums to codes and writes its mask bits.
void RoundBlock(const int32_t* v, int count, int shift, int low, int high, int8_t* codes,
                uint8_t* mask) {
  const int right = shift > 0 ? std::min(shift, 30) : 0;
  const int left = shift < 0 ? std::min(-shift, 30) : 0;
  const int32_t half = right > 0 ? (1 << (right - 1)) - 1 : 0;
  const int32_t odd = right > 0 ? 1 : 0;
  const int32_t limit = std::max(1, (1 << 29) >> left);  // beyond, a left shift saturates anyway
  int32_t rounded[64], clamped[64];
  for (int k = 0; k < count; ++k) {
    const int32_t bounded = std::min(std::max(v[k], -limit), limit);
    const int32_t base = right > 0 ? v[k] : bounded;
    rounded[k] = static_cast<int32_t>(
        static_cast<uint32_t>((base + half + ((base >> right) & odd)) >> right) << left);
    clamped[k] = std::min(std::max(rounded[k], low), high);
    codes[k] = static_cast<int8_t>(clamped[k]);
  }
  if (mask == nullptr) return;
  for (int b = 0; b * 8 < count; ++b) {
    uint32_t bits = 0;
    for (int k = 8 * b; k < std::min(8 * b + 8, count); ++k)
      bits |= (rounded[k] == clamped[k] ? 1u : 0u) << (k % 8);
    mask[b] = static_cast<uint8_t>(bits);
  }
}

void SumCodes(const int8_t* x, int x_shift, bool x_relu, const int8_t* y, int y_shift, bool y_relu,
              int64_t n, int shift, int low, int high, int8_t* codes, uint8_t* mask) {
  const Parts s{x, y, x_shift, y_shift, x_relu ? 0 : -128, y_relu ? 0 : -128};
  for (int64_t i = 0; i < n; i += 64) {
    const auto count = static_cast<int>(std::min<int64_t>(64, n - i));
    int32_t v[64];
    if (y == nullptr) {
      for (int k = 0; k < count; ++k) v[k] = SumAt(s, i + k);
    } else {
      for (int k = 0; k < count; ++k) v[k] = SumAt2(s, i + k);
    }
    RoundBlock(v, count, shift, low, high, codes + i, mask == nullptr ? nullptr : mask + i / 8);
  }
}

void PassGrad(const float* g, float scale, const int8_t* x, bool relu, const uint8_t* mask,
              int64_t n, bool accumulate, float* gx) {
  int64_t i = 0;
#if FTT_AVX512
  for (; i + kVector <= n; i += kVector) {
    __mmask16 bits = 0xFFFF;
    if (mask != nullptr) std::memcpy(&bits, mask + i / 8, sizeof bits);
    if (relu) {
      const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i));
      bits = static_cast<__mmask16>(bits & _mm_cmpgt_epi8_mask(codes, _mm_setzero_si128()));
    }
    __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(bits, g + i), _mm512_set1_ps(scale));
    if (accumulate) v = _mm512_add_ps(v, _mm512_loadu_ps(gx + i));
    _mm512_storeu_ps(gx + i, v);
  }
#endif
  for (; i < n; ++i) {
    const bool pass =
        (mask == nullptr || ((mask[i / 8] >> (i % 8)) & 1) != 0) && (!relu || x[i] > 0);
    const float v = pass ? g[i] * scale : 0.0f;
    gx[i] = accumulate ? gx[i] + v : v;
  }
}

}  // namespace

extern const Elementwise kTable;
const Elementwise kTable = {FTT_ISA_NAME,     ReluU8,           ToFloat,
                            ToBf16,           ToBf16FromFloats, Stats,
                            Quantize,         NormBackwardSums, NormBackwardApply,
                            NormBackwardBf16, SumMax,           SumCodes,
                            PassGrad,         MaxCodes,         FirstMax,
                            RouteGrad,        AddCodes,         WidenCodes,
                            AverageSums};

}  // namespace ftt::cpu::FTT_ISA
