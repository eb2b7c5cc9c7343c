// What kernels are written against: the CUDA instructions that they use, each under one name. With
// FTT_CUDA_EMULATION the same names run on the CPU, so that every kernel is tested without a GPU.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/stream.h"

#ifdef FTT_CUDA_EMULATION
#include "tests/cuda_emulation/cuda_emulation.h"
#else

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "core/error.h"

// A static shared variable of the enclosing kernel.
#define FTT_SHARED(Type, name) __shared__ Type name
// For rare or long code: a call keeps its registers out of the caller's hot loop.
#define FTT_NOINLINE __noinline__
// In front of a kernel's parameter whose address is passed on: it is read where it is, not copied.
#define FTT_IN_PLACE const __grid_constant__
// In front of a loop whose arrays must stay in registers.
#define FTT_UNROLL _Pragma("unroll")
// In front of a loop of copies: unrolled, it would only take registers.
#define FTT_ROLLED _Pragma("unroll 1")

namespace ftt::cuda {

using Half = __half;

inline constexpr uint32_t kFullMask = 0xFFFFFFFFu;

struct GridSize {
  unsigned x = 1, y = 1, z = 1;
};

// Whether a launch into `stream` may begin while the kernel before it ends (see StartKernel).
bool MayOverlap(DeviceStream stream);

// Starts kernel(arguments...) on grid x threads (a multiple of 32) with that much dynamic shared
// memory. Neither waits nor allocates. Throws ftt::Error where the launch is refused.
template <typename... Parameters, typename... Arguments>
void LaunchKernel(const char* name, void (*kernel)(Parameters...), GridSize grid, unsigned threads,
                  size_t shared_bytes, DeviceStream stream, const Arguments&... arguments) {
  constexpr size_t kDefaultLimit = 48 << 10;
  if (shared_bytes > kDefaultLimit) {
    // Only raised: a launch that a graph holds still needs what it was recorded with.
    cudaFuncAttributes now{};
    cudaError_t error = cudaFuncGetAttributes(&now, kernel);
    if (error == cudaSuccess && static_cast<size_t>(now.maxDynamicSharedSizeBytes) < shared_bytes)
      error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(shared_bytes));
    FTT_CHECK(error == cudaSuccess, "kernel {}: {} bytes of shared memory: {}", name, shared_bytes,
              cudaGetErrorString(error));
  }
  // What this build's devices run; older code than for 9.0 does not wait in StartKernel.
  static const bool waits = [kernel] {
    cudaFuncAttributes attributes{};
    return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess && attributes.ptxVersion >= 90;
  }();
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(grid.x, grid.y, grid.z);
  config.blockDim = dim3(threads, 1, 1);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = waits && MayOverlap(stream) ? 1 : 0;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, arguments...);
  FTT_CHECK(error == cudaSuccess, "kernel {} did not start: {}", name, cudaGetErrorString(error));
}

#ifdef __CUDACC__

// Before a kernel's first access to memory that others write: waits until the kernel before it in
// its stream has ended, then lets the next one be set up. Without it a launch costs the time
// between two kernels.
__device__ __forceinline__ void StartKernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\n\tgriddepcontrol.launch_dependents;" ::: "memory");
#endif
}
// The same not before `place`, anything but INT_MIN, has been computed: what a thread finds out
// about its place while the kernel before is still busy costs nothing. Left alone, the assembler
// waits first.
__device__ __forceinline__ void StartKernel(int place) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "{\n\t.reg .pred known;\n\tsetp.ne.s32 known, %0, 0x80000000;\n\t"
      "@known griddepcontrol.wait;\n\t}\n\tgriddepcontrol.launch_dependents;" ::"r"(place)
      : "memory");
#endif
}

// v, of which the compiler shall not know that it is what it was before: it finds out anew what
// depends on it, instead of keeping that in registers across a call.
__device__ __forceinline__ int Anew(int v) {
  asm volatile("" : "+r"(v));
  return v;
}
// Of an address in global memory: offsets are added to it, not to what it was made of.
template <typename T>
__device__ __forceinline__ const T* Anew(const T* at) {
  size_t global = __cvta_generic_to_global(at);
  asm volatile("" : "+l"(global));
  return static_cast<const T*>(__cvta_global_to_generic(global));
}

__device__ inline float HalfToFloat(Half v) { return __half2float(v); }
__device__ inline Half FloatToHalf(float v) { return __float2half_rn(v); }

__device__ inline uint8_t* SharedMemory() {
  extern __shared__ __align__(128) uint8_t shared_memory[];
  return shared_memory;
}
__device__ inline void SyncThreads() { __syncthreads(); }
__device__ inline void ThreadFence() { __threadfence(); }
__device__ inline void SyncWarp(uint32_t mask = kFullMask) { __syncwarp(mask); }
template <typename T>
__device__ inline T Shuffle(T value, int lane, uint32_t mask = kFullMask) {
  return __shfl_sync(mask, value, lane);
}
template <typename T>
__device__ inline T ShuffleXor(T value, int lanes, uint32_t mask = kFullMask) {
  return __shfl_xor_sync(mask, value, lanes);
}
__device__ inline uint32_t Ballot(bool vote, uint32_t mask = kFullMask) {
  return __ballot_sync(mask, vote);
}
__device__ inline uint32_t MatchAny(uint32_t value, uint32_t mask = kFullMask) {
  return __match_any_sync(mask, value);
}

