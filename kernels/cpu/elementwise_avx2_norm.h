// Batch-norm statistics and gradients on AVX2. Part of elementwise_impl.h: once per instruction
// set, no include guard on purpose.

namespace ftt::cpu::FTT_ISA {
namespace {

inline void AddBlock(const __m256* block, double* sums) {
  for (int k = 0; k < kVector; k += 4) {
    const __m256 half = block[k / 8];
    const __m128 four = k % 8 == 0 ? _mm256_castps256_ps128(half) : _mm256_extractf128_ps(half, 1);
    _mm256_storeu_pd(sums + k, _mm256_add_pd(_mm256_loadu_pd(sums + k), _mm256_cvtps_pd(four)));
  }
}

void StatsBlock(const int32_t* v, int64_t rows, int period, int j, double* sum, double* sum_squares,
                int32_t* min, int32_t* max) {
  __m256 s[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, q[2] = {s[0], s[0]};
  __m256i lo[2] = {LoadInts(min + j), LoadInts(min + j + 8)};
  __m256i hi[2] = {LoadInts(max + j), LoadInts(max + j + 8)};
  const int32_t* from = v + j;
  for (int64_t r = 0; r < rows; ++r, from += period) {
    for (int h = 0; h < 2; ++h) {
      const __m256i row = LoadInts(from + 8 * h);
      const __m256 f = _mm256_cvtepi32_ps(row);
      s[h] = _mm256_add_ps(s[h], f);
      q[h] = _mm256_fmadd_ps(f, f, q[h]);
      lo[h] = _mm256_min_epi32(lo[h], row);
      hi[h] = _mm256_max_epi32(hi[h], row);
    }
  }
  AddBlock(s, sum + j);
  AddBlock(q, sum_squares + j);
  for (int h = 0; h < 2; ++h) {
    StoreInts(min + j + 8 * h, lo[h]);
    StoreInts(max + j + 8 * h, hi[h]);
  }
}

// Accumulators fetched ahead: they come from memory, the gradient from a cache.
constexpr int64_t kAhead = 1024;

template <bool kMask>
void NormSumsRows(const int32_t* acc, int64_t rows, int period, const float* xscale,
                  const float* xshift, const uint8_t* mask, const float* grad, float* sum_g,
                  float* sum_gx) {
  const __m256 scale[2] = {_mm256_loadu_ps(xscale), _mm256_loadu_ps(xscale + 8)};
  const __m256 shift[2] = {_mm256_loadu_ps(xshift), _mm256_loadu_ps(xshift + 8)};
  __m256 sg[2] = {_mm256_loadu_ps(sum_g), _mm256_loadu_ps(sum_g + 8)};
  __m256 sx[2] = {_mm256_loadu_ps(sum_gx), _mm256_loadu_ps(sum_gx + 8)};
  for (int64_t r = 0, i = 0; r < rows; ++r, i += period) {
    const LaneMasks inside(kMask ? MaskBits16(mask, i) : 0xFFFFu);
    for (int h = 0; h < 2; ++h) {
      __m256 g = _mm256_loadu_ps(grad + i + 8 * h);
      if (kMask) g = _mm256_and_ps(g, inside.half[h]);
      if (h == 0) _mm_prefetch(reinterpret_cast<const char*>(acc + i + kAhead), _MM_HINT_T0);
      const __m256 xhat =
          _mm256_fmadd_ps(_mm256_cvtepi32_ps(LoadInts(acc + i + 8 * h)), scale[h], shift[h]);
      sg[h] = _mm256_add_ps(sg[h], g);
      sx[h] = _mm256_fmadd_ps(g, xhat, sx[h]);
    }
  }
  for (int h = 0; h < 2; ++h) {
    _mm256_storeu_ps(sum_g + 8 * h, sg[h]);
    _mm256_storeu_ps(sum_gx + 8 * h, sx[h]);
  }
}

void NormSumsBlock(const int32_t* acc, int64_t rows, int period, const float* xscale,
                   const float* xshift, const uint8_t* mask, const float* grad, float* sum_g,
                   float* sum_gx) {
  if (mask == nullptr) {
    NormSumsRows<false>(acc, rows, period, xscale, xshift, nullptr, grad, sum_g, sum_gx);
  } else {
    NormSumsRows<true>(acc, rows, period, xscale, xshift, mask, grad, sum_g, sum_gx);
  }
}

template <bool kMask>
int64_t NormApplyVectors(const int32_t* acc, int64_t n, int period, const NormCoefficients& k,
                         const uint8_t* mask, const float* grad, float* out) {
  int64_t i = 0;
  for (int j = 0; i + kVector <= n; i += kVector) {
    const LaneMasks inside(kMask ? MaskBits16(mask, i) : 0xFFFFu);
    for (int h = 0; h < 2; ++h) {
      const int64_t at = i + 8 * h;
      const int lane = j + 8 * h;
      __m256 g = _mm256_loadu_ps(grad + at);
      if (kMask) g = _mm256_and_ps(g, inside.half[h]);
      const __m256 inner =
          _mm256_fmadd_ps(g, _mm256_loadu_ps(k.p + lane), _mm256_loadu_ps(k.r + lane));
      _mm256_storeu_ps(out + at, _mm256_fmadd_ps(_mm256_cvtepi32_ps(LoadInts(acc + at)),
                                                 _mm256_loadu_ps(k.q + lane), inner));
    }
    j = j + kVector == period ? 0 : j + kVector;
  }
  return i;
}

}  // namespace
}  // namespace ftt::cpu::FTT_ISA
