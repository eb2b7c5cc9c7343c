// Small host data on its way to the device: everything that a step needs goes in one or two copies.
#pragma once

#include <cstring>
#include <deque>
#include <vector>

#include "kernels/cuda/runtime.h"

namespace ftt::cuda {

// A ring of page-locked blocks in front of one place in device memory. What is added in the same
// order with the same sizes lies at the same place in every step, so that a graph finds it there.
// The host may be as many steps ahead of the device as the ring has slots; only then does Begin
// wait. All steps must go through one stream.
class Staging {
 public:
  explicit Staging(int slots);
  // Only counts: allocates nothing, and Add returns null.
  static Staging Counting();

  // A new step. What was sent before is overwritten when the device gets to this step's Send.
  void Begin();
  // Copies n values; they are at the returned place in device memory after Send.
  template <typename T>
  const T* Add(const T* values, int64_t n) {
    const Place place = Take(n * static_cast<int64_t>(sizeof(T)));
    if (n > 0 && place.host != nullptr)
      std::memcpy(place.host, values, static_cast<size_t>(n) * sizeof(T));
    return reinterpret_cast<const T*>(place.device);
  }
  template <typename T>
  const T* Add(const std::vector<T>& values) {
    return Add(values.data(), static_cast<int64_t>(values.size()));
  }
  // Counting: as Add of so many bytes.
  void Count(int64_t bytes) { Take(bytes); }
  // Enqueues the copies of everything added since Begin.
  void Send(DeviceStream stream);

  int64_t DeviceBytes() const;

 private:
  struct Place {
    uint8_t* host = nullptr;
    uint8_t* device = nullptr;
  };
  struct Block {
    DeviceMemory memory;
    int64_t size = 0, used = 0;
  };
  struct Slot {
    std::deque<PinnedMemory> blocks;
    Event sent;
  };

  Place Take(int64_t bytes);

  std::deque<Block> blocks_;
  std::vector<Slot> slots_;
  size_t slot_ = 0, current_ = 0;
};

}  // namespace ftt::cuda
