// Internal: vectors for the depthwise kernels, one definition per instruction set, chosen by the
// compiler's options of the including file. Everything is static, see depthwise_table.h.
//
// "Packed" integers: a 32-bit lane holds kTaps codes that lie kTaps rows apart in the map and in
// one column, so that one dot-product instruction multiplies a lane's codes with kTaps weights.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// FTT_UNROLL: before a loop of constant length whose arrays must live in registers.
#if defined(__clang__)
#define FTT_UNROLL _Pragma("clang loop unroll(full)")
#define FTT_UNROLL_SOME _Pragma("clang loop unroll_count(4)")
#else
#define FTT_UNROLL _Pragma("GCC unroll 32")
#define FTT_UNROLL_SOME _Pragma("GCC unroll 4")
#endif

namespace ftt::cpu {
namespace {

#if defined(__AVX512BW__) && defined(__AVX512VL__)

constexpr int kLanes = 16;
using Floats = __m512;
using Ints = __m512i;

inline __mmask16 FirstLanes(int count) { return static_cast<__mmask16>((1u << count) - 1u); }
inline Floats Zero() { return _mm512_setzero_ps(); }
inline Floats Load(const float* p) { return _mm512_loadu_ps(p); }
inline Floats LoadFirst(const float* p, int count) {
  return _mm512_maskz_loadu_ps(FirstLanes(count), p);
}
inline void Store(float* p, Floats v) { _mm512_storeu_ps(p, v); }
inline void StoreFirst(float* p, Floats v, int count) {
  _mm512_mask_storeu_ps(p, FirstLanes(count), v);
}
inline Floats MultiplyAdd(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Ints Load(const int32_t* p) { return _mm512_loadu_si512(p); }
inline void Store(int32_t* p, Ints v) { _mm512_storeu_si512(p, v); }
inline void StoreFirst(int32_t* p, Ints v, int count) {
  _mm512_mask_storeu_epi32(p, FirstLanes(count), v);
}

#if defined(__AVX512VNNI__) && defined(__AVX512VBMI2__)

constexpr int kTaps = 4;            // unsigned 8-bit codes
constexpr int kSignedOffset = 128;  // added to signed codes, and taken off the sum
inline Ints Extend(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
// The packed codes one row further down: drops the first code of each lane, appends `next`.
inline Ints Advance(Ints packed, Ints next) { return _mm512_shrdi_epi32(packed, next, 8); }
inline Ints Dot(Ints sum, Ints packed, Ints weights) {
  return _mm512_dpbusd_epi32(sum, packed, weights);
}

#else

constexpr int kTaps = 2;  // signed 16-bit codes
constexpr int kSignedOffset = 0;
inline Ints Extend(const uint8_t* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Ints Advance(Ints packed, Ints next) {
  return _mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_srli_epi32(packed, 16),
                                 _mm512_slli_epi32(next, 16));
}
inline Ints Dot(Ints sum, Ints packed, Ints weights) {
  return _mm512_add_epi32(sum, _mm512_madd_epi16(packed, weights));
}

#endif

#elif defined(__AVX2__) && defined(__FMA__)

constexpr int kLanes = 8;
using Floats = __m256;
using Ints = __m256i;

inline __m256i FirstLanes(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Floats Zero() { return _mm256_setzero_ps(); }
inline Floats Load(const float* p) { return _mm256_loadu_ps(p); }
inline Floats LoadFirst(const float* p, int count) {
  return _mm256_maskload_ps(p, FirstLanes(count));
}
inline void Store(float* p, Floats v) { _mm256_storeu_ps(p, v); }
inline void StoreFirst(float* p, Floats v, int count) {
  _mm256_maskstore_ps(p, FirstLanes(count), v);
}
inline Floats MultiplyAdd(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Ints Load(const int32_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline void Store(int32_t* p, Ints v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
inline void StoreFirst(int32_t* p, Ints v, int count) {
  _mm256_maskstore_epi32(reinterpret_cast<int*>(p), FirstLanes(count), v);
}

constexpr int kTaps = 2;
constexpr int kSignedOffset = 0;
inline Ints Extend(const uint8_t* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline Ints Advance(Ints packed, Ints next) {
  return _mm256_blend_epi16(_mm256_srli_epi32(packed, 16), _mm256_slli_epi32(next, 16), 0xaa);
}
inline Ints Dot(Ints sum, Ints packed, Ints weights) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(packed, weights));
}

#else  // the compiler's own vectors, for any CPU

constexpr int kLanes = 4;
typedef float Floats __attribute__((vector_size(16)));
typedef int32_t Ints __attribute__((vector_size(16)));

template <typename V, typename T>
inline V LoadVector(const T* p, int count) {
  V v = {};
  std::memcpy(&v, p, static_cast<size_t>(count) * sizeof(T));
  return v;
}
inline Floats Zero() { return Floats{}; }
inline Floats Load(const float* p) { return LoadVector<Floats>(p, kLanes); }
inline Floats LoadFirst(const float* p, int count) { return LoadVector<Floats>(p, count); }
inline void Store(float* p, Floats v) { std::memcpy(p, &v, sizeof(v)); }
inline void StoreFirst(float* p, Floats v, int count) {
  std::memcpy(p, &v, static_cast<size_t>(count) * 4);
}
inline Floats MultiplyAdd(Floats a, Floats b, Floats c) { return a * b + c; }
inline Ints Load(const int32_t* p) { return LoadVector<Ints>(p, kLanes); }
inline void Store(int32_t* p, Ints v) { std::memcpy(p, &v, sizeof(v)); }
inline void StoreFirst(int32_t* p, Ints v, int count) {
  std::memcpy(p, &v, static_cast<size_t>(count) * 4);
}

constexpr int kTaps = 2;
constexpr int kSignedOffset = 0;
inline Ints Extend(const uint8_t* p) {
  typedef int8_t Codes __attribute__((vector_size(4)));
  Codes codes;
  std::memcpy(&codes, p, sizeof(codes));
  return __builtin_convertvector(codes, Ints);
}
inline Ints Advance(Ints packed, Ints next) { return ((packed >> 16) & 0xffff) | (next << 16); }
inline Ints Dot(Ints sum, Ints packed, Ints weights) {
#if defined(__SSE2__)
  return sum + (Ints)_mm_madd_epi16((__m128i)packed, (__m128i)weights);
#else
  return sum + ((packed << 16) >> 16) * ((weights << 16) >> 16) + (packed >> 16) * (weights >> 16);
#endif
}

#endif

// GCC would add up dot products in an order that needs more registers than there are, and hold
// every address of an unrolled loop in one of its own.
#if defined(__x86_64__)
inline void KeepInRegister(Ints& v) { asm("" : "+v"(v)); }
#else
inline void KeepInRegister(Ints&) {}
#endif
template <typename T>
inline void KeepAsOne(T*& p) {
  asm("" : "+r"(p));
}

constexpr int kMaxKernel = 5;

constexpr int Min(int a, int b) { return a < b ? a : b; }
constexpr int Max(int a, int b) { return a > b ? a : b; }
inline int CeilDiv(int a, int b) { return (a + b - 1) / b; }
inline int64_t RoundUp(int64_t a, int64_t b) { return (a + b - 1) / b * b; }
inline int Gcd(int a, int b) { return b == 0 ? a : Gcd(b, a % b); }

// Vectors after which channel and lane coincide again.
inline int Period(int channels) { return channels / Gcd(channels, kLanes); }

}  // namespace
}  // namespace ftt::cpu
