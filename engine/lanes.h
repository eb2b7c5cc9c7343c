// Lanes: copies of the batch that flow through one program, each with its own faults.
#pragma once

#include <vector>

#include "engine/program.h"
#include "faults/fault_list.h"
#include "faults/inject.h"
#include "faults/plan.h"
#include "faults/spec.h"
#include "kernels/backend.h"

namespace ftt {

// Sites that faults may strike; an empty list stands for all of its kind.
struct SiteFilter {
  std::vector<char> features;  // by value number
  std::vector<char> weights;   // by op index
};

// What one lane carries. A null or empty spec is a clean lane.
struct LaneSpec {
  const FaultSpec* faults = nullptr;
  const ReplayPlan* replay = nullptr;  // applied instead of sampling `faults`
  const SiteFilter* sites = nullptr;   // null: all; not with `replay`
  double max_rate = 0;                 // of a sweep, see PlanSite
  uint64_t seed = 0;
  FaultMoment moment;        // trial, or training step
  float loss_weight = 1.0f;  // training: weight of this lane's cross-entropy
};

// The fault sites of a program. A feature site's id is its value number; a weight site's id is
// 0x8000 + op index.
struct ProgramSites {
  std::vector<FaultSite> features;  // by value number
  std::vector<FaultSite> weights;   // by op index; elements 0 where the op has no weight
};
ProgramSites SitesOf(const Program& program);

// Fault plans of all sites for a set of lanes, resolved once per step (training) or per set of
// trials (deploy).
class LanePlan {
 public:
  LanePlan(const Program& program, const std::vector<LaneSpec>& lanes, int bits);
  LanePlan(const LanePlan&) = delete;
  LanePlan(LanePlan&&) =
      default;  // internal pointers stay valid: they point into heap blocks that move along
  LanePlan& operator=(LanePlan&&) = default;

  int Lanes() const { return static_cast<int>(lanes_.size()); }
  // Per-lane faults of a value, or null when no lane has any.
  const LaneFaults* Feature(int value) const;
  bool HasWeightFaults(size_t op) const;
  // Ops before this one compute the same on all lanes; at most the last op.
  size_t FirstFaultyOp(const Program& program) const;
  // Applies weight faults of one lane to codes in place; keep (1 byte each, 1 = gradient passes) is
  // cleared where masked.
  void InjectLaneWeights(size_t op, int lane, int8_t* codes, int64_t n, uint8_t* keep);

  // Faults of the classifier's outputs of all lanes; logits: [lanes][images][classes].
  void InjectLaneLogits(int value, const BatchDims& dims, int classes, float* logits) const;

  // Of one lane, for those who apply them elsewhere; Empty() where there are none.
  const SiteFaults& FeatureFaults(int lane, int value) const;
  const SiteFaults& WeightFaults(int lane, size_t op) const;
  FaultMoment Moment(int lane) const { return lanes_[static_cast<size_t>(lane)].moment; }

  // Audit: what was delivered, per lane and feature value / weight op.
  const FaultCounts& FeatureCounts(int lane, int value) const;
  const FaultCounts& WeightCounts(int lane, size_t op) const;
  FaultCounts& FeatureCounts(int lane, int value);
  FaultCounts& WeightCounts(int lane, size_t op);
  FaultCounts TotalCounts(int lane) const;
  void SetRecorder(FaultRecorder* recorder);
  const ProgramSites& Sites() const { return sites_; }

 private:
  size_t At(int lane, size_t i, size_t n) const { return static_cast<size_t>(lane) * n + i; }

  ProgramSites sites_;
  std::vector<LaneSpec> lanes_;
  std::vector<SiteFaults> feature_faults_, weight_faults_;  // [lane][value], [lane][op]
  std::vector<LaneFaults> feature_;                         // [value][lane]
  std::vector<char> has_feature_, has_weight_;
  std::vector<FaultCounts> feature_counts_, weight_counts_;
  FaultRecorder* recorder_ = nullptr;
};

// Throws ftt::Error if a fault's probability at one of the program's sites is below what the
// samplers resolve.
void CheckFaults(const Program& program, const FaultSpec& faults, int bits);

}  // namespace ftt
