// What benchmarks want to know of the device beyond runtime.h.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/cuda/stream.h"

namespace ftt::cuda {

// Of the selected device.
struct DeviceParts {
  int64_t cache_bytes = 0;  // of the second-level cache
  int multiprocessors = 1;
};
DeviceParts QueryParts();

// The device's time between two places in a stream. Throws ftt::Error where the device fails.
class Stopwatch {
 public:
  Stopwatch();
  ~Stopwatch();
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  void Start(DeviceStream stream);
  void Stop(DeviceStream stream);
  double Seconds();  // waits for Stop

 private:
  struct Events;
  std::unique_ptr<Events> events_;
};

}  // namespace ftt::cuda
