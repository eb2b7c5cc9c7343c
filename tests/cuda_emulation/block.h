// One block of threads on the CPU: scheduling, barriers, warp-wide operations, shared memory and
// asynchronous copies. Kernels reach this through tests/cuda_emulation/cuda_emulation.h.
//
// Everything that hardware leaves undefined is an error here where it can be seen: a barrier that
// some threads never reach, a warp operation whose mask names a thread that does not take part,
// shared memory written outside its size, an asynchronous copy that is read before it was waited
// for (it yields a sentinel) or that nobody waits for, a kernel that a thread leaves without having
// called StartKernel. Builds with ThreadSanitizer find races besides (races.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "tests/cuda_emulation/races.h"

namespace ftt::emulation {

inline constexpr int kWarp = 32;
inline constexpr uint8_t kSharedSentinel = 0xCD;
inline constexpr uint8_t kInFlightSentinel = 0xA7;

struct Index3 {
  unsigned x = 1, y = 1, z = 1;
};

// Which runnable thread goes next. Results must not depend on it: a missing barrier shows as a
// difference between two orders.
enum class Order { kForward, kReverse };
void SetOrder(Order order);

enum class State : uint8_t { kReady, kBarrier, kWarp, kDone };

struct Thread {
  Index3 index;
  unsigned rank = 0;
  State state = State::kReady;
  // The warp operation that this thread waits in.
  uint32_t mask = 0;
  void (*operation)(Thread* warp, uint32_t mask, size_t bytes) = nullptr;
  const void* in = nullptr;
  void* out = nullptr;
  int argument = 0;
  size_t bytes = 0;
  bool started = false;  // has called StartKernel

  int Lane() const { return static_cast<int>(rank % kWarp); }
};

// For what one lane does to another one's variables.
FTT_UNTRACED inline void CopyBytes(void* to, const void* from, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i)
    static_cast<uint8_t*>(to)[i] = static_cast<const uint8_t*>(from)[i];
}

using WarpOperation = void (*)(Thread* warp, uint32_t mask, size_t bytes);

struct LaunchContext {
  const char* kernel = "";
  Index3 grid, block;
  size_t shared_bytes = 0;
};

// What the intrinsics of the running thread work on.
struct Running {
  const LaunchContext* launch = nullptr;
  Index3 block_index;
  Thread* thread = nullptr;
  uint8_t* shared = nullptr;  // dynamic shared memory
};
extern Running running;

void Barrier();
// The end of what a kernel may do before it knows that the one before it has ended; every thread
// must come here, or the kernel behind could start too early.
void StartOfKernel();
// Blocks until all threads of `mask` are in the same operation; the last to arrive carries it out.
// It orders nothing but what it returns, unless `orders`.
void WarpCollective(WarpOperation operation, uint32_t mask, const void* in, void* out, int argument,
                    size_t bytes, bool orders = false);
// A static __shared__ variable: one per tag (an address that is unique to it) and block.
void* StaticShared(const void* tag, size_t bytes, size_t alignment);
void IssueAsyncCopy(void* to, const void* from, int bytes);
void CommitAsyncCopies();
void WaitAsyncCopies(int groups_left);
// Throws unless [address, address + bytes) lies in the block's dynamic shared memory.
void CheckShared(const void* address, size_t bytes, size_t alignment, const char* what);
[[noreturn]] void Misuse(const std::string& what);

// Blocks of all launches so far.
int64_t BlocksRun();

// Runs all blocks one after another. Throws ftt::Error that names kernel, block and thread.
void RunGrid(const LaunchContext& launch, void (*body)(void* argument), void* argument);

}  // namespace ftt::emulation
