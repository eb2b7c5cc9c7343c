#include "engine/memory_plan.h"

#include <algorithm>
#include <numeric>

namespace ftt {
namespace {

constexpr int64_t kAlign = 64;
int64_t RoundUp(int64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

int64_t LiveBound(const std::vector<BufferRequest>& requests) {
  int steps = 0;
  for (const BufferRequest& r : requests) steps = std::max(steps, r.last + 1);
  std::vector<int64_t> change(static_cast<size_t>(steps) + 1);
  for (const BufferRequest& r : requests) {
    change[static_cast<size_t>(r.first)] += RoundUp(r.bytes);
    change[static_cast<size_t>(r.last) + 1] -= RoundUp(r.bytes);
  }
  int64_t live = 0, bound = 0;
  for (const int64_t c : change) bound = std::max(bound, live += c);
  return bound;
}

}  // namespace

MemoryPlan PlanMemory(const std::vector<BufferRequest>& requests) {
  MemoryPlan plan;
  plan.offsets.assign(requests.size(), 0);
  plan.lower_bound = LiveBound(requests);
  std::vector<size_t> order(requests.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return requests[a].bytes > requests[b].bytes; });
  std::vector<size_t> placed;  // sorted by offset
  for (const size_t i : order) {
    const BufferRequest& r = requests[i];
    if (r.bytes == 0) continue;
    int64_t offset = 0;
    for (const size_t j : placed) {
      const BufferRequest& other = requests[j];
      if (other.last < r.first || other.first > r.last) continue;
      if (plan.offsets[j] >= offset + RoundUp(r.bytes)) break;
      offset = std::max(offset, plan.offsets[j] + RoundUp(other.bytes));
    }
    plan.offsets[i] = offset;
    plan.total = std::max(plan.total, offset + RoundUp(r.bytes));
    const auto at = std::upper_bound(placed.begin(), placed.end(), i, [&](size_t a, size_t b) {
      return plan.offsets[a] < plan.offsets[b];
    });
    placed.insert(at, i);
  }
  return plan;
}

}  // namespace ftt
