#include "faults/philox_blocks.h"

#include "core/philox.h"
#include "faults/x86_intrinsics.h"

namespace ftt {
namespace {

void BlocksGeneric(const PhiloxBatch& b, const uint32_t* word0, int n, uint32_t* out) {
  for (int i = 0; i < n; ++i) {
    const PhiloxCounter block =
        Philox(PhiloxCounter{{word0[i], b.word1, b.word2, b.word3}}, b.key0, b.key1);
    for (int w = 0; w < 4; ++w) out[4 * i + w] = block.v[w];
  }
}

#ifdef FTT_X86_INTRINSICS

// A counter word of a block lives in the lower half of a 64-bit lane; what a multiplication leaves
// in the upper half is ignored by the next one, so a round costs two multiplications, two shifts
// and the xors.

#define FTT_AVX2_TARGET __attribute__((target("avx2")))

// Words 0 and 2 after a round, all or part of them; words 1 and 3 are the products.
FTT_AVX2_TARGET inline __m256i UpperXor(__m256i product, __m256i other) {
  return _mm256_xor_si256(_mm256_srli_epi64(product, 32), other);
}

// What the blocks of a batch have in common. They differ in word 0 only, so one of the two
// multiplications of round 1 is the same for all of them, and one of round 2. These products are
// part of the keys here, and so is word 3.
class SharedRounds {
 public:
  FTT_AVX2_TARGET explicit SharedRounds(const PhiloxBatch& b) {
    key0_[0] = _mm256_set1_epi64x(b.key0);
    key1_[0] = _mm256_set1_epi64x(b.key1);
    for (int round = 1; round < 10; ++round) {
      key0_[round] = _mm256_add_epi32(key0_[round - 1], _mm256_set1_epi64x(0x9E3779B9));
      key1_[round] = _mm256_add_epi32(key1_[round - 1], _mm256_set1_epi64x(0xBB67AE85));
    }
    const __m256i round1 = _mm256_mul_epu32(_mm256_set1_epi64x(b.word2), m1_);
    const __m256i word0 = UpperXor(round1, _mm256_xor_si256(_mm256_set1_epi64x(b.word1), key0_[0]));
    const __m256i round2 = _mm256_mul_epu32(word0, m0_);
    key1_[0] = _mm256_xor_si256(key1_[0], _mm256_set1_epi64x(b.word3));
    key0_[1] = _mm256_xor_si256(key0_[1], round1);
    key1_[1] = UpperXor(round2, key1_[1]);
    key1_[2] = _mm256_xor_si256(key1_[2], round2);
  }

  // 4 * kChains blocks: independent chains hide the latency of the multiplications.
  template <int kChains>
  FTT_AVX2_TARGET inline void Blocks(const uint32_t* word0, uint32_t* out) const {
    __m256i x0[kChains], x1[kChains], x2[kChains], x3[kChains];
    for (int h = 0; h < kChains; ++h) {
      const __m256i first = _mm256_mul_epu32(
          _mm256_cvtepu32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(word0 + 4 * h))),
          m0_);
      const __m256i second = _mm256_mul_epu32(UpperXor(first, key1_[0]), m1_);
      x1[h] = _mm256_mul_epu32(_mm256_xor_si256(first, key1_[1]), m1_);
      x3[h] = _mm256_mul_epu32(UpperXor(second, key0_[1]), m0_);
      x0[h] = _mm256_xor_si256(UpperXor(x1[h], second), key0_[2]);
      x2[h] = UpperXor(x3[h], key1_[2]);
    }
#pragma GCC unroll 1  // unrolled, the chains take more registers than there are
    for (int round = 3; round < 10; ++round) {
      for (int h = 0; h < kChains; ++h) {
        const __m256i p0 = _mm256_mul_epu32(x0[h], m0_), p1 = _mm256_mul_epu32(x2[h], m1_);
        x0[h] = _mm256_xor_si256(UpperXor(p1, x1[h]), key0_[round]);
        x2[h] = _mm256_xor_si256(UpperXor(p0, x3[h]), key1_[round]);
        x1[h] = p1;
        x3[h] = p0;
      }
    }
    for (int h = 0; h < kChains; ++h) {
      const __m256i low = _mm256_blend_epi32(x0[h], _mm256_slli_epi64(x1[h], 32), 0xAA);
      const __m256i high = _mm256_blend_epi32(x2[h], _mm256_slli_epi64(x3[h], 32), 0xAA);
      const __m256i even = _mm256_unpacklo_epi64(low, high), odd = _mm256_unpackhi_epi64(low, high);
      auto* to = reinterpret_cast<__m256i*>(out + 16 * h);
      _mm256_storeu_si256(to, _mm256_permute2x128_si256(even, odd, 0x20));
      _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(even, odd, 0x31));
    }
  }

 private:
  __m256i m0_ = _mm256_set1_epi64x(0xD2511F53), m1_ = _mm256_set1_epi64x(0xCD9E8D57);
  __m256i key0_[10], key1_[10];
};

