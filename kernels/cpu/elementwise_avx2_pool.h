// Pools and concatenations on AVX2. Part of elementwise_impl.h: once per instruction set, no
// include guard on purpose.

namespace ftt::cpu::FTT_ISA {
namespace {

// Calls body.template Run<bytes>(at) so that pieces of 32, 16, 8 and 1 bytes cover [0, n). The last
// piece of a size may overlap the one before: what body writes must not depend on what it wrote.
template <typename Body>
inline void ForPieces(int64_t n, const Body& body) {
  if (n >= 32) {
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) body.template Run<32>(i);
    if (i < n) body.template Run<32>(n - 32);
  } else if (n >= 16) {
    body.template Run<16>(0);
    if (n > 16) body.template Run<16>(n - 16);
  } else if (n >= 8) {
    body.template Run<8>(0);
    if (n > 8) body.template Run<8>(n - 8);
  } else {
    for (int64_t i = 0; i < n; ++i) body.template Run<1>(i);
  }
}

template <int kBytes>
inline __m256i LoadPiece(const void* p) {
  if constexpr (kBytes == 32) return LoadCodes32(p);
  if constexpr (kBytes == 16) return _mm256_castsi128_si256(LoadCodes16(p));
  if constexpr (kBytes == 8) return _mm256_castsi128_si256(LoadCodes8(p));
  return _mm256_castsi128_si256(_mm_cvtsi32_si128(*static_cast<const uint8_t*>(p)));
}

template <int kBytes>
inline void StorePiece(void* p, __m256i v) {
  const __m128i low = _mm256_castsi256_si128(v);
  if constexpr (kBytes == 32) _mm256_storeu_si256(static_cast<__m256i*>(p), v);
  if constexpr (kBytes == 16) _mm_storeu_si128(static_cast<__m128i*>(p), low);
  if constexpr (kBytes == 8) _mm_storel_epi64(static_cast<__m128i*>(p), low);
  if constexpr (kBytes == 1) *static_cast<int8_t*>(p) = static_cast<int8_t>(_mm_cvtsi128_si32(low));
}

struct MaxPiece {
  template <int kBytes>
  void Run(int64_t i) const {
    __m256i best = low;
    for (int t = 0; t < taps; ++t)
      best = _mm256_max_epi8(best, LoadPiece<kBytes>(x + t * tap_step + i));
    StorePiece<kBytes>(out + i, best);
  }
  const int8_t* x;
  int taps;
  int64_t tap_step;
  __m256i low;
  int8_t* out;
};

struct CopyPiece {
  template <int kBytes>
  void Run(int64_t i) const {
    StorePiece<kBytes>(out + i, LoadPiece<kBytes>(x + i));
  }
  const int8_t* x;
  int8_t* out;
};

// Whole words only: n counts bytes here, and pieces of one byte never occur.
struct SumPiece {
  template <int kBytes>
  void Run(int64_t i) const {
    __m256i sum = _mm256_setzero_si256();
    for (int t = 0; t < taps; ++t)
      sum = _mm256_add_epi16(sum, LoadPiece<kBytes>(x + t * tap_step + i));
    StorePiece<kBytes>(out + i, sum);
  }
  const uint8_t* x;
  int taps;
  int64_t tap_step;
  uint8_t* out;
};

int64_t SumPixelsVectors(const int8_t* x, int64_t pixels, int64_t c, bool relu, int32_t* sums) {
  const __m256i floor = _mm256_set1_epi32(relu ? 0 : -128);
  int64_t i = 0;
  for (; i + 16 <= c; i += 16) {
    __m256i sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (int64_t p = 0; p < pixels; ++p) {
      for (int h = 0; h < 2; ++h) {
        const __m256i codes = _mm256_cvtepi8_epi32(LoadCodes8(x + p * c + i + 8 * h));
        sum[h] = _mm256_add_epi32(sum[h], _mm256_max_epi32(codes, floor));
      }
    }
    StoreInts(sums + i, sum[0]);
    StoreInts(sums + i + 8, sum[1]);
  }
  return i;
}

int64_t FirstMaxVectors(const int8_t* x, int64_t n, uint8_t tap, int8_t* best, uint8_t* arg) {
  const __m256i this_tap = _mm256_set1_epi8(static_cast<char>(tap));
  const __m256i none = _mm256_set1_epi8(static_cast<char>(kNoTap));
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m256i codes = LoadCodes32(x + i), most = LoadCodes32(best + i);
    const __m256i taps = LoadCodes32(arg + i);
    const __m256i better =
        _mm256_or_si256(_mm256_cmpgt_epi8(codes, most), _mm256_cmpeq_epi8(taps, none));
    StorePiece<32>(arg + i, _mm256_blendv_epi8(taps, this_tap, better));
    StorePiece<32>(best + i, _mm256_blendv_epi8(most, codes, better));
  }
  for (; i + 8 <= n; i += 8) {
    const __m128i codes = LoadCodes8(x + i), most = LoadCodes8(best + i);
    const __m128i taps = LoadCodes8(arg + i);
    const __m128i better = _mm_or_si128(_mm_cmpgt_epi8(codes, most),
                                        _mm_cmpeq_epi8(taps, _mm256_castsi256_si128(none)));
    const __m128i tap8 = _mm256_castsi256_si128(this_tap);
    StorePiece<8>(arg + i, _mm256_castsi128_si256(_mm_blendv_epi8(taps, tap8, better)));
    StorePiece<8>(best + i, _mm256_castsi128_si256(_mm_blendv_epi8(most, codes, better)));
  }
  return i;
}

int64_t RouteGradVectors(const float* g, const uint8_t* arg, uint8_t tap, int64_t n, float* gx) {
  const __m128i this_tap = _mm_set1_epi8(static_cast<char>(tap));
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i hit = _mm256_cvtepi8_epi32(_mm_cmpeq_epi8(LoadCodes8(arg + i), this_tap));
    const __m256 v = _mm256_and_ps(_mm256_loadu_ps(g + i), _mm256_castsi256_ps(hit));
    _mm256_storeu_ps(gx + i, _mm256_add_ps(_mm256_loadu_ps(gx + i), v));
  }
  return i;
}

int64_t AddCodesVectors(const int8_t* x, int64_t n, bool relu, int16_t* sums) {
  const __m128i floor = _mm_set1_epi8(static_cast<char>(relu ? 0 : -128));
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i codes = _mm256_cvtepi8_epi16(_mm_max_epi8(LoadCodes16(x + i), floor));
    StorePiece<32>(sums + i, _mm256_add_epi16(LoadCodes32(sums + i), codes));
  }
  return i;
}

int64_t WidenCodesVectors(const int8_t* x, int64_t n, int32_t* out) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) StoreInts(out + i, _mm256_cvtepi8_epi32(LoadCodes8(x + i)));
  return i;
}

int64_t AverageSumsVectors(const int16_t* sums, int64_t n, float divisor, int32_t* out) {
  const __m256 reciprocal = _mm256_set1_ps(1.0f / divisor);
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 value = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(LoadCodes16(sums + i)));
    const __m256 guess = _mm256_mul_ps(value, reciprocal);
    const __m256 rest = _mm256_fnmadd_ps(guess, _mm256_set1_ps(divisor), value);
    StoreInts(out + i, _mm256_cvtps_epi32(_mm256_fmadd_ps(rest, reciprocal, guess)));
  }
  return i;
}

}  // namespace
}  // namespace ftt::cpu::FTT_ISA
