// Work that is enqueued again and again, as graphs.
#pragma once

#include <cstring>
#include <functional>
#include <optional>
#include <type_traits>
#include <vector>

#include "kernels/cuda/runtime.h"

namespace ftt::cuda {

// Everything that the enqueued calls are given by value: shapes, switches, constants and addresses.
// What is not in it must come from device memory.
class GraphKey {
 public:
  template <typename T>
  void Add(const T& value) {
    static_assert(std::is_scalar_v<T> && sizeof(T) <= sizeof(uint64_t));
    uint64_t word = 0;
    std::memcpy(&word, &value, sizeof value);
    words_.push_back(word);
  }
  template <typename... T>
  void AddAll(const T&... values) {
    (Add(values), ...);
  }
  friend bool operator==(const GraphKey&, const GraphKey&) = default;

 private:
  std::vector<uint64_t> words_;
};

// Holds the graphs of the last few keys, e.g. of full batches and of the last one, which is not.
class GraphCache {
 public:
  // Without graphs everything is enqueued call by call.
  explicit GraphCache(bool graphs) : graphs_(graphs) {}

  // Makes `stream` do what `enqueue` enqueues. A new key's work is enqueued call by call, which
  // also loads its kernels; the second time it is recorded, from then on replayed.
  void Run(const GraphKey& key, DeviceStream stream, const std::function<void()>& enqueue);

 private:
  struct Entry {
    GraphKey key;
    std::optional<Graph> graph;
  };

  bool graphs_;
  std::vector<Entry> entries_;  // the last one used comes first
};

}  // namespace ftt::cuda
