#include "engine/cuda/graph_cache.h"

#include <algorithm>

namespace ftt::cuda {
namespace {

constexpr size_t kMostGraphs = 8;

}  // namespace

void GraphCache::Run(const GraphKey& key, DeviceStream stream,
                     const std::function<void()>& enqueue) {
  if (!graphs_) return enqueue();
  const auto known = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& entry) { return entry.key == key; });
  if (known == entries_.end()) {
    if (entries_.size() == kMostGraphs) entries_.pop_back();
    entries_.insert(entries_.begin(), Entry{key, std::nullopt});
    return enqueue();
  }
  std::rotate(entries_.begin(), known, known + 1);
  std::optional<Graph>& graph = entries_.front().graph;
  if (!graph) graph.emplace(stream, enqueue);
  graph->Launch(stream);
}

}  // namespace ftt::cuda
