// Bodies of the elementwise passes. Included once per instruction set with FTT_ISA naming the
// namespace; no include guard on purpose, and nothing here may be inline-shared between translation
// units.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/half.h"
#include "kernels/cpu/elementwise.h"

#if defined(__AVX512BW__) && defined(__AVX512VL__)
#define FTT_AVX512 1
#else
#define FTT_AVX512 0
#endif
#if !FTT_AVX512 && defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define FTT_AVX2 1
#else
#define FTT_AVX2 0
#endif
#if FTT_AVX512 || FTT_AVX2
#include <immintrin.h>
#endif

namespace ftt::cpu::FTT_ISA {
namespace {

// One accumulator.
inline float RawFloat(int32_t acc) { return static_cast<float>(acc); }
inline float RawFloat(float acc) { return acc; }
inline float RawFloat(uint16_t half) {
#if FTT_AVX512 || FTT_AVX2
  return _cvtsh_ss(half);
#else
  return HalfToFloat(half);
#endif
}

inline uint16_t RoundToHalf(float value) {
#if FTT_AVX512 || FTT_AVX2
  return static_cast<uint16_t>(_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT));
#else
  return FloatToHalf(value);
#endif
}

}  // namespace
}  // namespace ftt::cpu::FTT_ISA

#if FTT_AVX2
#include "kernels/cpu/elementwise_avx2.h"
#endif
#include "kernels/cpu/elementwise_norm.h"
#include "kernels/cpu/elementwise_pool.h"
#include "kernels/cpu/elementwise_quantize.h"
#include "kernels/cpu/elementwise_sum.h"

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
#elif FTT_AVX2
  i = ToFloatVectors(x, n, relu, out);
#endif
  const int low = relu ? 0 : -128;
  for (; i < n; ++i) {
    const int code = x[i];
    out[i] = static_cast<float>(code > low ? code : low);
  }
}

void AddFloats(const float* x, int64_t n, bool accumulate, int32_t* out) {
  if (accumulate) {
    for (int64_t i = 0; i < n; ++i) out[i] += static_cast<int32_t>(x[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<int32_t>(x[i]);
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
#elif FTT_AVX2
  i = PassGradVectors(g, scale, x, relu, mask, n, accumulate, gx);
#endif
  for (; i < n; ++i) {
    const bool pass =
        (mask == nullptr || ((mask[i / 8] >> (i % 8)) & 1) != 0) && (!relu || x[i] > 0);
    const float v = pass ? g[i] * scale : 0.0f;
    gx[i] = accumulate ? gx[i] + v : v;
  }
}

template <bool kAccumulate>
void PassSlicePixels(const float* g, int64_t pixels, int64_t step, int c, float* gx) {
  for (int64_t p = 0; p < pixels; ++p, g += step, gx += c) {
    int i = 0;
#if FTT_AVX512 || FTT_AVX2
    for (; i + 8 <= c; i += 8) {
      __m256 v = _mm256_loadu_ps(g + i);
      if (kAccumulate) v = _mm256_add_ps(v, _mm256_loadu_ps(gx + i));
      _mm256_storeu_ps(gx + i, v);
    }
    for (; i + 4 <= c; i += 4) {
      __m128 v = _mm_loadu_ps(g + i);
      if (kAccumulate) v = _mm_add_ps(v, _mm_loadu_ps(gx + i));
      _mm_storeu_ps(gx + i, v);
    }
#endif
    for (; i < c; ++i) gx[i] = kAccumulate ? gx[i] + g[i] : g[i];
  }
}

void PassSlice(const float* g, int64_t pixels, int64_t step, int c, bool accumulate, float* gx) {
  (accumulate ? PassSlicePixels<true> : PassSlicePixels<false>)(g, pixels, step, c, gx);
}

}  // namespace

extern const Elementwise kTable;
const Elementwise kTable = {
    .isa = FTT_ISA_NAME,
    .fast_halves = FTT_AVX512 || FTT_AVX2,
    .relu_u8 = ReluU8,
    .to_float = ToFloat,
    .add_floats = AddFloats,
    .to_bf16 = ToBf16,
    .floats_to_bf16 = ToBf16FromFloats,
    .stats = Stats,
    .ints = {Quantize, NormBackwardSums, NormBackwardApply, NormBackwardBf16, NormBackwardApply,
             NormBackwardBf16},
    .halves = {Quantize, NormBackwardSums, NormBackwardApply, NormBackwardBf16, NormBackwardApply,
               NormBackwardBf16},
    .stats_floats = Stats,
    .quantize_floats = Quantize,
    .mask_relu = MaskRelu,
    .sum_max = SumMax,
    .sum_codes = SumCodes,
    .pass_grad = PassGrad,
    .pass_slice = PassSlice,
    .max_windows = MaxWindows,
    .first_max = FirstMax,
    .route_grad = RouteGrad,
    .add_codes = AddCodes,
    .sum_windows = SumWindows,
    .widen_codes = WidenCodes,
    .average_sums = AverageSums,
    .sum_pixels = SumPixels,
    .copy_pixels = CopyPixels,
};

}  // namespace ftt::cpu::FTT_ISA
