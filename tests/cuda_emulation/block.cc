#include "tests/cuda_emulation/block.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "core/error.h"
#include "tests/cuda_emulation/fiber.h"
#include "tests/cuda_emulation/launches.h"
#include "tests/cuda_emulation/timeline.h"

namespace ftt::emulation {

Running running;

namespace {

constexpr size_t kGuardBytes = 256;
constexpr unsigned kMaxThreads = 1024;
constexpr size_t kMaxSharedBytes = 227 << 10;            // of one block on compute capability 9.0
constexpr unsigned kMostCopies = 256, kMostGroups = 16;  // of a thread, under way together

Order order = Order::kForward;

struct StaticVariable {
  const void* tag;
  uint8_t* memory;
};

struct AsyncCopy {
  uint8_t* to;
  const uint8_t* from;
  int bytes;  // of 16; the rest is zero-filled
};

// The asynchronous copies of a thread: rings, oldest first.
struct Copies {
  unsigned first = 0, count = 0;  // of `copy`, those of no group yet at the end
  unsigned first_group = 0, groups = 0, open = 0;
  AsyncCopy copy[kMostCopies];
  unsigned group_size[kMostGroups];
};

// Shared memory of the running block, at multiples of 128. Where races are looked for it is memory
// that no block had before: what blocks do is not ordered, although they take turns here.
class Scratch {
 public:
  void StartBlock() {
    pieces_.clear();
    if (!kFindsRaces || (region_ != nullptr && kRegionBytes - used_ > kMostOfBlock)) return;
    if (region_ != nullptr) munmap(region_, kRegionBytes);
    void* memory = mmap(nullptr, kRegionBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    FTT_CHECK(memory != MAP_FAILED, "emulation: no memory for blocks");
    region_ = static_cast<uint8_t*>(memory);
    used_ = 0;
  }
  uint8_t* Take(size_t bytes) {
    if (!kFindsRaces) {
      pieces_.emplace_back(static_cast<uint8_t*>(::operator new(bytes, kAlign)));
      return pieces_.back().get();
    }
    return region_ + std::exchange(used_, used_ + (bytes + 127) / 128 * 128);
  }

 private:
  static constexpr std::align_val_t kAlign{128};
  static constexpr size_t kMostOfBlock = size_t{1} << 20, kRegionBytes = size_t{64} << 20;
  struct Delete {
    void operator()(uint8_t* memory) const { ::operator delete(memory, kAlign); }
  };

  std::vector<std::unique_ptr<uint8_t, Delete>> pieces_;
  uint8_t* region_ = nullptr;
  size_t used_ = 0;
};

struct BlockState {
  std::vector<Thread> threads;
  std::vector<Copies> copies;
  std::vector<StaticVariable> variables;
  Scratch scratch;
  uint8_t* tags = nullptr;  // of the barrier, then of each warp (races.h)
  void (*body)(void*) = nullptr;
  void* argument = nullptr;
  std::string error;
};
BlockState block;
int64_t blocks_run = 0;
std::vector<std::unique_ptr<Fiber>>* fibers = nullptr;  // for the threads of this launch
size_t first_fiber = 0;                                 // that of thread 0

std::map<std::string, int64_t>& Launches() {
  static std::map<std::string, int64_t> launches;
  return launches;
}

Fiber& FiberOf(const Thread& thread) {
  return *(*fibers)[(thread.rank + first_fiber) % block.threads.size()];
}
Copies& CopiesOf(const Thread& thread) { return block.copies[thread.rank]; }

std::string Where(const Thread& thread) {
  const Index3& b = running.block_index;
  return fmt::format("kernel {}, block ({}, {}, {}), thread {} ({}, {}, {})",
                     running.launch->kernel, b.x, b.y, b.z, thread.rank, thread.index.x,
                     thread.index.y, thread.index.z);
}

void FinishThread(Thread& thread) {
  const unsigned left = CopiesOf(thread).count;
  if (left != 0) Misuse(fmt::format("ended with {} asynchronous copies not waited for", left));
  if (!thread.started) Misuse("ended without having called StartKernel");
}

void ThreadBody(void* argument) {
  auto& thread = *static_cast<Thread*>(argument);
  try {
    block.body(block.argument);
    FinishThread(thread);
  } catch (const std::exception& error) {
    const Unseen unseen;
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

// What each of these threads did so far is ordered before what all of them do from now on. Done
// while all of them wait: the first to go on may be at the next barrier before the last one is.
void OrderAll(Thread* threads, size_t n, uint32_t mask, const void* tag) {
  if (!kFindsRaces) return;
  const auto each = [&](void (*self)(const void*), void (Fiber::*other)(const void*)) {
    for (size_t i = 0; i < n; ++i) {
      if (n <= kWarp && (mask >> i & 1) == 0) continue;
      if (&threads[i] == running.thread) {
        self(tag);
      } else {
        (FiberOf(threads[i]).*other)(tag);
      }
    }
  };
  each(&Release, &Fiber::ReleaseFor);
  each(&Acquire, &Fiber::AcquireFor);
}

// Nothing can run and not everything is done: either all are at the barrier, or it is a deadlock.
void ReleaseBarrier() {
  const auto all_wait = [](const Thread& t) { return t.state == State::kBarrier; };
  if (std::all_of(block.threads.begin(), block.threads.end(), all_wait)) {
    running.thread = nullptr;
    OrderAll(block.threads.data(), block.threads.size(), ~0u, block.tags);
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
  if (block.copies.size() < n) block.copies.resize(n);
  for (Copies& copies : block.copies) copies.count = copies.groups = copies.open = 0;
  block.variables.clear();
  block.error.clear();
  block.tags = block.scratch.Take(size_t{8} * (1 + (n + kWarp - 1) / kWarp));
  // Threads of the same rank in two blocks in a row are two threads.
  if (kFindsRaces) first_fiber += 37;
  for (unsigned rank = 0; rank < n; ++rank) {
    Thread& thread = block.threads[rank];
    thread.rank = rank;
    thread.index = {rank % size.x, rank / size.x % size.y, rank / (size.x * size.y)};
    FiberOf(thread).Start(&ThreadBody, &thread);
  }
}

// The fibers for a launch of blocks of n threads, until it ends or fails.
class LaunchFibers {
 public:
  explicit LaunchFibers(size_t n) : n_(n) {
    static std::vector<std::unique_ptr<Fiber>> always;
    fibers = timeline_ == nullptr ? &always : &timeline_->StartThreads(n);
    while (fibers->size() < n) fibers->push_back(std::make_unique<Fiber>());
  }
  ~LaunchFibers() {
    if (timeline_ != nullptr) timeline_->EndThreads(n_);
  }
  LaunchFibers(const LaunchFibers&) = delete;
  LaunchFibers& operator=(const LaunchFibers&) = delete;

 private:
  Timeline* timeline_ = Timeline::Current();
  size_t n_;
};

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

void StartOfKernel() {
  running.thread->started = true;
  if (!kFindsRaces || std::exchange(FiberOf(*running.thread).started, true)) return;
  Acquire(Timeline::Current()->Tag());
}

void WarpCollective(WarpOperation operation, uint32_t mask, const void* in, void* out, int argument,
                    size_t bytes, bool orders) {
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
  if (orders) OrderAll(warp, kWarp, mask, block.tags + size_t{8} * (1 + self.rank / kWarp));
  for (int l = 0; l < kWarp; ++l) {
    if ((mask >> l & 1) != 0) warp[l].state = State::kReady;
  }
}

void* StaticShared(const void* tag, size_t bytes, size_t alignment) {
  for (const StaticVariable& v : block.variables) {
    if (v.tag == tag) return v.memory;
  }
  if (alignment > 128) Misuse("static shared variable is over-aligned");
  const Unseen unseen;
  block.variables.push_back({tag, block.scratch.Take(bytes)});
  std::memset(block.variables.back().memory, kSharedSentinel, bytes);
  return block.variables.back().memory;
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
  Writes(to, 16);
  for (int i = 0; i < 16; ++i) static_cast<uint8_t*>(to)[i] = kInFlightSentinel;
  Copies& copies = CopiesOf(*running.thread);
  if (copies.count == kMostCopies) Misuse("more asynchronous copies than the emulation keeps");
  copies.copy[(copies.first + copies.count++) % kMostCopies] = {
      static_cast<uint8_t*>(to), static_cast<const uint8_t*>(from), bytes};
  ++copies.open;
}

void CommitAsyncCopies() {
  Copies& copies = CopiesOf(*running.thread);
  if (copies.groups == kMostGroups) Misuse("more groups of copies than the emulation keeps");
  copies.group_size[(copies.first_group + copies.groups++) % kMostGroups] = copies.open;
  copies.open = 0;
}

void WaitAsyncCopies(int groups_left) {
  Copies& copies = CopiesOf(*running.thread);
  while (copies.groups > static_cast<unsigned>(groups_left)) {
    for (unsigned left = copies.group_size[copies.first_group]; left != 0; --left) {
      const AsyncCopy& copy = copies.copy[copies.first];
      for (int i = 0; i < 16; ++i) {
        if (copy.to[i] != kInFlightSentinel) Misuse("destination of an asynchronous copy changed");
      }
      if (copy.bytes > 0) Reads(copy.from, static_cast<size_t>(copy.bytes));
      Writes(copy.to, 16);
      for (int i = 0; i < 16; ++i) copy.to[i] = i < copy.bytes ? copy.from[i] : 0;
      copies.first = (copies.first + 1) % kMostCopies;
      --copies.count;
    }
    copies.first_group = (copies.first_group + 1) % kMostGroups;
    --copies.groups;
  }
}

int64_t LaunchesOf(const std::string& kernel) { return Launches()[kernel]; }

void RunGrid(const LaunchContext& launch, void (*body)(void*), void* argument) {
  const Unseen unseen;
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
  const LaunchFibers taken(size.x * size.y * size.z);
  for (unsigned z = 0; z < launch.grid.z; ++z) {
    for (unsigned y = 0; y < launch.grid.y; ++y) {
      for (unsigned x = 0; x < launch.grid.x; ++x) {
        running.block_index = {x, y, z};
        block.scratch.StartBlock();
        const size_t bytes = launch.shared_bytes + kGuardBytes;
        running.shared = block.scratch.Take(bytes);
        std::memset(running.shared, kSharedSentinel, bytes);
        StartThreads(size);
        RunBlock();
        ++blocks_run;
        CheckGuard(running.shared + launch.shared_bytes);
      }
    }
  }
}

}  // namespace ftt::emulation
