// Sums of two maps. Part of elementwise_impl.h: once per instruction set, no include guard on
// purpose.

namespace ftt::cpu::FTT_ISA {
namespace {

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

#if FTT_AVX512 || FTT_AVX2
// With shifts this small a sum of two codes and the rounding constant stay within 16 bits.
constexpr int kShortShift = 6, kShortRound = 14;

bool FitsShort(const Parts& s) {
  return s.x_shift <= kShortShift && (s.y == nullptr || s.y_shift <= kShortShift);
}
#endif

#if FTT_AVX512
__m512i ShortPart(const int8_t* codes, __m256i low, __m128i shift) {
  const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
  return _mm512_sll_epi16(_mm512_cvtepi8_epi16(_mm256_max_epi8(v, low)), shift);
}

// Sums of 32 elements at a time.
struct ShortSum {
  explicit ShortSum(const Parts& s)
      : parts(s),
        x_low(_mm256_set1_epi8(static_cast<char>(s.x_low))),
        y_low(_mm256_set1_epi8(static_cast<char>(s.y_low))),
        x_shift(_mm_cvtsi32_si128(s.x_shift)),
        y_shift(_mm_cvtsi32_si128(s.y_shift)) {}
  __m512i At(int64_t i) const {
    const __m512i x = ShortPart(parts.x + i, x_low, x_shift);
    return parts.y == nullptr ? x : _mm512_add_epi16(x, ShortPart(parts.y + i, y_low, y_shift));
  }
  const Parts& parts;
  __m256i x_low, y_low;
  __m128i x_shift, y_shift;
};

// Whole blocks of 64 elements; returns how many elements that were.
int64_t ShortSumMax(const Parts& s, int64_t n, int32_t* largest) {
  const ShortSum sum(s);
  __m512i most = _mm512_setzero_si512();
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) most = _mm512_max_epi16(most, _mm512_abs_epi16(sum.At(i)));
  int16_t lanes[32];
  std::memcpy(lanes, &most, sizeof lanes);
  for (const int16_t v : lanes) *largest = std::max<int32_t>(*largest, v);
  return i;
}

int64_t ShortSumCodes(const Parts& s, int64_t n, int right, int low, int high, int8_t* codes,
                      uint8_t* mask) {
  const ShortSum sum(s);
  const __m128i shift = _mm_cvtsi32_si128(right);
  const __m512i half =
      _mm512_set1_epi16(static_cast<int16_t>(right > 0 ? (1 << (right - 1)) - 1 : 0));
  const __m512i one = _mm512_set1_epi16(right > 0 ? 1 : 0);
  const __m512i vlow = _mm512_set1_epi16(static_cast<int16_t>(low)),
                vhigh = _mm512_set1_epi16(static_cast<int16_t>(high));
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    __m512i clamped[2];
    uint64_t inside = 0;
    for (int h = 0; h < 2; ++h) {
      const __m512i v = sum.At(i + 32 * h);
      const __m512i odd = _mm512_and_si512(_mm512_sra_epi16(v, shift), one);
      const __m512i rounded =
          _mm512_sra_epi16(_mm512_add_epi16(_mm512_add_epi16(v, half), odd), shift);
      clamped[h] = _mm512_min_epi16(_mm512_max_epi16(rounded, vlow), vhigh);
      if (mask != nullptr)
        inside |= uint64_t{_mm512_cmpeq_epi16_mask(rounded, clamped[h])} << (32 * h);
    }
    _mm512_storeu_si512(
        codes + i, _mm512_permutexvar_epi64(order, _mm512_packs_epi16(clamped[0], clamped[1])));
    if (mask != nullptr) std::memcpy(mask + i / 8, &inside, sizeof inside);
  }
  return i;
}
#elif FTT_AVX2
// Sums of 16 elements at a time.
template <bool kTwo>
struct ShortSum {
  explicit ShortSum(const Parts& s)
      : parts(s),
        x_low(_mm_set1_epi8(static_cast<char>(s.x_low))),
        y_low(_mm_set1_epi8(static_cast<char>(s.y_low))),
        x_shift(_mm_cvtsi32_si128(s.x_shift)),
        y_shift(_mm_cvtsi32_si128(s.y_shift)) {}
  static __m256i Part(const int8_t* codes, __m128i low, __m128i shift) {
    return _mm256_sll_epi16(_mm256_cvtepi8_epi16(_mm_max_epi8(LoadCodes16(codes), low)), shift);
  }
  __m256i At(int64_t i) const {
    const __m256i x = Part(parts.x + i, x_low, x_shift);
    return kTwo ? _mm256_add_epi16(x, Part(parts.y + i, y_low, y_shift)) : x;
  }
  const Parts parts;
  __m128i x_low, y_low, x_shift, y_shift;
};

