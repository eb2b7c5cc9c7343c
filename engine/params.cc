#include "engine/params.h"

#include <cmath>

#include "core/error.h"
#include "core/philox.h"

namespace ftt {
namespace {

uint32_t HashName(const std::string& name) {
  uint32_t hash = 2166136261u;
  for (const char ch : name) hash = (hash ^ static_cast<uint8_t>(ch)) * 16777619u;
  return hash;
}

void Initialise(Param& p, uint64_t seed) {
  const auto n = static_cast<size_t>(p.info.Elements());
  const bool ones = p.info.kind == ParamKind::kGamma || p.info.kind == ParamKind::kRunningVar;
  p.value.assign(n, ones ? 1.0f : 0.0f);
  const bool conv = p.info.kind == ParamKind::kConvWeight;
  if (!conv && p.info.kind != ParamKind::kLinearWeight) return;
  const int64_t operands = p.info.Elements() / p.info.shape[0];
  const auto fan_in = static_cast<float>(operands);
  const float bound = conv ? std::sqrt(6.0f / fan_in) : 1.0f / std::sqrt(fan_in);
  PhiloxSequence draws(seed, Stream::kInit, HashName(p.info.name), static_cast<uint32_t>(n));
  for (float& w : p.value) w = (2.0f * draws.Uniform() - 1.0f) * bound;
}

}  // namespace

Param& ParamStore::Get(const ParamInfo& info) {
  const auto [it, created] = params_.try_emplace(info.name);
  Param& p = it->second;
  if (created) {
    p.info = info;
    Initialise(p, seed_);
  }
  FTT_CHECK(p.info.shape == info.shape && p.info.kind == info.kind,
            "parameter {} has another shape than the network wants; is this the checkpoint of "
            "another network?",
            info.name);
  return p;
}

}  // namespace ftt
