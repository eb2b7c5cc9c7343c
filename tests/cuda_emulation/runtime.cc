// kernels/cuda/runtime.h on host memory: everything happens at once. Memory holds a sentinel until
// it is written, and a copy that reads it is fine; kernels that compute with it give themselves
// away.
#include "kernels/cuda/runtime.h"

#include <cstring>
#include <new>
#include <utility>

struct CUevent_st {};

namespace ftt::cuda {
namespace {

RuntimeCounts counts;
constexpr std::align_val_t kAlign{256};
constexpr int kSentinel = 0x5B;

uint8_t* Allocate(int64_t bytes) {
  ++counts.allocations;
  auto* memory = static_cast<uint8_t*>(::operator new(static_cast<size_t>(bytes), kAlign));
  std::memset(memory, kSentinel, static_cast<size_t>(bytes));
  return memory;
}
void Free(uint8_t* memory) { ::operator delete(memory, kAlign); }

}  // namespace

int DeviceCount() { return 1; }
DeviceInfo QueryDevice(int) { return {"emulated device", 90, int64_t{1} << 34}; }
void SelectDevice(int) {}
int64_t FreeMemory() { return int64_t{1} << 34; }
const RuntimeCounts& Counts() { return counts; }

DeviceMemory::DeviceMemory(int64_t bytes) { Resize(bytes); }
DeviceMemory::~DeviceMemory() { Free(data_); }
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
  data_ = Allocate(bytes);
  size_ = bytes;
}

PinnedMemory::PinnedMemory(int64_t bytes) : data_(Allocate(bytes)), size_(bytes) {}
PinnedMemory::~PinnedMemory() { Free(data_); }
PinnedMemory::PinnedMemory(PinnedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
PinnedMemory& PinnedMemory::operator=(PinnedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Stream::Stream() = default;
Stream::~Stream() = default;
void Stream::Wait() const { ++counts.synchronisations; }

Event::Event() : event_(new CUevent_st) {}
Event::~Event() { delete event_; }
Event::Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
void Event::Record(DeviceStream) {}
bool Event::Done() const { return true; }
void Event::Wait() const {}

void CopyToDevice(void* device, const void* host, int64_t bytes, DeviceStream) {
  if (bytes != 0) std::memcpy(device, host, static_cast<size_t>(bytes));
}
void CopyToHost(void* host, const void* device, int64_t bytes, DeviceStream) {
  if (bytes != 0) std::memcpy(host, device, static_cast<size_t>(bytes));
}
void CopyOnDevice(void* to, const void* from, int64_t bytes, DeviceStream) {
  if (bytes != 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}
void FillDevice(void* device, int byte, int64_t bytes, DeviceStream) {
  if (bytes != 0) std::memset(device, byte, static_cast<size_t>(bytes));
}

}  // namespace ftt::cuda