template <bool kTwo>
int64_t ShortSumMax(const Parts& s, int64_t n, int32_t* largest) {
  const ShortSum<kTwo> sum(s);
  __m256i most[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    for (int h = 0; h < 2; ++h)
      most[h] = _mm256_max_epi16(most[h], _mm256_abs_epi16(sum.At(i + 16 * h)));
  }
  int16_t lanes[32];
  std::memcpy(lanes, most, sizeof lanes);
  for (const int16_t v : lanes) *largest = std::max<int32_t>(*largest, v);
  return i;
}

template <bool kTwo>
int64_t ShortSumCodes(const Parts& s, int64_t n, int right, int low, int high, int8_t* codes,
                      uint8_t* mask) {
  const ShortSum<kTwo> sum(s);
  const CodeLimits limits(low, high);
  const __m128i shift = _mm_cvtsi32_si128(right);
  const __m256i half =
      _mm256_set1_epi16(static_cast<int16_t>(right > 0 ? (1 << (right - 1)) - 1 : 0));
  const __m256i one = _mm256_set1_epi16(right > 0 ? 1 : 0);
  const auto rounded = [&](int64_t i) {
    const __m256i v = sum.At(i);
    const __m256i odd = _mm256_and_si256(_mm256_sra_epi16(v, shift), one);
    return _mm256_sra_epi16(_mm256_add_epi16(_mm256_add_epi16(v, half), odd), shift);
  };
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const Bytes bytes(limits, rounded(i), rounded(i + 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + i),
                        _mm256_permute4x64_epi64(bytes.codes, 0xD8));
    if (mask != nullptr) StoreBits32(mask, i, _mm256_permute4x64_epi64(bytes.inside, 0xD8));
  }
  return i;
}

int64_t ShortSumMax(const Parts& s, int64_t n, int32_t* largest) {
  return s.y == nullptr ? ShortSumMax<false>(s, n, largest) : ShortSumMax<true>(s, n, largest);
}

int64_t ShortSumCodes(const Parts& s, int64_t n, int right, int low, int high, int8_t* codes,
                      uint8_t* mask) {
  return s.y == nullptr ? ShortSumCodes<false>(s, n, right, low, high, codes, mask)
                        : ShortSumCodes<true>(s, n, right, low, high, codes, mask);
}
#endif

int32_t SumMax(const int8_t* x, int x_shift, bool x_relu, const int8_t* y, int y_shift, bool y_relu,
               int64_t n) {
  const Parts s{x, y, x_shift, y_shift, x_relu ? 0 : -128, y_relu ? 0 : -128};
  int32_t largest = 0;
  int64_t i = 0;
#if FTT_AVX512 || FTT_AVX2
  if (FitsShort(s)) i = ShortSumMax(s, n, &largest);
#endif
  if (y == nullptr) {
    for (; i < n; ++i) largest = std::max(largest, std::abs(SumAt(s, i)));
  } else {
    for (; i < n; ++i) largest = std::max(largest, std::abs(SumAt2(s, i)));
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
  int64_t i = 0;
#if FTT_AVX512 || FTT_AVX2
  if (FitsShort(s) && shift >= 0 && shift <= kShortRound)
    i = ShortSumCodes(s, n, shift, low, high, codes, mask);
#endif
  for (; i < n; i += 64) {
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

}  // namespace
}  // namespace ftt::cpu::FTT_ISA
