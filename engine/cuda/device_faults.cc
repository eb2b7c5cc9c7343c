#include "engine/cuda/device_faults.h"

#include <algorithm>
#include <unordered_map>

#include "core/error.h"

namespace ftt::cuda {
namespace {

// Puts steps and the tables that they point to into staging; sites with equal rates share tables.
class StepUploader {
 public:
  explicit StepUploader(Staging& staging) : staging_(staging) {}
  const FaultStep* Add(const SiteFaults& faults) {
    std::vector<FaultStep> steps = faults.steps;
    for (FaultStep& s : steps) {
      s.count_thresholds = Table(s.count_thresholds, s.count_size);
      s.count_guide = Table(s.count_guide, s.count_guide == nullptr ? 0 : 256);
      s.normal_thresholds = Table(s.normal_thresholds, s.normal_size);
    }
    return staging_.Add(steps);
  }

 private:
  template <typename T>
  const T* Table(const T* host, uint32_t n) {
    if (host == nullptr) return nullptr;
    const auto [it, created] = tables_.try_emplace(host, nullptr);
    if (created) it->second = staging_.Add(host, n);
    return static_cast<const T*>(it->second);
  }
  Staging& staging_;
  std::unordered_map<const void*, const void*> tables_;
};

uint64_t Exposed(const FaultStep& step, const FaultSite& site) {
  switch (step.style) {
    case FaultStyle::kCells:
      return static_cast<uint64_t>(site.elements) * (step.one_fault ? 1u : step.valid_count);
    case FaultStyle::kEvery:
      return static_cast<uint64_t>(site.elements);
    case FaultStyle::kColumns:
      break;
  }
  return static_cast<uint64_t>(std::min<int>(step.columns, site.c));
}

}  // namespace

int64_t DeviceFaults::HitSlots(const ProgramSites& sites, int lanes, bool per_site) {
  const size_t n = per_site ? sites.features.size() + sites.weights.size() : 1;
  return static_cast<int64_t>(n) * lanes * kMaxFaultTerms;
}

int64_t DeviceFaults::HitsAt(int lane, size_t site) const {
  const size_t slot =
      per_site_ ? static_cast<size_t>(lane) * sites_.size() + site : static_cast<size_t>(lane);
  return static_cast<int64_t>(slot) * kMaxFaultTerms;
}

DeviceFaults::DeviceFaults(const LanePlan& plan, bool weights, bool per_site, HitCounts* hits,
                           Staging& staging)
    : lanes_(plan.Lanes()), values_(plan.Sites().features.size()), per_site_(per_site) {
  const ProgramSites& sites = plan.Sites();
  sites_.resize(values_ + sites.weights.size());
  StepUploader uploader(staging);
  for (size_t s = 0; s < sites_.size(); ++s) {
    const bool feature = s < values_;
    if (!feature && !weights) break;
    const FaultSite& site = feature ? sites.features[s] : sites.weights[s - values_];
    std::vector<LaneFaultSteps> lanes(static_cast<size_t>(lanes_));
    std::vector<const SiteFaults*> planned;
    bool any = false;
    for (int lane = 0; lane < lanes_; ++lane) {
      const SiteFaults& faults = feature ? plan.FeatureFaults(lane, static_cast<int>(s))
                                         : plan.WeightFaults(lane, s - values_);
      planned.push_back(&faults);
      if (faults.Empty()) continue;
      FTT_CHECK(faults.replay == nullptr,
                "a list of faults is replayed on the host only; use --backend cpu");
      any = true;
      lanes[static_cast<size_t>(lane)] = {uploader.Add(faults),
                                          static_cast<int>(faults.steps.size()), plan.Moment(lane),
                                          hits == nullptr ? nullptr : hits + HitsAt(lane, s)};
      for (const FaultStep& step : faults.steps) {
        sites_[s].collects |=
            step.style == FaultStyle::kCells && step.sampler == Sampler::kSparse && !step.one_fault;
        terms_.push_back(
            {lane, s, step.term, step.style,
             step.style == FaultStyle::kCells ||
                 (step.style == FaultStyle::kColumns && step.column_mode == ColumnMode::kBit),
             step.column_bit, Exposed(step, site)});
      }
    }
    if (!any) continue;
    sites_[s].lanes = staging.Add(lanes);
    if (feature) strikes_.AddSite(static_cast<int>(s), site, planned, sites_[s].lanes);
  }
  strikes_.Stage(staging);
}

SiteFaultsView DeviceFaults::Feature(int value, const uint32_t* image_ids) const {
  const Site& site = sites_[static_cast<size_t>(value)];
  return {site.lanes, image_ids, site.collects, strikes_.List(value)};
}

bool DeviceFaults::Collects() const {
  return std::any_of(sites_.begin(), sites_.end(), [](const Site& s) { return s.collects; });
}

void DeviceFaults::AddTo(GraphKey& key) const {
  for (const Site& site : sites_) {
    key.Add(site.lanes);
    key.Add(site.collects);
  }
  strikes_.AddTo(key);
}

TermCounts DeviceFaults::Delivered(const Term& term, const HitCounts& hits) const {
  TermCounts counts;
  for (size_t k = 0; k < 8; ++k) {
    counts.delivered += hits.kind[k] + hits.kind[k + 8];
    if (term.style == FaultStyle::kCells) counts.bit[k] = hits.kind[k] + hits.kind[k + 8];
    if (term.style == FaultStyle::kColumns && !term.counts_bits) continue;
    counts.negative += hits.kind[k];
    counts.positive += hits.kind[k + 8];
  }
  if (term.style == FaultStyle::kColumns && term.counts_bits)
    counts.bit[term.column_bit] = counts.delivered;
  return counts;
}

FaultCounts DeviceFaults::Total(int lane, const HitCounts* hits, int64_t images) const {
  FaultCounts total;
  bool seen[kMaxFaultTerms] = {};
  for (const Term& t : terms_) {
    if (t.lane != lane) continue;
    TermCounts counts;
    if (per_site_ || !seen[t.term]) counts = Delivered(t, hits[HitsAt(lane, t.site) + t.term]);
    seen[t.term] = true;
    counts.exposed = t.exposed * static_cast<uint64_t>(t.site < values_ ? images : 1);
    total.Add(t.term, counts);
  }
  return total;
}

void DeviceFaults::AddTo(LanePlan& plan, const HitCounts* hits, int64_t images) const {
  for (const Term& t : terms_) {
    TermCounts counts = Delivered(t, hits[HitsAt(t.lane, t.site) + t.term]);
    const bool feature = t.site < values_;
    counts.exposed = t.exposed * static_cast<uint64_t>(feature ? images : 1);
    FaultCounts& to = feature ? plan.FeatureCounts(t.lane, static_cast<int>(t.site))
                              : plan.WeightCounts(t.lane, t.site - values_);
    to.Add(t.term, counts);
  }
}

}  // namespace ftt::cuda
