// Whether a run fits into the device's free memory, before it starts.
#pragma once

#include <string_view>
#include <vector>

#include "engine/device.h"

namespace ftt::cuda {

struct MemoryPart {
  std::string_view name;  // a literal
  int64_t bytes = 0;
};

// What the executors of such a run allocate at most, and room for the kernels' code. A search is
// estimated from the programs given and the room that executors leave for others.
std::vector<MemoryPart> MemoryNeeds(const DeviceWork& work);
int64_t TotalBytes(const std::vector<MemoryPart>& parts);

// Throws ftt::Error where that is more than FreeMemory(), saying which options would need less.
void CheckFreeMemory(const DeviceWork& work);

}  // namespace ftt::cuda
