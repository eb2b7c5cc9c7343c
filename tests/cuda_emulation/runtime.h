// What the emulated device lets tests set and see, and its streams.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

// Work runs at once, or is recorded for a Graph.
struct CUstream_st {
  std::vector<std::function<void()>>* recording = nullptr;
};

namespace ftt::emulation {

// The device's memory in bytes; what is allocated stays. Allocating more than that throws, as on a
// device.
void SetDeviceMemory(int64_t bytes);
inline constexpr int64_t kUsualDeviceMemory = int64_t{1} << 34;
int64_t DeviceMemoryInUse();  // bytes

// Runs `work` at once, unless the stream records.
template <typename F>
void Enqueue(CUstream_st* stream, F work) {
  if (stream == nullptr || stream->recording == nullptr) {
    work();
  } else {
    stream->recording->emplace_back(std::move(work));
  }
}

}  // namespace ftt::emulation
