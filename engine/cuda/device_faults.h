// The fault plans of a set of lanes in device memory.
#pragma once

#include <vector>

#include "engine/cuda/graph_cache.h"
#include "engine/cuda/staging.h"
#include "engine/cuda/strike_plan.h"
#include "engine/lanes.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

// Faults as kernels want them: one table of steps per site and lane, all in the staging block of
// the step.
class DeviceFaults {
 public:
  // Adds everything to staging; the faults of weights only where wanted. hits:
  // [lanes][per_site ? sites : 1][kMaxFaultTerms] in device memory, where sites are the values and
  // then the ops; see HitSlots; null: not counted. Throws ftt::Error for lanes that replay a list
  // of faults, which only the host does.
  DeviceFaults(const LanePlan& plan, bool weights, bool per_site, HitCounts* hits,
               Staging& staging);

  // Entries of hits.
  static int64_t HitSlots(const ProgramSites& sites, int lanes, bool per_site);

  // Where faults of features lie that Draw draws, for batches of so many images; without it the
  // kernels that write codes draw them. words: of StrikeBytes.
  int64_t StrikeBytes(int images) const { return strikes_.Bytes(lanes_, images); }
  void PlaceStrikes(uint32_t* words, int images) { strikes_.Place(words, lanes_, images); }
  void DrawStrikes(StrikePart part, const uint32_t* image_ids, DeviceStream stream) const {
    strikes_.Draw(part, image_ids, stream);
  }
  int RestOfStrikesFrom() const { return strikes_.RestFrom(); }

  // image_ids: [images], device memory.
  SiteFaultsView Feature(int value, const uint32_t* image_ids) const;
  // [lanes]; null where no lane has faults at this op's weights.
  const LaneFaultSteps* Weights(size_t op) const { return sites_[values_ + op].lanes; }
  bool Collects() const;  // some site's faults do, see SiteFaultsView
  // All that kernels are given of it by value.
  void AddTo(GraphKey& key) const;

  // What was delivered on one lane, from a copy of hits on the host. images: run through each site.
  FaultCounts Total(int lane, const HitCounts* hits, int64_t images) const;
  // per_site only: adds the counts of all lanes and sites to the plan's audit.
  void AddTo(LanePlan& plan, const HitCounts* hits, int64_t images) const;

 private:
  struct Site {
    const LaneFaultSteps* lanes = nullptr;
    bool collects = false;
  };
  // What the host must know to turn hits into counts.
  struct Term {
    int lane = 0;
    size_t site = 0;
    uint8_t term = 0;
    FaultStyle style = FaultStyle::kCells;
    bool counts_bits = true;  // hits name the bit and its value
    uint8_t column_bit = 0;
    uint64_t exposed = 0;  // per image, or per weight tensor
  };
  TermCounts Delivered(const Term& term, const HitCounts& hits) const;
  int64_t HitsAt(int lane, size_t site) const;

  int lanes_;
  size_t values_;
  bool per_site_;
  std::vector<Site> sites_;
  std::vector<Term> terms_;
  StrikePlan strikes_;
};

}  // namespace ftt::cuda