template <typename T>
__device__ inline T AtomicAdd(T* at, T value) {
  return atomicAdd(at, value);
}
__device__ inline uint64_t AtomicAdd(uint64_t* at, uint64_t value) {
  return atomicAdd(reinterpret_cast<unsigned long long*>(at),
                   static_cast<unsigned long long>(value));
}
__device__ inline int64_t AtomicAdd(int64_t* at, int64_t value) {
  return static_cast<int64_t>(
      atomicAdd(reinterpret_cast<unsigned long long*>(at), static_cast<unsigned long long>(value)));
}
__device__ inline uint32_t AtomicMax(uint32_t* at, uint32_t value) { return atomicMax(at, value); }
__device__ inline uint32_t AtomicOr(uint32_t* at, uint32_t bits) { return atomicOr(at, bits); }
__device__ inline uint32_t AtomicAnd(uint32_t* at, uint32_t bits) { return atomicAnd(at, bits); }
__device__ inline void AtomicClear16(uint16_t* at, uint16_t bits) {
  uint16_t before = *at, expected;
  do {
    expected = before;
    before = atomicCAS(at, expected, static_cast<uint16_t>(expected & ~bits));
  } while (before != expected);
}

// A load that stays where it is written, in a loop for example, so that its result needs no
// registers for longer.
__device__ inline uint4 LoadInPlace(const uint4* from) {
  uint4 v;
  asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}
// Copies `bytes` (0..16) from global to 16 bytes of shared memory and fills the rest with zeros;
// both addresses are multiples of 16. Visible to this thread after AsyncWait, to others after a
// barrier behind that.
__device__ inline void AsyncCopy16(void* shared, const void* global, int bytes) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes)
               : "memory");
}
__device__ inline void AsyncCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most kGroupsLeft of this thread's groups are under way.
template <int kGroupsLeft>
__device__ inline void AsyncWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroupsLeft) : "memory");
}

// Four 8x8 matrices of 16-bit elements, that is 8 rows of 16 codes: lane 8 * m + r passes the
// address of row r of matrix m; r[m] receives codes 4 * (lane % 4) .. + 3 of row lane / 4.
__device__ inline void LoadMatrix4(const void* row, uint32_t (&r)[4]) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at)
               : "memory");
}
// The same with each matrix transposed: r[m] receives rows 2 * (lane % 4) and + 1 of column lane
// / 4.
__device__ inline void LoadMatrix4Transposed(const void* row, uint32_t (&r)[4]) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at)
               : "memory");
}
// d[16 x 8] += a[16 x 32] * b[32 x 8] over a warp; layouts as in the PTX ISA, mma.m16n8k32.
__device__ inline void MultiplyAccumulate(int32_t (&d)[4], const uint32_t (&a)[4],
                                          const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// d[16 x 8] += a[16 x 16] * b[16 x 8] of bfloat16 pairs; layouts as in the PTX ISA, mma.m16n8k16.
__device__ inline void MultiplyAccumulateBf16(float (&d)[4], const uint32_t (&a)[4],
                                              const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Two floats in half precision, rounded to nearest even; `low` in the lower half.
__device__ inline uint32_t PackHalf(float low, float high) {
  uint32_t result;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}
// Two floats as bfloat16, rounded to nearest even; `low` in the lower half.
__device__ inline uint32_t PackBf16(float low, float high) {
  uint32_t result;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}

// a + b of bfloat16 pairs, rounded to nearest even.
__device__ inline uint32_t AddBf16(uint32_t a, uint32_t b) {
  uint32_t result;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(0x3F803F80u), "r"(b));
  return result;
}

// c + sum of the products of four signed bytes.
__device__ inline int32_t Dp4a(uint32_t a, uint32_t b, int32_t c) {
  return __dp4a(static_cast<int>(a), static_cast<int>(b), c);
}
// Byte i of the result is byte (nibble i of selector) of the pair b:a; bit 3 of a nibble replicates
// that byte's sign.
__device__ inline uint32_t BytePermute(uint32_t a, uint32_t b, uint32_t selector) {
  uint32_t result;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(selector));
  return result;
}
// The larger of two, of three signed 16-bit halves.
__device__ inline uint32_t MaxHalves(uint32_t a, uint32_t b) { return __vmaxs2(a, b); }
__device__ inline uint32_t MaxHalves(uint32_t a, uint32_t b, uint32_t c) {
  return __vimax3_s16x2(a, b, c);
}
__device__ inline uint32_t MinHalves(uint32_t a, uint32_t b) { return __vmins2(a, b); }
__device__ inline float BitsToFloat(uint32_t bits) { return __uint_as_float(bits); }
__device__ inline uint32_t FloatToBits(float v) { return __float_as_uint(v); }
__device__ inline int FindFirstSet(uint32_t v) { return __ffs(static_cast<int>(v)); }
__device__ inline int PopCount(uint32_t v) { return __popc(v); }

#endif  // __CUDACC__

}  // namespace ftt::cuda

#endif  // FTT_CUDA_EMULATION

namespace ftt::cuda {

inline constexpr int kWarpSize = 32;

}  // namespace ftt::cuda
