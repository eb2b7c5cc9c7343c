#include "tests/cuda_emulation/block.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <map>
#include <memory>

#include "core/error.h"
#include "tests/cuda_emulation/fiber.h"
#include "tests/cuda_emulation/launches.h"

namespace ftt::emulation {

Running running;

namespace {

constexpr size_t kGuardBytes = 256;
constexpr unsigned kMaxThreads = 1024;
constexpr size_t kMaxSharedBytes = 227 << 10;  // of one block on compute capability 9.0

Order order = Order::kForward;

struct StaticVariable {
  const void* tag;
  std::unique_ptr<uint8_t[]> memory;
};

struct BlockState {
  std::vector<Thread> threads;
  std::vector<StaticVariable> variables;
  void (*body)(void*) = nullptr;
  void* argument = nullptr;
  std::string error;
};
BlockState block;
int64_t blocks_run = 0;

std::map<std::string, int64_t>& Launches() {
  static std::map<std::string, int64_t> launches;
  return launches;
}

std::vector<std::unique_ptr<Fiber>>& Fibers() {
  static std::vector<std::unique_ptr<Fiber>> fibers;
  return fibers;
}

Fiber& FiberOf(const Thread& thread) { return *Fibers()[thread.rank]; }

std::string Where(const Thread& thread) {
  const Index3& b = running.block_index;
  return fmt::format("kernel {}, block ({}, {}, {}), thread {} ({}, {}, {})",
                     running.launch->kernel, b.x, b.y, b.z, thread.rank, thread.index.x,
                     thread.index.y, thread.index.z);
}

void FinishThread(Thread& thread) {
  size_t left = thread.open.size();
  for (const std::vector<AsyncCopy>& group : thread.groups) left += group.size();
  if (left != 0) Misuse(fmt::format("ended with {} asynchronous copies not waited for", left));
}

void ThreadBody(void* argument) {
  auto& thread = *static_cast<Thread*>(argument);
  try {
    block.body(block.argument);
    FinishThread(thread);
  } catch (const std::exception& error) {
    if (block.error.empty()) block.error = error.what();
  }
  thread.state = State::kDone;
}

void Suspend(State state) {
  Thread& thread = *running.thread;
  thread.state = state;
  FiberOf(thread).Yield();
}

const char* StateText(State state) {
  switch (state) {
    case State::kBarrier:
      return "waits at a barrier";
    case State::kWarp:
      return "waits in a warp operation for threads that do not take part";
    case State::kDone:
      return "has ended";
    case State::kReady:
      break;
  }
  return "can run";
}

// Nothing can run and not everything is done: either all are at the barrier, or it is a deadlock.
void ReleaseBarrier() {
  const auto all_wait = [](const Thread& t) { return t.state == State::kBarrier; };
  if (std::all_of(block.threads.begin(), block.threads.end(), all_wait)) {
    for (Thread& t : block.threads) t.state = State::kReady;
    return;
  }
  const Thread* waiting = nullptr;
  for (const Thread& t : block.threads) {
    if (t.state != State::kDone && (waiting == nullptr || t.state == State::kWarp)) waiting = &t;
  }
  const Thread* other = nullptr;
  for (const Thread& t : block.threads) {
    if (t.state != waiting->state || t.mask != waiting->mask) other = &t;
  }
  Fail("deadlock: {} {} (mask {:08x}){}", Where(*waiting), StateText(waiting->state),
       waiting->state == State::kWarp ? waiting->mask : 0u,
       other == nullptr ? std::string()
                        : fmt::format("; thread {} {}", other->rank, StateText(other->state)));
}

// Runs a warp until none of its threads can go on.
bool RunWarp(size_t first, size_t last) {
  bool any = false;
  for (bool progress = true; progress;) {
    progress = false;
    for (size_t k = first; k < last; ++k) {
      Thread& thread = block.threads[order == Order::kForward ? k : last - 1 - (k - first)];
      if (thread.state != State::kReady) continue;
      running.thread = &thread;
      FiberOf(thread).Resume();
      progress = any = true;
      if (!block.error.empty()) ThrowError(block.error);
    }
  }
  return any;
}

void RunBlock() {
  const size_t n = block.threads.size();
  const size_t warps = (n + kWarp - 1) / kWarp;
  const auto done = [](const Thread& t) { return t.state == State::kDone; };
  while (!std::all_of(block.threads.begin(), block.threads.end(), done)) {
    bool progress = false;
    for (size_t k = 0; k < warps; ++k) {
      const size_t warp = order == Order::kForward ? k : warps - 1 - k;
      progress |= RunWarp(warp * kWarp, std::min(n, (warp + 1) * kWarp));
    }
    if (!progress) ReleaseBarrier();
  }
}

void StartThreads(const Index3& size) {
  const unsigned n = size.x * size.y * size.z;
  block.threads.assign(n, {});
  block.variables.clear();
  block.error.clear();
  while (Fibers().size() < n) Fibers().push_back(std::make_unique<Fiber>());
  for (unsigned rank = 0; rank < n; ++rank) {
    Thread& thread = block.threads[rank];
    thread.rank = rank;
    thread.index = {rank % size.x, rank / size.x % size.y, rank / (size.x * size.y)};
    Fibers()[rank]->Start(&ThreadBody, &thread);
  }
}

void CheckGuard(const uint8_t* guard) {
  for (size_t i = 0; i < kGuardBytes; ++i) {
    if (guard[i] != kSharedSentinel) {
      Fail("kernel {}: shared memory written {} bytes behind its end ({} bytes)",
           running.launch->kernel, i, running.launch->shared_bytes);
    }
  }
}

}  // namespace

int64_t BlocksRun() { return blocks_run; }

void SetOrder(Order new_order) { order = new_order; }

void Misuse(const std::string& what) { Fail("{}: {}", Where(*running.thread), what); }

void Barrier() { Suspend(State::kBarrier); }

void WarpCollective(WarpOperation operation, uint32_t mask, const void* in, void* out, int argument,
                    size_t bytes) {
  Thread& self = *running.thread;
  const int lane = self.Lane();
  if ((mask >> lane & 1) == 0) Misuse(fmt::format("is not in the mask {:08x} it names", mask));
  self.mask = mask;
  self.operation = operation;
  self.in = in;
  self.out = out;
  self.argument = argument;
  self.bytes = bytes;
  self.state = State::kWarp;
  Thread* warp = &self - lane;
  const size_t left = block.threads.size() - (self.rank - static_cast<unsigned>(lane));
  if (left < kWarp && mask >> left != 0)
    Misuse("names threads beyond the block in a warp operation");
  for (int l = 0; l < kWarp; ++l) {
    if ((mask >> l & 1) == 0) continue;
    const Thread& t = warp[l];
    if (t.state != State::kWarp || t.mask != mask || t.operation != operation || t.bytes != bytes) {
      FiberOf(self).Yield();
      return;
    }
  }
  operation(warp, mask, bytes);
  for (int l = 0; l < kWarp; ++l) {
    if ((mask >> l & 1) != 0) warp[l].state = State::kReady;
  }
}

void* StaticShared(const void* tag, size_t bytes, size_t alignment) {
  for (const StaticVariable& v : block.variables) {
    if (v.tag == tag) return v.memory.get();
  }
  if (alignment > alignof(std::max_align_t)) Misuse("static shared variable is over-aligned");
  block.variables.push_back({tag, std::make_unique<uint8_t[]>(bytes)});
  uint8_t* memory = block.variables.back().memory.get();
  std::memset(memory, kSharedSentinel, bytes);
  return memory;
}

void CheckShared(const void* address, size_t bytes, size_t alignment, const char* what) {
  const auto* at = static_cast<const uint8_t*>(address);
  const uint8_t* end = running.shared + running.launch->shared_bytes;
  if (at < running.shared || at + bytes > end) Misuse(fmt::format("{}: not shared memory", what));
  if (reinterpret_cast<uintptr_t>(address) % alignment != 0)
    Misuse(fmt::format("{}: address is not a multiple of {}", what, alignment));
}

void IssueAsyncCopy(void* to, const void* from, int bytes) {
  CheckShared(to, 16, 16, "asynchronous copy");
  if (bytes < 0 || bytes > 16) Misuse("asynchronous copy of more than 16 bytes");
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0)
    Misuse("asynchronous copy: source is not a multiple of 16");
  std::memset(to, kInFlightSentinel, 16);
  running.thread->open.push_back(
      {static_cast<uint8_t*>(to), static_cast<const uint8_t*>(from), bytes});
}

