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

// Everything that the search for room reads, side by side: it looks at all pairs of buffers.
struct Placed {
  int first, last;
  int64_t offset, end;
};

}  // namespace

MemoryPlan PlanMemory(const std::vector<BufferRequest>& requests) {
  MemoryPlan plan;
  plan.offsets.assign(requests.size(), 0);
  plan.lower_bound = LiveBound(requests);
  std::vector<size_t> order(requests.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return requests[a].bytes > requests[b].bytes; });
  std::vector<Placed> placed;  // by offset
  placed.reserve(requests.size());
  for (const size_t i : order) {
    const BufferRequest& r = requests[i];
    if (r.bytes == 0) break;  // the rest are empty as well
    const int64_t bytes = RoundUp(r.bytes);
    int64_t offset = 0;
    for (const Placed& other : placed) {
      if (other.last < r.first || other.first > r.last) continue;
      if (other.offset >= offset + bytes) break;
      offset = std::max(offset, other.end);
    }
    plan.offsets[i] = offset;
    plan.total = std::max(plan.total, offset + bytes);
    const auto at = std::upper_bound(placed.begin(), placed.end(), offset,
                                     [](int64_t o, const Placed& p) { return o < p.offset; });
    placed.insert(at, {r.first, r.last, offset, offset + bytes});
  }
  return plan;
}

}  // namespace ftt
