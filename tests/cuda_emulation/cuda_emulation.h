// The device side of kernels/cuda/device.h as plain C++: threads are fibers, blocks run one after
// another. Semantics follow the CUDA programming guide and the PTX ISA (cp.async, ldmatrix,
// mma.m16n8k32 and k16); what they leave undefined is reported where it can be (block.h).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "tests/cuda_emulation/block.h"
#include "tests/cuda_emulation/matrix.h"
#include "tests/cuda_emulation/runtime.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define FTT_UNROLL
#define FTT_ROLLED
#define FTT_IN_PLACE const
#define FTT_NOINLINE __attribute__((noinline))
#define threadIdx (::ftt::emulation::running.thread->index)
#define blockIdx (::ftt::emulation::running.block_index)
#define blockDim (::ftt::emulation::running.launch->block)
#define gridDim (::ftt::emulation::running.launch->grid)
// A static shared variable of the enclosing kernel.
#define FTT_SHARED(Type, name)      \
  static const char name##_tag = 0; \
  Type& name = *static_cast<Type*>( \
      ::ftt::emulation::StaticShared(&name##_tag, sizeof(Type), alignof(Type)))

namespace ftt::cuda {

// CUDA's vector types.
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(8) int2 {
  int32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(16) int4 {
  int32_t x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
inline int2 make_int2(int32_t x, int32_t y) { return {x, y}; }
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
inline int4 make_int4(int32_t x, int32_t y, int32_t z, int32_t w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

using Half = _Float16;

inline void StartKernel() { emulation::StartOfKernel(); }
inline void StartKernel(int /*place*/) { emulation::StartOfKernel(); }
template <typename T>
T Anew(T v) {
  return v;
}
inline float HalfToFloat(Half v) { return static_cast<float>(v); }
inline Half FloatToHalf(float v) { return static_cast<Half>(v); }

inline uint8_t* SharedMemory() { return emulation::running.shared; }
inline void SyncThreads() { emulation::Barrier(); }
inline void ThreadFence() {}

namespace warp {

FTT_UNTRACED inline void Nothing(emulation::Thread*, uint32_t, size_t) {}

FTT_UNTRACED inline void Shuffle(emulation::Thread* warp, uint32_t mask, size_t bytes) {
  for (int lane = 0; lane < emulation::kWarp; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    const int source = warp[lane].argument & (emulation::kWarp - 1);
    if ((mask >> source & 1) == 0) emulation::Misuse("shuffle from a thread outside the mask");
    emulation::CopyBytes(warp[lane].out, warp[source].in, bytes);
  }
}

FTT_UNTRACED inline void Vote(emulation::Thread* warp, uint32_t mask, size_t) {
  uint32_t votes = 0;
  for (int lane = 0; lane < emulation::kWarp; ++lane) {
    if ((mask >> lane & 1) != 0 && warp[lane].argument != 0) votes |= 1u << lane;
  }
  for (int lane = 0; lane < emulation::kWarp; ++lane) {
    if ((mask >> lane & 1) != 0) *static_cast<uint32_t*>(warp[lane].out) = votes;
  }
}

FTT_UNTRACED inline void Match(emulation::Thread* warp, uint32_t mask, size_t) {
  for (int lane = 0; lane < emulation::kWarp; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    uint32_t same = 0;
    for (int other = 0; other < emulation::kWarp; ++other) {
      if ((mask >> other & 1) != 0 && warp[other].argument == warp[lane].argument)
        same |= 1u << other;
    }
    *static_cast<uint32_t*>(warp[lane].out) = same;
  }
}

}  // namespace warp

inline constexpr uint32_t kFullMask = 0xFFFFFFFFu;

inline void SyncWarp(uint32_t mask = kFullMask) {
  emulation::WarpCollective(&warp::Nothing, mask, nullptr, nullptr, 0, 0, true);
}
template <typename T>
T Shuffle(T value, int lane, uint32_t mask = kFullMask) {
  T result{};
  emulation::WarpCollective(&warp::Shuffle, mask, &value, &result, lane, sizeof(T));
  return result;
}
template <typename T>
T ShuffleXor(T value, int lanes, uint32_t mask = kFullMask) {
  return Shuffle(value, emulation::running.thread->Lane() ^ lanes, mask);
}
inline uint32_t Ballot(bool vote, uint32_t mask = kFullMask) {
  uint32_t result = 0;
  emulation::WarpCollective(&warp::Vote, mask, nullptr, &result, vote ? 1 : 0, 0);
  return result;
}
inline uint32_t MatchAny(uint32_t value, uint32_t mask = kFullMask) {
  uint32_t result = 0;
  emulation::WarpCollective(&warp::Match, mask, nullptr, &result, static_cast<int>(value), 0);
  return result;
}

// Relaxed, as on a device: they order nothing.
template <typename T>
T AtomicAdd(T* at, T value) {
  return __atomic_fetch_add(at, value, __ATOMIC_RELAXED);
}
inline uint32_t AtomicMax(uint32_t* at, uint32_t value) {
  uint32_t before = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(at, &before, std::max(before, value), false, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED)) {
  }
  return before;
}
inline uint32_t AtomicOr(uint32_t* at, uint32_t bits) {
  return __atomic_fetch_or(at, bits, __ATOMIC_RELAXED);
}
inline uint32_t AtomicAnd(uint32_t* at, uint32_t bits) {
  return __atomic_fetch_and(at, bits, __ATOMIC_RELAXED);
}
inline void AtomicClear16(uint16_t* at, uint16_t bits) {
  __atomic_fetch_and(at, static_cast<uint16_t>(~bits), __ATOMIC_RELAXED);
}

inline uint4 LoadInPlace(const uint4* from) { return *from; }
inline void AsyncCopy16(void* shared, const void* global, int bytes) {
  emulation::IssueAsyncCopy(shared, global, bytes);
}
inline void AsyncCommit() { emulation::CommitAsyncCopies(); }
template <int kGroupsLeft>
void AsyncWait() {
  emulation::WaitAsyncCopies(kGroupsLeft);
}

inline void LoadMatrix4(const void* row, uint32_t (&r)[4]) {
  emulation::CheckShared(row, 16, 16, "ldmatrix");
  emulation::Reads(row, 16);
  emulation::WarpCollective(&emulation::LoadMatrix4, kFullMask, row, r, 0, sizeof r);
}
inline void MultiplyAccumulate(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const emulation::MatrixOperands operands{a, b};
  emulation::WarpCollective(&emulation::MultiplyAccumulate, kFullMask, &operands, d, 0, sizeof d);
}
inline void LoadMatrix4Transposed(const void* row, uint32_t (&r)[4]) {
  emulation::CheckShared(row, 16, 16, "ldmatrix");
  emulation::Reads(row, 16);
  emulation::WarpCollective(&emulation::LoadMatrix4Transposed, kFullMask, row, r, 0, sizeof r);
}
inline void MultiplyAccumulateBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const emulation::MatrixOperands operands{a, b};
  emulation::WarpCollective(&emulation::MultiplyAccumulateBf16, kFullMask, &operands, d, 0,
                            sizeof d);
}
inline uint32_t PackHalf(float low, float high) {
  const Half pair[2] = {FloatToHalf(low), FloatToHalf(high)};
  uint32_t result;
  std::memcpy(&result, pair, sizeof result);
  return result;
}
inline uint32_t PackBf16(float low, float high) {
  return emulation::Bf16Bits(low) | uint32_t{emulation::Bf16Bits(high)} << 16;
}
inline uint32_t AddBf16(uint32_t a, uint32_t b) {
  const auto half = [](uint32_t pair, int i) {
    return emulation::Bf16Float(static_cast<uint16_t>(pair >> 16 * i));
  };
  return PackBf16(half(a, 0) + half(b, 0), half(a, 1) + half(b, 1));
}

inline int32_t Dp4a(uint32_t a, uint32_t b, int32_t c) {
  for (int i = 0; i < 4; ++i)
    c += static_cast<int8_t>(a >> 8 * i) * static_cast<int8_t>(b >> 8 * i);
  return c;
}
// prmt.b32: byte i of the result is byte (selector nibble i) of b:a; bit 3 of a nibble replicates
// the sign of that byte.
inline uint32_t BytePermute(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t source = uint64_t{b} << 32 | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t nibble = selector >> 4 * i & 15;
    auto byte = static_cast<uint32_t>(source >> 8 * (nibble & 7) & 0xFF);
    if ((nibble & 8) != 0) byte = (byte & 0x80) != 0 ? 0xFF : 0;
    result |= byte << 8 * i;
  }
  return result;
}
inline uint32_t MaxHalves(uint32_t a, uint32_t b) {
  const auto larger = [](uint32_t x, uint32_t y) {
    return static_cast<int16_t>(x) > static_cast<int16_t>(y) ? x & 0xFFFF : y & 0xFFFF;
  };
  return larger(a, b) | larger(a >> 16, b >> 16) << 16;
}
inline uint32_t MaxHalves(uint32_t a, uint32_t b, uint32_t c) {
  return MaxHalves(MaxHalves(a, b), c);
}
inline uint32_t MinHalves(uint32_t a, uint32_t b) { return ~MaxHalves(~a, ~b); }
inline float BitsToFloat(uint32_t bits) {
  float v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}
inline uint32_t FloatToBits(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  return bits;
}
inline int FindFirstSet(uint32_t v) { return __builtin_ffs(static_cast<int>(v)); }
inline int PopCount(uint32_t v) { return __builtin_popcount(v); }

struct GridSize {
  unsigned x = 1, y = 1, z = 1;
};

// Runs kernel(arguments...) on every thread of grid x threads; see kernels/cuda/device.h. A stream
// that records keeps copies of the arguments.
template <typename... Parameters, typename... Arguments>
void LaunchKernel(const char* name, void (*kernel)(Parameters...), GridSize grid, unsigned threads,
                  size_t shared_bytes, DeviceStream stream, const Arguments&... arguments) {
  emulation::Enqueue(stream, [=]() FTT_UNTRACED {
    const emulation::LaunchContext launch{
        name, {grid.x, grid.y, grid.z}, {threads, 1, 1}, shared_bytes};
    const auto call = [&]() FTT_UNTRACED { kernel(arguments...); };
    emulation::RunGrid(
        launch, [](void* f) FTT_UNTRACED { (*static_cast<decltype(call)*>(f))(); },
        const_cast<void*>(static_cast<const void*>(&call)));
  });
}

}  // namespace ftt::cuda
