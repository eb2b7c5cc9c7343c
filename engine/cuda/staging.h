// Small host data on its way to the device: everything that a step needs goes in one or two copies.
#pragma once

#include <cstring>
#include <deque>
#include <vector>

#include "kernels/cuda/runtime.h"

namespace ftt::cuda {

// A ring of page-locked blocks, each with its place in device memory. The host may be as many steps
// ahead of the device as the ring has slots; only then does Begin wait.
class Staging {
 public:
  explicit Staging(int slots);

  // A new step. What the slot held before is lost.
  void Begin();
  // Copies n values; they are at the returned place in device memory after Send.
  template <typename T>
  const T* Add(const T* values, int64_t n) {
    uint8_t* device = nullptr;
    uint8_t* host = Take(n * static_cast<int64_t>(sizeof(T)), &device);
    if (n > 0) std::memcpy(host, values, static_cast<size_t>(n) * sizeof(T));
    return reinterpret_cast<const T*>(device);
  }
  template <typename T>
  const T* Add(const std::vector<T>& values) {
    return Add(values.data(), static_cast<int64_t>(values.size()));
  }
  // Enqueues the copies of everything added since Begin or the last Send.
  void Send(DeviceStream stream);

 private:
  struct Block {
    PinnedMemory host;
    DeviceMemory device;
    int64_t used = 0, sent = 0;
  };
  struct Slot {
    std::deque<Block> blocks;
    size_t current = 0;
    Event sent;
  };

  uint8_t* Take(int64_t bytes, uint8_t** device);

  std::vector<Slot> slots_;
  size_t slot_ = 0;
};

}  // namespace ftt::cuda
