// Parameters and their optimizer state in device memory.
#pragma once

#include <deque>
#include <string>
#include <unordered_map>
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
    float* value = nullptr;          // [n]
    float* momentum = nullptr;       // [n], 0 before the first update
    float* second_moment = nullptr;  // [n], likewise; null before AddSecondMoment
    bool updated = false;            // has a momentum worth saving
    int64_t updates = 0;             // Adam only
    // Where it lies.
    size_t chunk = 0;
    int64_t offset = 0;  // floats
  };
  Place& Get(const ParamInfo& info);
  // For Adam. Does nothing where it is there already.
  void AddSecondMoment(const ParamInfo& info, Place& place);
  // Enqueues copies of everything to the store; the caller waits for the stream.
  void Download();

  // Device memory that parameters of these sizes take in this order.
  static int64_t Bytes(const std::vector<int64_t>& elements, bool second_moments);

 private:
  struct Chunk {
    DeviceMemory memory;         // values, then momenta
    DeviceMemory second;         // empty before the first AddSecondMoment
    int64_t used = 0, size = 0;  // in floats, of each part
  };

  ParamStore& store_;
  DeviceStream stream_;
  std::deque<Chunk> chunks_;
  std::unordered_map<std::string, Place> places_;  // a search looks up hundreds a step
};

}  // namespace ftt::cuda
