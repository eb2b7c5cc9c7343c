// Kernels and streams whose accesses nothing orders, and their like that do it properly:
// ThreadSanitizer must report the ones and not the others (tests/cuda_emulation/races.h). In builds
// without it there is nothing to test.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>

#include "kernels/cuda/device.h"
#include "kernels/cuda/runtime.h"
#include "tests/cuda/device_buffer.h"
#include "tests/cuda_emulation/races.h"

namespace ftt::cuda::test {
namespace {

constexpr unsigned kThreads = 64;

// `run` in a process of its own, which ends with 66 and a report where there is a race.
void ExpectRace(bool expected, const std::function<void()>& run) {
  if (!emulation::kFindsRaces) GTEST_SKIP() << "needs a build with the tsan preset";
  // ThreadSanitizer watches nothing in a fork.
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  if (expected) {
    EXPECT_EXIT((run(), std::exit(0)), testing::ExitedWithCode(66), "data race");
  } else {
    EXPECT_EXIT((run(), std::exit(0)), testing::ExitedWithCode(0), "");
  }
}

template <typename... Parameters, typename... Arguments>
void Launch(void (*kernel)(Parameters...), unsigned blocks, DeviceStream stream,
            const Arguments&... arguments) {
  LaunchKernel("TestKernel", kernel, {blocks, 1, 1}, kThreads, 4 * kThreads, stream, arguments...);
}

enum class Between { kNothing, kShuffle, kWarp, kBlock };

// Each thread reads what another one wrote, of its own warp or not. Barriers before and behind that
// must not hide it, though some threads are already at the second when others leave the first.
__global__ void ExchangeKernel(int* out, Between between, int distance) {
  StartKernel();
  auto* shared = reinterpret_cast<int*>(SharedMemory());
  const int at = static_cast<int>(threadIdx.x);
  shared[at] = 0;
  SyncThreads();
  shared[at] = at;
  if (between == Between::kShuffle) Shuffle(at, 0);
  if (between == Between::kWarp) SyncWarp();
  if (between == Between::kBlock) SyncThreads();
  out[at] = shared[at ^ distance];
  SyncThreads();
}
void Exchange(Between between, int distance) {
  const DeviceBuffer<int> out(kThreads);
  Launch(&ExchangeKernel, 1, {}, out.Data(), between, distance);
}
TEST(RaceTest, ThreadsOfAWarp) {
  ExpectRace(true, [] { Exchange(Between::kNothing, 1); });
  ExpectRace(true, [] { Exchange(Between::kShuffle, 1); });
  ExpectRace(false, [] { Exchange(Between::kWarp, 1); });
}
TEST(RaceTest, WarpsOfABlock) {
  ExpectRace(true, [] { Exchange(Between::kWarp, 32); });
  ExpectRace(false, [] { Exchange(Between::kBlock, 32); });
}

__global__ void CopyOverKernel(const uint8_t* from, bool barrier) {
  StartKernel();
  uint8_t* mine = SharedMemory() + 16 * threadIdx.x % 64;
  if (threadIdx.x < 4) AsyncCopy16(mine, from, 16);
  AsyncCommit();
  AsyncWait<0>();
  SyncThreads();
  int sum = 0;
  for (int i = 0; i < 64; ++i) sum += SharedMemory()[i];
  if (barrier) SyncThreads();
  if (threadIdx.x < 4) AsyncCopy16(mine, from, sum == 1 ? 16 : 0);
  AsyncCommit();
  AsyncWait<0>();
}
TEST(RaceTest, StageIsOverwrittenWhileOthersReadIt) {
  for (const bool barrier : {false, true}) {
    ExpectRace(!barrier, [=] {
      const DeviceBuffer<uint8_t> from(std::vector<uint8_t>(16, 1));
      Launch(&CopyOverKernel, 1, {}, from.Data(), barrier);
    });
  }
}

__global__ void CountKernel(int* count, bool atomic) {
  StartKernel();
  if (threadIdx.x != 0) return;
  if (atomic) {
    AtomicAdd(count, 1);
  } else {
    ++*count;
  }
}
TEST(RaceTest, BlocksThatAddToOnePlace) {
  for (const bool atomic : {false, true}) {
    ExpectRace(!atomic, [=] {
      const DeviceBuffer<int> count(std::vector<int>{0});
      Launch(&CountKernel, 2, {}, count.Data(), atomic);
    });
  }
}

__global__ void ReadEarlyKernel(const int* from, int* to, bool early) {
  int v = early ? from[threadIdx.x ^ 1] : 0;
  StartKernel();
  if (!early) v = from[threadIdx.x ^ 1];
  to[threadIdx.x] = v;
}
TEST(RaceTest, ReadsWhatTheKernelBeforeMayStillWrite) {
  for (const bool early : {false, true}) {
    ExpectRace(early, [=] {
      const DeviceBuffer<int> a(std::vector<int>(kThreads, 1)), b(kThreads), c(kThreads);
      const Stream stream;
      Launch(&ReadEarlyKernel, 1, stream.Get(), a.Data(), b.Data(), false);
      Launch(&ReadEarlyKernel, 1, stream.Get(), b.Data(), c.Data(), early);
      stream.Wait();
    });
  }
}
// What the host sent, and what the kernel before the one in front wrote, is there at once.
TEST(RaceTest, ReadsEarlyWhatIsThere) {
  ExpectRace(false, [] {
    const DeviceBuffer<int> a(std::vector<int>(kThreads, 1)), b(kThreads), c(kThreads), d(kThreads);
    const Stream stream;
    Launch(&ReadEarlyKernel, 1, stream.Get(), a.Data(), b.Data(), true);
    Launch(&ReadEarlyKernel, 1, stream.Get(), a.Data(), c.Data(), true);
    Launch(&ReadEarlyKernel, 1, stream.Get(), b.Data(), d.Data(), true);
    stream.Wait();
  });
}

// b from a in one stream, c from b in another, once it waited for the first.
void TwoStreams(const Stream& one, const Stream& two, const Milestone& written, bool waits,
                const std::vector<DeviceBuffer<int>>& m) {
  Launch(&ReadEarlyKernel, 1, one.Get(), m[0].Data(), m[1].Data(), false);
  const_cast<Milestone&>(written).Record(one.Get());
  if (waits) written.HoldBack(two.Get());
  Launch(&ReadEarlyKernel, 1, two.Get(), m[1].Data(), m[2].Data(), false);
}
std::vector<DeviceBuffer<int>> ThreeBuffers() {
  std::vector<DeviceBuffer<int>> memory;
  for (int i = 0; i < 3; ++i) memory.emplace_back(std::vector<int>(kThreads, 1));
  return memory;
}
TEST(RaceTest, StreamsThatDoNotWaitForEachOther) {
  for (const bool waits : {false, true}) {
    ExpectRace(!waits, [=] {
      const std::vector<DeviceBuffer<int>> memory = ThreeBuffers();
      const Stream one, two;
      const Milestone written;
      TwoStreams(one, two, written, waits, memory);
      one.Wait();
      two.Wait();
    });
  }
}
// A recording whose branch overwrites what the main stream reads behind the fork.
TEST(RaceTest, BranchesOfAGraph) {
  for (const bool joined : {false, true}) {
    ExpectRace(!joined, [=] {
      const std::vector<DeviceBuffer<int>> m = ThreeBuffers();
      const Stream one, two;
      Milestone forked, done;
      const Graph graph(one.Get(), [&] {
        forked.Record(one.Get());
        forked.HoldBack(two.Get());
        Launch(&ReadEarlyKernel, 1, two.Get(), m[0].Data(), m[1].Data(), false);
        done.Record(two.Get());
        if (joined) done.HoldBack(one.Get());
        Launch(&ReadEarlyKernel, 1, one.Get(), m[1].Data(), m[2].Data(), false);
        if (!joined) done.HoldBack(one.Get());
      });
      graph.Launch(one.Get());
      graph.Launch(one.Get());
      one.Wait();
    });
  }
}

TEST(RaceTest, HostOverwritesWhatIsBeingCopied) {
  for (const bool waits : {false, true}) {
    ExpectRace(!waits, [=] {
      const DeviceBuffer<uint8_t> device(16);
      const PinnedMemory host(16);
      const Stream stream;
      Event sent;
      CopyToDevice(device.Data(), host.Data(), 16, stream.Get());
      sent.Record(stream.Get());
      if (waits) sent.Wait();
      host.Data()[3] = 1;
      stream.Wait();
    });
  }
}
TEST(RaceTest, HostReadsWhatIsBeingCopied) {
  for (const bool waits : {false, true}) {
    ExpectRace(!waits, [=] {
      const DeviceBuffer<uint8_t> device(std::vector<uint8_t>(16, 1));
      const PinnedMemory host(16);
      const Stream stream;
      CopyToHost(host.Data(), device.Data(), 16, stream.Get());
      if (waits) stream.Wait();
      if (host.Data()[3] != 1) std::exit(1);
    });
  }
}

}  // namespace
}  // namespace ftt::cuda::test
