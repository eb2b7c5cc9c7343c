// Parameters and their momentum in device memory.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/params.h"
#include "kernels/cuda/runtime.h"

namespace ftt::cuda {

// A parameter is copied from the store when it is first asked for; from then on the device's copy
// is the one that counts, until Download.
class DeviceParams {
 public:
  DeviceParams(ParamStore& store, DeviceStream stream) : store_(store), stream_(stream) {}

  struct Place {
    float* value = nullptr;     // [n]
    float* velocity = nullptr;  // [n], 0 before the first update
    bool updated = false;       // has a velocity worth saving
  };
  Place& Get(const ParamInfo& info);
  // Enqueues copies of everything to the store; the caller waits for the stream.
  void Download();

 private:
  struct Chunk {
    DeviceMemory memory;         // values, then velocities
    int64_t used = 0, size = 0;  // in floats, of each half
  };

  ParamStore& store_;
  DeviceStream stream_;
  std::vector<Chunk> chunks_;
  std::map<std::string, Place> places_;
};

}  // namespace ftt::cuda
