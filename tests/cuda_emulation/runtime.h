// What the emulated device lets tests set and see, and its streams.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "tests/cuda_emulation/timeline.h"

namespace ftt::emulation {

// One piece of work of a recording; of its own stream unless `branch` names another one.
struct GraphNode {
  Timeline* branch;
  std::function<void()> work;
};

}  // namespace ftt::emulation

// Work runs at once, is recorded for a Graph, or is put off (see SetLateStreams).
struct CUstream_st {
  ftt::emulation::Timeline* timeline = ftt::emulation::Timeline::Take();
  std::vector<ftt::emulation::GraphNode>* recording = nullptr;
  bool branch = false;  // of what is recorded
  bool late = false;
  std::deque<std::function<void()>> delayed;
  // How much it was ever given, and up to where a recording's other streams waited for it.
  int64_t given = 0, awaited = 0;
};

namespace ftt::emulation {

// The device's memory in bytes; what is allocated stays. Allocating more than that throws, as on a
// device.
void SetDeviceMemory(int64_t bytes);
inline constexpr int64_t kUsualDeviceMemory = int64_t{1} << 34;
int64_t DeviceMemoryInUse();  // bytes

// Streams that wait for another one put everything off until somebody waits for them: of the orders
// that a device may choose the one furthest from that of the calls.
void SetLateStreams(bool late);

inline Timeline& TimelineOf(CUstream_st* stream) {
  return stream == nullptr ? Timeline::Default() : *stream->timeline;
}

// Runs `work` at once, unless the stream records or is late.
template <typename F>
void Enqueue(CUstream_st* stream, F work) {
  if (stream != nullptr) ++stream->given;
  if (stream != nullptr && stream->recording != nullptr) {
    stream->recording->push_back(
        {kFindsRaces && stream->branch ? stream->timeline : nullptr, std::move(work)});
  } else if (stream != nullptr && stream->late) {
    stream->delayed.emplace_back(std::move(work));
  } else {
    RunOn(TimelineOf(stream), std::move(work));
  }
}

}  // namespace ftt::emulation