void CommitAsyncCopies() {
  Thread& thread = *running.thread;
  thread.groups.push_back(std::move(thread.open));
  thread.open.clear();
}

void WaitAsyncCopies(int groups_left) {
  std::vector<std::vector<AsyncCopy>>& groups = running.thread->groups;
  while (groups.size() > static_cast<size_t>(groups_left)) {
    for (const AsyncCopy& copy : groups.front()) {
      for (int i = 0; i < 16; ++i) {
        if (copy.to[i] != kInFlightSentinel) Misuse("destination of an asynchronous copy changed");
      }
      std::memset(copy.to, 0, 16);
      if (copy.bytes > 0) std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
    }
    groups.erase(groups.begin());
  }
}

int64_t LaunchesOf(const std::string& kernel) { return Launches()[kernel]; }

void RunGrid(const LaunchContext& launch, void (*body)(void*), void* argument) {
  ++Launches()[launch.kernel];
  running.launch = &launch;
  const Index3& size = launch.block;
  FTT_CHECK(size.x * size.y * size.z > 0 && size.x * size.y * size.z <= kMaxThreads,
            "kernel {}: {} threads per block", launch.kernel, size.x * size.y * size.z);
  FTT_CHECK(launch.grid.y <= 65535 && launch.grid.z <= 65535, "kernel {}: grid {} x {}",
            launch.kernel, launch.grid.y, launch.grid.z);
  FTT_CHECK(launch.shared_bytes <= kMaxSharedBytes, "kernel {}: {} bytes of shared memory",
            launch.kernel, launch.shared_bytes);
  block.body = body;
  block.argument = argument;
  // 128 bytes of alignment, as kernels declare it.
  std::vector<uint8_t> memory(launch.shared_bytes + kGuardBytes + 128);
  const auto at = reinterpret_cast<uintptr_t>(memory.data());
  running.shared = memory.data() + (128 - at % 128) % 128;
  for (unsigned z = 0; z < launch.grid.z; ++z) {
    for (unsigned y = 0; y < launch.grid.y; ++y) {
      for (unsigned x = 0; x < launch.grid.x; ++x) {
        running.block_index = {x, y, z};
        std::memset(memory.data(), kSharedSentinel, memory.size());
        StartThreads(size);
        RunBlock();
        ++blocks_run;
        CheckGuard(running.shared + launch.shared_bytes);
      }
    }
  }
}

}  // namespace ftt::emulation
