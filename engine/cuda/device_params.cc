#include "engine/cuda/device_params.h"

#include <algorithm>

namespace ftt::cuda {
namespace {

constexpr int64_t kChunkFloats = int64_t{1} << 20;
constexpr int64_t kAlignFloats = 64;

int64_t FloatBytes(int64_t floats) { return floats * static_cast<int64_t>(sizeof(float)); }
int64_t Rounded(int64_t n) { return (n + kAlignFloats - 1) / kAlignFloats * kAlignFloats; }

}  // namespace

int64_t DeviceParams::Bytes(const std::vector<int64_t>& elements, bool second_moments) {
  int64_t used = 0, size = 0, all = 0;
  for (const int64_t n : elements) {
    if (used + Rounded(n) > size) {
      used = 0;
      all += size = std::max(kChunkFloats, Rounded(n));
    }
    used += Rounded(n);
  }
  return FloatBytes((second_moments ? 3 : 2) * all);
}

DeviceParams::Place& DeviceParams::Get(const ParamInfo& info) {
  const auto [it, created] = places_.try_emplace(info.name);
  Place& place = it->second;
  if (!created) return place;
  const Param& p = store_.Get(info);
  const auto n = static_cast<int64_t>(p.value.size());
  if (chunks_.empty() || chunks_.back().used + Rounded(n) > chunks_.back().size) {
    const int64_t size = std::max(kChunkFloats, Rounded(n));
    chunks_.push_back({DeviceMemory(FloatBytes(2 * size)), {}, 0, size});
    FillDevice(chunks_.back().memory.Data(), 0, FloatBytes(2 * size), stream_);
  }
  Chunk& chunk = chunks_.back();
  place.chunk = chunks_.size() - 1;
  place.offset = chunk.used;
  place.value = chunk.memory.As<float>() + chunk.used;
  place.momentum = place.value + chunk.size;
  place.updates = p.updates;
  chunk.used += Rounded(n);
  CopyToDevice(place.value, p.value.data(), FloatBytes(n), stream_);
  if (!p.momentum.empty()) {
    CopyToDevice(place.momentum, p.momentum.data(), FloatBytes(n), stream_);
    place.updated = true;
  }
  return place;
}

void DeviceParams::AddSecondMoment(const ParamInfo& info, Place& place) {
  if (place.second_moment != nullptr) return;
  Chunk& chunk = chunks_[place.chunk];
  if (chunk.second.Size() == 0) {
    chunk.second.Resize(FloatBytes(chunk.size));
    FillDevice(chunk.second.Data(), 0, chunk.second.Size(), stream_);
  }
  place.second_moment = chunk.second.As<float>() + place.offset;
  const Param& p = store_.Get(info);
  CopyToDevice(place.second_moment, p.second_moment.data(),
               FloatBytes(static_cast<int64_t>(p.second_moment.size())), stream_);
}

void DeviceParams::Download() {
  const auto copy = [&](std::vector<float>& to, const float* from, size_t n) {
    to.resize(n);
    CopyToHost(to.data(), from, FloatBytes(static_cast<int64_t>(n)), stream_);
  };
  for (auto& [name, place] : places_) {
    Param& p = store_.All().at(name);
    copy(p.value, place.value, p.value.size());
    p.updates = place.updates;
    if (place.updated) copy(p.momentum, place.momentum, p.value.size());
    if (place.updates > 0 && place.second_moment != nullptr)
      copy(p.second_moment, place.second_moment, p.value.size());
  }
}

}  // namespace ftt::cuda
