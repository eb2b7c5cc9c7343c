// Batch-norm statistics and gradients on AVX2. Part of elementwise_impl.h: once per instruction
// set, no include guard on purpose.

namespace ftt::cpu::FTT_ISA {
namespace {

inline void Prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
inline void PrefetchToWrite(void* p) { __builtin_prefetch(p, 1); }

// How far ahead of its element a piece of rows fetches from memory, which the processor does not do
// well by itself across rows: the same column of the rows that come next, but not too near.
inline int64_t NextRows(int64_t rows, int period) {
  const int64_t next = rows * period;
  return next < 1024 ? 2 * next : next;
}

inline __m256i IntsOf(const int32_t* p, __m256) { return LoadInts(p); }
inline __m256i IntsOf(const float*, __m256 loaded) { return _mm256_cvtps_epi32(loaded); }

template <bool kHalves, typename V>
void StatsBlock(const V* v, int64_t rows, int period, float* sum, float* sum_squares, int32_t* min,
                int32_t* max, float down, uint16_t* halves) {
  const __m256 factor = _mm256_set1_ps(down);
  __m256 s[2] = {_mm256_loadu_ps(sum), _mm256_loadu_ps(sum + 8)};
  __m256 q[2] = {_mm256_loadu_ps(sum_squares), _mm256_loadu_ps(sum_squares + 8)};
  __m256i lo[2] = {LoadInts(min), LoadInts(min + 8)};
  __m256i hi[2] = {LoadInts(max), LoadInts(max + 8)};
  const int64_t ahead = NextRows(rows, period);
  for (int64_t r = 0, i = 0; r < rows; ++r, i += period) {
    if (kHalves) PrefetchToWrite(halves + i + ahead);
    __m128i half[2];
    for (int h = 0; h < 2; ++h) {
      const __m256 f = LoadRaw(v + i + 8 * h);
      const __m256i row = IntsOf(v + i + 8 * h, f);
      s[h] = _mm256_add_ps(s[h], f);
      q[h] = _mm256_fmadd_ps(f, f, q[h]);
      lo[h] = _mm256_min_epi32(lo[h], row);
      hi[h] = _mm256_max_epi32(hi[h], row);
      if (kHalves) half[h] = _mm256_cvtps_ph(_mm256_mul_ps(f, factor), _MM_FROUND_TO_NEAREST_INT);
    }
    if (kHalves)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(halves + i),
                          _mm256_set_m128i(half[1], half[0]));
  }
  for (int h = 0; h < 2; ++h) {
    _mm256_storeu_ps(sum + 8 * h, s[h]);
    _mm256_storeu_ps(sum_squares + 8 * h, q[h]);
    StoreInts(min + 8 * h, lo[h]);
    StoreInts(max + 8 * h, hi[h]);
  }
}

template <bool kMask, bool kNarrow, typename Raw>
void NormSumsRows(const Raw* acc, int64_t rows, int period, const uint8_t* mask, const float* grad,
                  float* sum_g, float* sum_ga, uint16_t* narrow) {
  const int64_t ahead = NextRows(rows, period);
  __m256 sg[2] = {_mm256_loadu_ps(sum_g), _mm256_loadu_ps(sum_g + 8)};
  __m256 sa[2] = {_mm256_loadu_ps(sum_ga), _mm256_loadu_ps(sum_ga + 8)};
  for (int64_t r = 0, i = 0; r < rows; ++r, i += period) {
    const LaneMasks inside(kMask ? MaskBits16(mask, i) : 0xFFFFu);
    Prefetch(acc + i + ahead);
    if (kNarrow) PrefetchToWrite(narrow + i + ahead);
    __m256 g[2];
    for (int h = 0; h < 2; ++h) {
      g[h] = _mm256_loadu_ps(grad + i + 8 * h);
      if (kMask) g[h] = inside.Keep(h, g[h]);
      sg[h] = _mm256_add_ps(sg[h], g[h]);
      sa[h] = _mm256_fmadd_ps(g[h], LoadRaw(acc + i + 8 * h), sa[h]);
    }
    if (kNarrow) StoreNarrow(narrow + i, g);
  }
  for (int h = 0; h < 2; ++h) {
    _mm256_storeu_ps(sum_g + 8 * h, sg[h]);
    _mm256_storeu_ps(sum_ga + 8 * h, sa[h]);
  }
}

template <typename Raw>
void NormSumsBlock(const Raw* acc, int64_t rows, int period, const uint8_t* mask, const float* grad,
                   float* sum_g, float* sum_ga, uint16_t* narrow) {
  const auto run =
      mask == nullptr
          ? (narrow == nullptr ? NormSumsRows<false, false, Raw> : NormSumsRows<false, true, Raw>)
          : (narrow == nullptr ? NormSumsRows<true, false, Raw> : NormSumsRows<true, true, Raw>);
  run(acc, rows, period, mask, grad, sum_g, sum_ga, narrow);
}

constexpr int64_t kAhead = 256;  // elements

template <bool kMask, typename Raw, typename Grad>
void NormApplyBlock(const Raw* acc, int64_t rows, int period, const NormCoefficients& k,
                    const uint8_t* mask, const Grad* grad, float* out) {
  const __m256 p[2] = {_mm256_loadu_ps(k.p), _mm256_loadu_ps(k.p + 8)};
  const __m256 q[2] = {_mm256_loadu_ps(k.q), _mm256_loadu_ps(k.q + 8)};
  const __m256 r[2] = {_mm256_loadu_ps(k.r), _mm256_loadu_ps(k.r + 8)};
  for (int64_t row = 0, i = 0; row < rows; ++row, i += period) {
    const LaneMasks inside(kMask ? MaskBits16(mask, i) : 0xFFFFu);
    Prefetch(acc + i + kAhead);
    Prefetch(grad + i + kAhead);
    for (int h = 0; h < 2; ++h) {
      __m256 g = LoadGrad(grad + i + 8 * h);
      if (kMask) g = inside.Keep(h, g);
      const __m256 inner = _mm256_fmadd_ps(g, p[h], r[h]);
      _mm256_storeu_ps(out + i + 8 * h, _mm256_fmadd_ps(LoadRaw(acc + i + 8 * h), q[h], inner));
    }
  }
}

template <bool kMask, typename Raw, typename Grad>
int64_t NormApplyVectors(const Raw* acc, int64_t n, int period, const NormCoefficients& k,
                         const uint8_t* mask, const Grad* grad, float* out) {
  const int64_t rows = n / period, few = RowsAtATime(period, 1);
  for (int64_t row = 0; row < rows; row += few) {
    const int64_t count = std::min(few, rows - row);
    for (int j = 0; j < period; j += kVector) {
      const int64_t at = row * period + j;
      NormApplyBlock<kMask>(acc + at, count, period, {k.p + j, k.q + j, k.r + j},
                            kMask ? mask + at / 8 : nullptr, grad + at, out + at);
    }
  }
  return rows * period;
}

}  // namespace
}  // namespace ftt::cpu::FTT_ISA
