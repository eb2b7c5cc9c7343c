// What the AVX2 bodies of the elementwise passes share, and the passes over gradients and codes.
// Part of elementwise_impl.h: once per instruction set, no include guard on purpose.
//
// Most bodies take 16 elements at a time as two vectors of 8. Each returns how many elements it
// did; the caller's plain loop does the rest.

namespace ftt::cpu::FTT_ISA {
namespace {

inline __m256i LoadInts(const int32_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

// Eight accumulators.
inline __m256 LoadRaw(const int32_t* p) { return _mm256_cvtepi32_ps(LoadInts(p)); }
inline __m256 LoadRaw(const float* p) { return _mm256_loadu_ps(p); }
inline __m256 LoadRaw(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// Eight gradients.
inline __m256 LoadGrad(const float* p) { return _mm256_loadu_ps(p); }
inline __m256 LoadGrad(const uint16_t* p) {
  const __m128i upper = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(upper), 16));
}

// Sixteen floats as bfloat16, ties away from zero.
inline void StoreNarrow(uint16_t* p, const __m256 (&v)[2]) {
  __m256i upper[2];
  for (int h = 0; h < 2; ++h) {
    const __m256i rounded = _mm256_add_epi32(_mm256_castps_si256(v[h]), _mm256_set1_epi32(0x8000));
    upper[h] = _mm256_srli_epi32(rounded, 16);
  }
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(upper[0], upper[1]), 0xD8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), packed);
}

inline void StoreInts(int32_t* p, __m256i v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
}

inline __m128i LoadCodes8(const void* p) { return _mm_loadl_epi64(static_cast<const __m128i*>(p)); }

inline __m128i LoadCodes16(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}

inline __m256i LoadCodes32(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

// The mask's bits of elements [i, i + 16), i a multiple of 8; all ones without a mask.
inline uint32_t MaskBits16(const uint8_t* mask, int64_t i) {
  if (mask == nullptr) return 0xFFFFu;
  uint16_t bits;
  std::memcpy(&bits, mask + i / 8, sizeof bits);
  return bits;
}

// The sign of lane k of half h is bit 8 h + k.
struct LaneMasks {
  explicit LaneMasks(uint32_t bits) {
    const __m256i all = _mm256_set1_epi16(static_cast<int16_t>(bits));
    half[0] = _mm256_sllv_epi32(all, _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24));
    half[1] = _mm256_sllv_epi32(all, _mm256_setr_epi32(23, 22, 21, 20, 19, 18, 17, 16));
  }
  // v where the bit is set, else 0
  __m256 Keep(int h, __m256 v) const {
    return _mm256_blendv_ps(_mm256_setzero_ps(), v, _mm256_castsi256_ps(half[h]));
  }
  __m256i half[2];
};

int64_t ToFloatVectors(const int8_t* x, int64_t n, bool relu, float* out) {
  const __m256i floor = _mm256_set1_epi32(relu ? 0 : -128);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int h = 0; h < 2; ++h) {
      const __m256i wide = _mm256_cvtepi8_epi32(LoadCodes8(x + i + 8 * h));
      _mm256_storeu_ps(out + i + 8 * h, _mm256_cvtepi32_ps(_mm256_max_epi32(wide, floor)));
    }
  }
  return i;
}

template <bool kMask, bool kRelu, bool kAccumulate>
int64_t PassGradVectors(const float* g, float scale, const int8_t* x, const uint8_t* mask,
                        int64_t n, float* gx) {
  const __m256 factor = _mm256_set1_ps(scale);
  const auto pass = [&](int64_t at, int h, const LaneMasks& inside) {
    __m256 v = _mm256_loadu_ps(g + at);
    if (kMask) v = inside.Keep(h, v);
    if (kRelu) {
      const __m256i codes = _mm256_cvtepi8_epi32(LoadCodes8(x + at));
      v = _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_cmpgt_epi32(codes, _mm256_setzero_si256())));
    }
    v = _mm256_mul_ps(v, factor);
    if (kAccumulate) v = _mm256_add_ps(v, _mm256_loadu_ps(gx + at));
    _mm256_storeu_ps(gx + at, v);
  };
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const LaneMasks inside(kMask ? MaskBits16(mask, i) : 0xFFFFu);
    pass(i, 0, inside);
    pass(i + 8, 1, inside);
  }
  if (i + 8 <= n) {  // pools pass single pixels
    pass(i, 0, LaneMasks(kMask ? mask[i / 8] : 0xFFu));
    i += 8;
  }
  return i;
}

template <bool kMask, bool kRelu>
int64_t PassGradVectors(const float* g, float scale, const int8_t* x, const uint8_t* mask,
                        int64_t n, bool accumulate, float* gx) {
  return accumulate ? PassGradVectors<kMask, kRelu, true>(g, scale, x, mask, n, gx)
                    : PassGradVectors<kMask, kRelu, false>(g, scale, x, mask, n, gx);
}

int64_t PassGradVectors(const float* g, float scale, const int8_t* x, bool relu,
                        const uint8_t* mask, int64_t n, bool accumulate, float* gx) {
  if (mask != nullptr) {
    return relu ? PassGradVectors<true, true>(g, scale, x, mask, n, accumulate, gx)
                : PassGradVectors<true, false>(g, scale, x, mask, n, accumulate, gx);
  }
  return relu ? PassGradVectors<false, true>(g, scale, x, mask, n, accumulate, gx)
              : PassGradVectors<false, false>(g, scale, x, mask, n, accumulate, gx);
}

}  // namespace
}  // namespace ftt::cpu::FTT_ISA
