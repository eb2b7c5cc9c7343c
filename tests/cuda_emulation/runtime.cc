// kernels/cuda/runtime.h on host memory: everything happens at once. Memory holds a sentinel until
// it is written, and a copy that reads it is fine; kernels that compute with it give themselves
// away.
#include "kernels/cuda/runtime.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <new>
#include <utility>

#include "core/error.h"
#include "tests/cuda_emulation/runtime.h"

struct CUevent_st {
  CUstream_st* stream = nullptr;
  int64_t position = 0;  // in what the stream was given
  const char* tag = ftt::emulation::NewTag();
};
struct CUgraphExec_st {
  std::vector<ftt::emulation::GraphNode> nodes;
};

namespace ftt::cuda {
namespace {

using emulation::kFindsRaces;
using emulation::TimelineOf;

RuntimeCounts counts;
int64_t device_memory = emulation::kUsualDeviceMemory, in_use = 0;
int recordings = 0;                  // under way
std::vector<DeviceStream> branches;  // of them
bool late_streams = false;
constexpr std::align_val_t kAlign{256};
constexpr int kSentinel = 0x5B;

// What would end a capture on a device.
void CheckNotRecording(const char* what) {
  FTT_CHECK(recordings == 0, "emulated device: {} while a graph is recorded", what);
}

uint8_t* Allocate(int64_t bytes) {
  CheckNotRecording("memory is allocated");
  ++counts.allocations;
  auto* memory = static_cast<uint8_t*>(::operator new(static_cast<size_t>(bytes), kAlign));
  std::memset(memory, kSentinel, static_cast<size_t>(bytes));
  return memory;
}
// What the stream put off, up to that much of what it was given.
void RunDelayed(CUstream_st& stream, int64_t position) {
  while (!stream.delayed.empty() &&
         stream.given - static_cast<int64_t>(stream.delayed.size()) < position) {
    std::function<void()> work = std::move(stream.delayed.front());
    stream.delayed.pop_front();
    emulation::RunOn(TimelineOf(&stream), std::move(work));
  }
}

// As on a device all of it comes to rest first.
void Free(uint8_t* memory) {
  emulation::Timeline::WaitForAll();
  ::operator delete(memory, kAlign);
}

// Page-locked memory: address and bytes.
std::map<const uint8_t*, int64_t>& Pinned() {
  static std::map<const uint8_t*, int64_t> pinned;
  return pinned;
}
// Whether copies from and to it do not make the host wait.
bool IsPinned(const void* host) {
  const auto* at = static_cast<const uint8_t*>(host);
  const auto next = Pinned().upper_bound(at);
  if (next == Pinned().begin()) return false;
  const auto& [first, bytes] = *std::prev(next);
  return at < first + bytes;
}
void Copy(void* to, const void* from, int64_t bytes) {
  if (bytes != 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}

}  // namespace

int DeviceCount() { return 1; }
DeviceInfo QueryDevice(int) { return {"emulated device", 90, device_memory}; }
void SelectDevice(int) {}
int64_t FreeMemory() { return std::max<int64_t>(device_memory - in_use, 0); }
const RuntimeCounts& Counts() { return counts; }

DeviceMemory::DeviceMemory(int64_t bytes) { Resize(bytes); }
DeviceMemory::~DeviceMemory() {
  Free(data_);
  in_use -= size_;
}
DeviceMemory::DeviceMemory(DeviceMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}
void DeviceMemory::Resize(int64_t bytes) {
  if (bytes <= size_) return;
  Free(std::exchange(data_, nullptr));
  in_use -= std::exchange(size_, 0);
  FTT_CHECK(bytes <= FreeMemory(), "device memory: {} bytes wanted, {} free", bytes, FreeMemory());
  data_ = Allocate(bytes);
  in_use += size_ = bytes;
}

PinnedMemory::PinnedMemory(int64_t bytes) : data_(Allocate(bytes)), size_(bytes) {
  Pinned()[data_] = bytes;
}
PinnedMemory::~PinnedMemory() {
  if (data_ == nullptr) return;
  Pinned().erase(data_);
  Free(data_);
}
PinnedMemory::PinnedMemory(PinnedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
PinnedMemory& PinnedMemory::operator=(PinnedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Stream::Stream(bool) : stream_(new CUstream_st) {}
Stream::~Stream() {
  emulation::Timeline::GiveBack(stream_->timeline);
  delete stream_;
}
void Stream::Wait() const {
  CheckNotRecording("the host waits");
  RunDelayed(*stream_, stream_->given);
  stream_->timeline->Wait();
  ++counts.synchronisations;
}

Event::Event() : event_(new CUevent_st) {}
Event::~Event() { delete event_; }
Event::Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
void Event::Record(DeviceStream stream) {
  CheckNotRecording("an event is recorded");
  emulation::RunOn(TimelineOf(stream), [tag = event_->tag] { emulation::Release(tag); });
}
bool Event::Done() const {
  CheckNotRecording("an event is queried");
  emulation::Acquire(event_->tag);
  return true;
}
void Event::Wait() const {
  CheckNotRecording("the host waits");
  emulation::Acquire(event_->tag);
}

Milestone::Milestone() : event_(new CUevent_st) {}
Milestone::~Milestone() { delete event_; }
Milestone::Milestone(Milestone&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
void Milestone::Record(DeviceStream stream) {
  if (kFindsRaces) emulation::Enqueue(stream, [tag = event_->tag] { emulation::Release(tag); });
  event_->stream = stream;
  event_->position = stream->given;
}
void Milestone::HoldBack(DeviceStream stream) const {
  if (event_->stream == nullptr) return;
  CUstream_st& before = *event_->stream;
  const auto acquire = [&] {
    if (kFindsRaces) emulation::Enqueue(stream, [tag = event_->tag] { emulation::Acquire(tag); });
  };
  if (before.recording != nullptr) {
    before.awaited = event_->position;
    if (stream->recording == nullptr) {
      stream->recording = before.recording;
      stream->branch = true;
      branches.push_back(stream);
    }
    acquire();
    return;
  }
  FTT_CHECK(stream->recording == nullptr,
            "emulated device: a recording waits for what is not part of it");
  RunDelayed(before, event_->position);
  if (!before.late) stream->late = late_streams;
  acquire();
}

Graph::Graph(DeviceStream stream, const std::function<void()>& enqueue)
    : graph_(new CUgraphExec_st) {
  FTT_CHECK(stream != nullptr, "emulated device: the default stream cannot be recorded");
  stream->recording = &graph_->nodes;
  ++recordings;
  const auto end = [&] {
    stream->recording = nullptr;
    bool awaited = true;
    for (const DeviceStream branch : std::exchange(branches, {})) {
      awaited = awaited && branch->awaited == branch->given;
      branch->recording = nullptr;
      branch->branch = false;
    }
    --recordings;
    return awaited;
  };
  try {
    enqueue();
  } catch (...) {
    end();
    delete graph_;
    throw;
  }
  if (end()) return;
  delete graph_;
  Fail("emulated device: a recording ends before a branch of it");
}
Graph::~Graph() {
  if (!kFindsRaces) delete graph_;  // there its nodes may still have to run
}
Graph::Graph(Graph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
Graph& Graph::operator=(Graph&& other) noexcept {
  std::swap(graph_, other.graph_);
  return *this;
}
void Graph::Launch(DeviceStream stream) const {
  ++counts.graph_launches;
  for (const emulation::GraphNode& node : graph_->nodes) {
    if (node.branch == nullptr) {
      emulation::Enqueue(stream, node.work);
    } else {
      emulation::Enqueue(stream, [&node] { node.branch->RunShared(node.work); });
    }
  }
}

void CopyToDevice(void* device, const void* host, int64_t bytes, DeviceStream stream) {
  CheckNotRecording("memory is copied from the host");
  if (kFindsRaces && !IsPinned(host)) {
    const auto* from = static_cast<const uint8_t*>(host);
    const std::vector<uint8_t> staged(from, from + bytes);
    emulation::RunOn(TimelineOf(stream), [=] { Copy(device, staged.data(), bytes); });
  } else {
    emulation::RunOn(TimelineOf(stream), [=] { Copy(device, host, bytes); });
  }
}
void CopyToHost(void* host, const void* device, int64_t bytes, DeviceStream stream) {
  CheckNotRecording("memory is copied to the host");
  if (bytes == 0) return;
  ++counts.copies_to_host;
  emulation::RunOn(TimelineOf(stream), [=] { Copy(host, device, bytes); });
  if (kFindsRaces && !IsPinned(host)) TimelineOf(stream).Wait();
}
void CopyOnDevice(void* to, const void* from, int64_t bytes, DeviceStream stream) {
  emulation::Enqueue(stream, [=] { Copy(to, from, bytes); });
}
void FillDevice(void* device, int byte, int64_t bytes, DeviceStream stream) {
  emulation::Enqueue(stream, [=] {
    if (bytes != 0) std::memset(device, byte, static_cast<size_t>(bytes));
  });
}

}  // namespace ftt::cuda

namespace ftt::emulation {

void SetLateStreams(bool late) { cuda::late_streams = late; }
void SetDeviceMemory(int64_t bytes) { cuda::device_memory = bytes; }
int64_t DeviceMemoryInUse() { return cuda::in_use; }

}  // namespace ftt::emulation
