// One arena for all buffers of a program: buffers whose lifetimes do not overlap share memory.
#pragma once

#include <cstdint>
#include <vector>

namespace ftt {

struct BufferRequest {
  int64_t bytes = 0;
  int first = 0, last = 0;  // first and last step of use, inclusive
};

struct MemoryPlan {
  std::vector<int64_t> offsets;  // of each request, multiples of 64
  int64_t total = 0;             // arena size in bytes
  int64_t lower_bound = 0;  // the largest sum of live buffers at any step; total >= lower_bound
};

// Greedy by size (largest first, lowest offset that fits).
MemoryPlan PlanMemory(const std::vector<BufferRequest>& requests);

}  // namespace ftt
