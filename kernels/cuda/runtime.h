// Devices, memory, copies, events and graphs: all that the engine wants from the CUDA runtime, so
// that it runs on the emulation, too. Everything throws ftt::Error with the runtime's own message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "kernels/cuda/stream.h"

struct CUevent_st;
struct CUgraphExec_st;

namespace ftt::cuda {

struct DeviceInfo {
  std::string name;
  int capability = 0;  // compute capability: 10 * major + minor
  int64_t memory = 0;  // bytes in all
};

// 0 where there is no driver or no device.
int DeviceCount();
DeviceInfo QueryDevice(int device);
// For the calling thread.
void SelectDevice(int device);
int64_t FreeMemory();  // bytes, of the selected device

// Calls that make the device or the host wait, of which a training step makes none; copies to the
// host; starts of graphs.
struct RuntimeCounts {
  int64_t allocations = 0;       // of device or pinned memory
  int64_t synchronisations = 0;  // the host waited for the device
  int64_t copies_to_host = 0;
  int64_t graph_launches = 0;
};
const RuntimeCounts& Counts();

// Move-only device memory, aligned to 256 bytes, uninitialised.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  explicit DeviceMemory(int64_t bytes);
  ~DeviceMemory();
  DeviceMemory(DeviceMemory&& other) noexcept;
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;

  // Contents are lost when the size grows; shrinking keeps the memory.
  void Resize(int64_t bytes);
  uint8_t* Data() const { return data_; }
  template <typename T>
  T* As() const {
    return reinterpret_cast<T*>(data_);
  }
  int64_t Size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  int64_t size_ = 0;
};

// Move-only page-locked host memory, which asynchronous copies need.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  explicit PinnedMemory(int64_t bytes);
  ~PinnedMemory();
  PinnedMemory(PinnedMemory&& other) noexcept;
  PinnedMemory& operator=(PinnedMemory&& other) noexcept;
  uint8_t* Data() const { return data_; }
  int64_t Size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  int64_t size_ = 0;
};

class Stream {
 public:
  // urgent: where both could run, its kernels run before those of other streams.
  explicit Stream(bool urgent = false);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  DeviceStream Get() const { return stream_; }
  void Wait() const;  // until everything in it is done

 private:
  DeviceStream stream_ = nullptr;
};

class Event {
 public:
  Event();
  ~Event();
  Event(Event&& other) noexcept;
  Event& operator=(Event&&) = delete;
  void Record(DeviceStream stream);
  bool Done() const;  // also where never recorded
  void Wait() const;  // counts as a synchronisation only where it is not done yet

 private:
  CUevent_st* event_ = nullptr;
};

// A point in a stream that other streams wait for, on the device. Move-only.
class Milestone {
 public:
  Milestone();
  ~Milestone();
  Milestone(Milestone&& other) noexcept;
  Milestone& operator=(Milestone&&) = delete;
  void Record(DeviceStream stream);
  // What `stream` is given from now on waits for what was last recorded. While that stream is
  // recorded for a Graph, `stream` becomes part of the recording, and must have been waited for
  // when it ends.
  void HoldBack(DeviceStream stream) const;

 private:
  CUevent_st* event_ = nullptr;
};

// Launches, copies and fills that are recorded once and started together as often as wanted.
class Graph {
 public:
  // Records what `enqueue` puts into `stream`, with its arguments by value; nothing of it runs yet.
  // enqueue must not allocate, wait, or copy from or to the host, and its kernels must have run
  // before, since their first launch may load code.
  Graph(DeviceStream stream, const std::function<void()>& enqueue);
  ~Graph();
  Graph(Graph&& other) noexcept;
  Graph& operator=(Graph&& other) noexcept;
  // Enqueues all of it. Memory that it works on must still be there.
  void Launch(DeviceStream stream) const;

 private:
  CUgraphExec_st* graph_ = nullptr;
};

// Asynchronous with respect to the host where host memory is pinned.
void CopyToDevice(void* device, const void* host, int64_t bytes, DeviceStream stream);
void CopyToHost(void* host, const void* device, int64_t bytes, DeviceStream stream);
void CopyOnDevice(void* to, const void* from, int64_t bytes, DeviceStream stream);
void FillDevice(void* device, int byte, int64_t bytes, DeviceStream stream);

}  // namespace ftt::cuda
