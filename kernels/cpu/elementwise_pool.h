// Pools over runs of pixels. Part of elementwise_impl.h: once per instruction set, no include guard
// on purpose.

namespace ftt::cpu::FTT_ISA {
namespace {

void MaxCodes(const int8_t* x, int64_t n, int8_t* best) {
  for (int64_t i = 0; i < n; ++i) best[i] = x[i] > best[i] ? x[i] : best[i];
}

void FirstMax(const int8_t* x, int64_t n, uint8_t tap, int8_t* best, uint8_t* arg) {
  for (int64_t i = 0; i < n; ++i) {
    const bool better = (x[i] > best[i]) | (arg[i] == kNoTap);
    arg[i] = better ? tap : arg[i];
    best[i] = better ? x[i] : best[i];
  }
}

void RouteGrad(const float* g, const uint8_t* arg, uint8_t tap, int64_t n, float* gx) {
  for (int64_t i = 0; i < n; ++i) gx[i] += arg[i] == tap ? g[i] : 0.0f;
}

void AddCodes(const int8_t* x, int64_t n, bool relu, int16_t* sums) {
  const auto low = static_cast<int16_t>(relu ? 0 : -128);
  for (int64_t i = 0; i < n; ++i) {
    const int16_t code = x[i];
    sums[i] = static_cast<int16_t>(sums[i] + (code > low ? code : low));
  }
}

void WidenCodes(const int8_t* x, int64_t n, int32_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = x[i];
}

// Float division is exact enough to round right: |sum| <= 128 * taps, and quotients at a distance
// of 1 / (2 taps) from a tie are told apart from it.
void AverageSums(const int16_t* sums, int64_t n, int taps, int32_t* out) {
  const auto divisor = static_cast<float>(taps);
  int64_t i = 0;
#if FTT_AVX512
  for (; i + kVector <= n; i += kVector) {
    const __m256i sum = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + i));
    const __m512 value = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(sum));
    _mm512_storeu_si512(out + i,
                        _mm512_cvt_roundps_epi32(_mm512_div_ps(value, _mm512_set1_ps(divisor)),
                                                 _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
#endif
  for (; i < n; ++i) {
    out[i] = static_cast<int32_t>(std::rint(static_cast<float>(sums[i]) / divisor));
  }
}

}  // namespace
}  // namespace ftt::cpu::FTT_ISA
