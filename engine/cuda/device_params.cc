#include "engine/cuda/device_params.h"

#include <algorithm>

namespace ftt::cuda {
namespace {

constexpr int64_t kChunkFloats = int64_t{1} << 20;
constexpr int64_t kAlignFloats = 64;

int64_t Bytes(int64_t floats) { return floats * static_cast<int64_t>(sizeof(float)); }

}  // namespace

DeviceParams::Place& DeviceParams::Get(const ParamInfo& info) {
  const auto [it, created] = places_.try_emplace(info.name);
  Place& place = it->second;
  if (!created) return place;
  const Param& p = store_.Get(info);
  const auto n = static_cast<int64_t>(p.value.size());
  const int64_t rounded = (n + kAlignFloats - 1) / kAlignFloats * kAlignFloats;
  if (chunks_.empty() || chunks_.back().used + rounded > chunks_.back().size) {
    const int64_t size = std::max(kChunkFloats, rounded);
    chunks_.push_back({DeviceMemory(Bytes(2 * size)), 0, size});
    FillDevice(chunks_.back().memory.Data(), 0, Bytes(2 * size), stream_);
  }
  Chunk& chunk = chunks_.back();
  place.value = chunk.memory.As<float>() + chunk.used;
  place.velocity = place.value + chunk.size;
  chunk.used += rounded;
  CopyToDevice(place.value, p.value.data(), Bytes(n), stream_);
  if (!p.momentum.empty()) {
    CopyToDevice(place.velocity, p.momentum.data(), Bytes(n), stream_);
    place.updated = true;
  }
  return place;
}

void DeviceParams::Download() {
  for (auto& [name, place] : places_) {
    Param& p = store_.All().at(name);
    const auto n = static_cast<int64_t>(p.value.size());
    CopyToHost(p.value.data(), place.value, Bytes(n), stream_);
    if (!place.updated) continue;
    p.momentum.resize(p.value.size());
    CopyToHost(p.momentum.data(), place.velocity, Bytes(n), stream_);
  }
}

}  // namespace ftt::cuda