FTT_AVX2_TARGET void BlocksAvx2(const PhiloxBatch& b, const uint32_t* word0, int n, uint32_t* out) {
  const SharedRounds shared(b);
  int i = 0;
  for (; n - i > 8; i += 12) shared.Blocks<3>(word0 + i, out + 4 * i);
  if (n - i > 4) {
    shared.Blocks<2>(word0 + i, out + 4 * i);
  } else if (n > i) {
    shared.Blocks<1>(word0 + i, out + 4 * i);
  }
}

// 16 blocks at a time: two independent chains hide the latency of the multiplications.
__attribute__((target("avx512f"))) void BlocksAvx512(const PhiloxBatch& b, const uint32_t* word0,
                                                     int n, uint32_t* out) {
  const __m512i m0 = _mm512_set1_epi64(0xD2511F53), m1 = _mm512_set1_epi64(0xCD9E8D57);
  const __m512i from_low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
  const __m512i from_high = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
  constexpr int kXor3 = 0x96;
  for (int i = 0; i < n; i += 16) {
    __m512i x0[2], x1[2], x2[2], x3[2];
    for (int h = 0; h < 2; ++h) {
      x0[h] = _mm512_cvtepu32_epi64(
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(word0 + i + 8 * h)));
      x1[h] = _mm512_set1_epi64(b.word1);
      x2[h] = _mm512_set1_epi64(b.word2);
      x3[h] = _mm512_set1_epi64(b.word3);
    }
    uint32_t key0 = b.key0, key1 = b.key1;
    for (int round = 0; round < 10; ++round) {
      const __m512i k0 = _mm512_set1_epi64(key0), k1 = _mm512_set1_epi64(key1);
      for (int h = 0; h < 2; ++h) {
        const __m512i p0 = _mm512_mul_epu32(x0[h], m0), p1 = _mm512_mul_epu32(x2[h], m1);
        x0[h] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), x1[h], k0, kXor3);
        x2[h] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), x3[h], k1, kXor3);
        x1[h] = p1;
        x3[h] = p0;
      }
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    for (int h = 0; h < 2; ++h) {
      const __m512i low = _mm512_mask_shuffle_epi32(x0[h], 0xAAAA, x1[h], _MM_PERM_CCAA);
      const __m512i high = _mm512_mask_shuffle_epi32(x2[h], 0xAAAA, x3[h], _MM_PERM_CCAA);
      uint32_t* to = out + 4 * (i + 8 * h);
      _mm512_storeu_si512(to, _mm512_permutex2var_epi64(low, from_low, high));
      _mm512_storeu_si512(to + 16, _mm512_permutex2var_epi64(low, from_high, high));
    }
  }
}

#endif

PhiloxBlocksFunction Fastest() {
  PhiloxVariant variants[3];
  return variants[PhiloxVariants(variants) - 1].function;
}

}  // namespace

int PhiloxVariants(PhiloxVariant* variants) {
  int n = 0;
  variants[n++] = {"generic", BlocksGeneric};
#ifdef FTT_X86_INTRINSICS
  if (__builtin_cpu_supports("avx2")) variants[n++] = {"avx2", BlocksAvx2};
  if (__builtin_cpu_supports("avx512f")) variants[n++] = {"avx512", BlocksAvx512};
#endif
  return n;
}

void PhiloxBlocks(const PhiloxBatch& batch, const uint32_t* word0, int n, uint32_t* out) {
  static const PhiloxBlocksFunction fastest = Fastest();
  fastest(batch, word0, n, out);
}

}  // namespace ftt
