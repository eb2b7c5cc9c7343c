// From accumulators to codes. Part of elementwise_impl.h: once per instruction set, no include
// guard on purpose.

namespace ftt::cpu::FTT_ISA {
namespace {

void StoreMaskBits(uint8_t* mask, int64_t i, int count, uint32_t bits) {
  // i is a multiple of 8; the last byte of a map may be partial
  for (int b = 0; b * 8 < count; ++b) mask[i / 8 + b] = static_cast<uint8_t>(bits >> (8 * b));
}

#if FTT_AVX512
// Limits of codes. Rounding to nearest, ties to even, leaves [low, high] where y < high + 1/2 (high
// is odd) and y >= low - 1/2 (low is even), so that the mask needs no rounded value.
struct CodeLimits {
  CodeLimits(int low, int high)
      : above(_mm512_set1_ps(static_cast<float>(high) + 0.5f)),
        below(_mm512_set1_ps(static_cast<float>(low) - 0.5f)),
        top(_mm512_set1_ps(static_cast<float>(high))),
        low8(_mm512_set1_epi8(static_cast<char>(low))) {}
  __m512 above, below, top;
  __m512i low8;
};

// The first `lanes` accumulators, then zeros.
__m512 LoadRawSome(const int32_t* p, __mmask16 lanes) {
  return _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(lanes, p));
}
__m512 LoadRawSome(const float* p, __mmask16 lanes) { return _mm512_maskz_loadu_ps(lanes, p); }
__m512 LoadRawSome(const uint16_t* p, __mmask16 lanes) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, p));
}

// Large values are cut before the conversion, which would turn them into the smallest integer;
// small ones, and a NaN, saturate when packed.
__m512i RoundCodes(__m512 y, const CodeLimits& limits) {
  return _mm512_cvtps_epi32(_mm512_min_ps(limits.top, y));
}

uint64_t InsideBits(__m512 y, const CodeLimits& limits) {
  return _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(y, limits.above, _CMP_LT_OQ), y, limits.below,
                                 _CMP_GE_OQ);
}

// Saturates four vectors of integers to bytes, in order.
__m512i PackCodes(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(
      order, _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d)));
}

template <bool kMask, typename Raw>
void QuantizeBlocks(const Raw* acc, int64_t n, int period, const float* scale, const float* shift,
                    int low, int high, int8_t* codes, uint8_t* mask) {
  const CodeLimits limits(low, high);
  int64_t i = 0;
  int j = 0;
  for (; i + 64 <= n; i += 64) {
    __m512i rounded[4];
    uint64_t inside = 0;
    for (int v = 0; v < 4; ++v) {
      const __m512 y = _mm512_fmadd_ps(LoadRaw(acc + i + v * kVector), _mm512_loadu_ps(scale + j),
                                       _mm512_loadu_ps(shift + j));
      rounded[v] = RoundCodes(y, limits);
      if (kMask) inside |= InsideBits(y, limits) << (v * kVector);
      j = j + kVector == period ? 0 : j + kVector;
    }
    const __m512i packed = PackCodes(rounded[0], rounded[1], rounded[2], rounded[3]);
    _mm512_storeu_si512(codes + i, _mm512_max_epi8(packed, limits.low8));
    if (kMask) std::memcpy(mask + i / 8, &inside, sizeof inside);
  }
  for (; i < n; i += kVector) {
    const auto count = static_cast<int>(std::min<int64_t>(kVector, n - i));
    const auto lanes = static_cast<__mmask16>((1u << count) - 1);
    const __m512 a = LoadRawSome(acc + i, lanes);
    const __m512 y = _mm512_fmadd_ps(a, _mm512_loadu_ps(scale + j), _mm512_loadu_ps(shift + j));
    const __m128i packed = _mm512_cvtsepi32_epi8(RoundCodes(y, limits));
    _mm_mask_storeu_epi8(codes + i, lanes,
                         _mm_max_epi8(packed, _mm512_castsi512_si128(limits.low8)));
    if (kMask) StoreMaskBits(mask, i, count, static_cast<uint32_t>(InsideBits(y, limits)) & lanes);
    j = j + kVector == period ? 0 : j + kVector;
  }
}
#else
#if FTT_AVX2
// Limits of codes, on 16-bit lanes.
struct CodeLimits {
  CodeLimits(int low, int high)
      : low16(_mm256_set1_epi16(static_cast<int16_t>(low))),
        high16(_mm256_set1_epi16(static_cast<int16_t>(high))) {}
  __m256i Clamp(__m256i v) const { return _mm256_min_epi16(_mm256_max_epi16(v, low16), high16); }
  __m256i low16, high16;
};

// 16-bit lanes to bytes; the blocks of 128 bits stay interleaved.
struct Bytes {
  __m256i codes, inside;
  Bytes(const CodeLimits& limits, __m256i a, __m256i b) {
    const __m256i x = limits.Clamp(a), y = limits.Clamp(b);
    codes = _mm256_packs_epi16(x, y);
    inside = _mm256_packs_epi16(_mm256_cmpeq_epi16(x, a), _mm256_cmpeq_epi16(y, b));
  }
};

void StoreBits32(uint8_t* mask, int64_t i, __m256i inside) {
  const int bits = _mm256_movemask_epi8(inside);
  std::memcpy(mask + i / 8, &bits, sizeof bits);
}

// fma(acc, scale, shift) rounded to an integer. Values are cut far above the largest code, since
// the conversion would turn large ones into the smallest integer; it does so with a NaN.
template <typename Raw>
inline __m256i RoundAffine(const Raw* acc, const float* scale, const float* shift) {
  const __m256 y = _mm256_fmadd_ps(LoadRaw(acc), _mm256_loadu_ps(scale), _mm256_loadu_ps(shift));
  return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_set1_ps(30000.0f), y));
}

template <typename Raw>
inline __m256i RoundAffine16(const Raw* acc, const float* scale, const float* shift) {
  return _mm256_packs_epi32(RoundAffine(acc, scale, shift),
                            RoundAffine(acc + 8, scale + 8, shift + 8));
}

template <bool kMask, typename Raw>
int64_t QuantizeVectors(const Raw* acc, int64_t n, int period, const float* scale,
                        const float* shift, int low, int high, int8_t* codes, uint8_t* mask) {
  const CodeLimits limits(low, high);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  int64_t i = 0;
  for (int j = 0; i + 32 <= n; i += 32) {
    const __m256i a = RoundAffine16(acc + i, scale + j, shift + j);
    j = j + kVector == period ? 0 : j + kVector;
    const __m256i b = RoundAffine16(acc + i + 16, scale + j, shift + j);
    j = j + kVector == period ? 0 : j + kVector;
    const Bytes bytes(limits, a, b);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + i),
                        _mm256_permutevar8x32_epi32(bytes.codes, order));
    if (kMask) StoreBits32(mask, i, _mm256_permutevar8x32_epi32(bytes.inside, order));
  }
  return i;
}
#endif

bool QuantizeOne(float acc, float scale, float shift, float low, float high, int8_t* code) {
  const float y = std::rint(std::fmaf(acc, scale, shift));
  *code = static_cast<int8_t>(y > low ? (y < high ? y : high) : low);  // low where y is no number
  return y >= low && y <= high;
}

template <typename Raw>
void QuantizeTail(const Raw* acc, int64_t i, int count, const float* scale, const float* shift,
                  int low, int high, int8_t* codes, uint8_t* mask) {
  uint32_t bits = 0;
  for (int k = 0; k < count; ++k) {
    const bool inside =
        QuantizeOne(RawFloat(acc[i + k]), scale[k], shift[k], static_cast<float>(low),
                    static_cast<float>(high), codes + i + k);
    bits |= (inside ? 1u : 0u) << k;
  }
  if (mask != nullptr) StoreMaskBits(mask, i, count, bits);
}
#endif

template <typename Raw>
void Quantize(const Raw* acc, int64_t n, int period, const float* scale, const float* shift,
              int low, int high, int8_t* codes, uint8_t* mask) {
#if FTT_AVX512
  if (mask == nullptr) {
    QuantizeBlocks<false>(acc, n, period, scale, shift, low, high, codes, mask);
  } else {
    QuantizeBlocks<true>(acc, n, period, scale, shift, low, high, codes, mask);
  }
#else
  int64_t i = 0;
  int j = 0;
#if FTT_AVX2
  i = mask == nullptr ? QuantizeVectors<false>(acc, n, period, scale, shift, low, high, codes, mask)
                      : QuantizeVectors<true>(acc, n, period, scale, shift, low, high, codes, mask);
  j = static_cast<int>(i % period);
#endif
  const auto flow = static_cast<float>(low), fhigh = static_cast<float>(high);
  for (; i + kVector <= n; i += kVector) {
    float y[kVector], clamped[kVector];
    for (int k = 0; k < kVector; ++k) {
      y[k] = std::rint(std::fmaf(RawFloat(acc[i + k]), scale[j + k], shift[j + k]));
      clamped[k] = std::min(y[k] > flow ? y[k] : flow, fhigh);
      codes[i + k] = static_cast<int8_t>(static_cast<int>(clamped[k]));
    }
    if (mask != nullptr) {
      uint32_t bits = 0;
      for (int k = 0; k < kVector; ++k) bits |= (y[k] == clamped[k] ? 1u : 0u) << k;
      StoreMaskBits(mask, i, kVector, bits);
    }
    j = j + kVector == period ? 0 : j + kVector;
  }
  if (i < n)
    QuantizeTail(acc, i, static_cast<int>(n - i), scale + j, shift + j, low, high, codes, mask);
#endif
}

void MaskRelu(const int8_t* codes, int64_t n, uint8_t* mask) {
  int64_t i = 0;
#if FTT_AVX512 || FTT_AVX2
  for (; i + 32 <= n; i += 32) {
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + i));
    uint32_t bits;
    std::memcpy(&bits, mask + i / 8, sizeof bits);
    bits &=
        static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpgt_epi8(v, _mm256_setzero_si256())));
    std::memcpy(mask + i / 8, &bits, sizeof bits);
  }
#endif
  for (; i < n; i += 8) {
    const auto count = static_cast<int>(std::min<int64_t>(8, n - i));
    uint32_t bits = 0;
    for (int k = 0; k < count; ++k) bits |= (codes[i + k] > 0 ? 1u : 0u) << k;
    mask[i / 8] = static_cast<uint8_t>(mask[i / 8] & bits);
  }
}

}  // namespace
}  // namespace ftt::cpu::FTT_ISA
