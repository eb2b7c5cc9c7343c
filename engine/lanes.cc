#include "engine/lanes.h"

#include "core/error.h"

namespace ftt {
namespace {

constexpr int kWeightSiteBase = 0x8000;

SiteKind FeatureKind(const Op& op) {
  switch (op.kind) {
    case OpKind::kConv:
      return SiteKind::kConv;
    case OpKind::kPool:
      return SiteKind::kPool;
    case OpKind::kAdd:
      return SiteKind::kAdd;
    case OpKind::kConcat:
      return SiteKind::kConcat;
    case OpKind::kGlobalPool:
      return SiteKind::kGlobalPool;
    case OpKind::kLinear:
      break;
  }
  return SiteKind::kLogits;
}

FaultSite MakeSite(int id, std::string name, SiteKind kind, int64_t macs, const Shape& s,
                   int64_t elements) {
  FaultSite site;
  site.id = id;
  site.name = std::move(name);
  site.kind = kind;
  site.macs = macs;
  site.h = s.h;
  site.w = s.w;
  site.c = s.c;
  site.elements = elements;
  return site;
}

}  // namespace

ProgramSites SitesOf(const Program& program) {
  FTT_CHECK(program.values.size() < kWeightSiteBase, "network {}: more than {} values",
            program.network, kWeightSiteBase);
  ProgramSites sites;
  const Shape& input = program.InputShape();
  sites.features.push_back(MakeSite(0, "input", SiteKind::kInput, 0, input, input.Elements()));
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const Op& op = program.ops[i];
    const Shape& out = program.values[static_cast<size_t>(op.output)];
    sites.features.push_back(MakeSite(op.output, op.name, FeatureKind(op),
                                      program.MacsPerOutput(op), out, out.Elements()));
    const bool linear = op.kind == OpKind::kLinear;
    const int64_t n = op.weight < 0 ? 0 : program.params[static_cast<size_t>(op.weight)].Elements();
    sites.weights.push_back(MakeSite(kWeightSiteBase + static_cast<int>(i), op.name + ".weight",
                                     linear ? SiteKind::kLinearWeight : SiteKind::kConvWeight, 0,
                                     out, n));
  }
  return sites;
}

LanePlan::LanePlan(const Program& program, const std::vector<LaneSpec>& lanes, int bits)
    : sites_(SitesOf(program)), lanes_(lanes) {
  const size_t values = sites_.features.size(), ops = sites_.weights.size();
  feature_faults_.resize(lanes.size() * values);
  feature_counts_.resize(lanes.size() * values);
  weight_faults_.resize(lanes.size() * ops);
  weight_counts_.resize(lanes.size() * ops);
  feature_.resize(lanes.size() * values);
  has_feature_.resize(values);
  has_weight_.resize(ops);
  for (int lane = 0; lane < Lanes(); ++lane) {
    const LaneSpec& spec = lanes_[static_cast<size_t>(lane)];
    if (spec.replay == nullptr && (spec.faults == nullptr || spec.faults->Empty())) continue;
    const auto plan = [&](const FaultSite& site) {
      return spec.replay != nullptr ? spec.replay->Site(site, bits)
                                    : PlanSite(*spec.faults, site, bits, spec.seed, spec.max_rate);
    };
    const SiteFilter filter = spec.sites == nullptr ? SiteFilter{} : *spec.sites;
    const auto struck = [](const std::vector<char>& allowed, size_t i) {
      return allowed.empty() || allowed[i] != 0;
    };
    for (size_t v = 0; v < values; ++v) {
      if (!struck(filter.features, v)) continue;
      SiteFaults& faults = feature_faults_[At(lane, v, values)];
      faults = plan(sites_.features[v]);
      if (faults.Empty()) continue;
      has_feature_[v] = 1;
      LaneFaults& out = feature_[v * lanes_.size() + static_cast<size_t>(lane)];
      out.faults = &faults;
      out.moment = spec.moment;
      out.counts = &feature_counts_[At(lane, v, values)];
    }
    for (size_t i = 0; i < ops; ++i) {
      if (sites_.weights[i].elements == 0 || !struck(filter.weights, i)) continue;
      SiteFaults& faults = weight_faults_[At(lane, i, ops)];
      faults = plan(sites_.weights[i]);
      if (!faults.Empty()) has_weight_[i] = 1;
    }
  }
}

const LaneFaults* LanePlan::Feature(int value) const {
  const auto v = static_cast<size_t>(value);
  return has_feature_[v] != 0 ? &feature_[v * lanes_.size()] : nullptr;
}

bool LanePlan::HasWeightFaults(size_t op) const { return has_weight_[op] != 0; }

size_t LanePlan::FirstFaultyOp(const Program& program) const {
  if (has_feature_[0] != 0) return 0;
  size_t i = 0;
  while (i + 1 < program.ops.size() && has_weight_[i] == 0 &&
         has_feature_[static_cast<size_t>(program.ops[i].output)] == 0)
    ++i;
  return i;
}

void LanePlan::InjectLaneWeights(size_t op, int lane, int8_t* codes, int64_t n, uint8_t* keep) {
  const size_t at = At(lane, op, sites_.weights.size());
  if (weight_faults_[at].Empty()) return;
  std::vector<uint8_t> moved(keep == nullptr ? 0 : static_cast<size_t>(n));
  InjectWeights(weight_faults_[at], lanes_[static_cast<size_t>(lane)].moment, codes, n,
                keep == nullptr ? nullptr : moved.data(), &weight_counts_[at], recorder_);
  for (size_t i = 0; i < moved.size(); ++i)
    keep[i] = static_cast<uint8_t>(keep[i] != 0 && moved[i] == 0);
}

void LanePlan::InjectLaneLogits(int value, const BatchDims& dims, int classes,
                                float* logits) const {
  const LaneFaults* faults = Feature(value);
  if (faults == nullptr) return;
  for (int lane = 0; lane < dims.lanes; ++lane) {
    const LaneFaults& f = faults[lane];
    for (int image = 0; f.faults != nullptr && image < dims.images; ++image) {
      InjectLogits(*f.faults, f.moment, dims.image_ids[image],
                   logits + (int64_t{lane} * dims.images + image) * classes, classes, f.counts,
                   f.recorder);
    }
  }
}

const SiteFaults& LanePlan::FeatureFaults(int lane, int value) const {
  return feature_faults_[At(lane, static_cast<size_t>(value), sites_.features.size())];
}

const SiteFaults& LanePlan::WeightFaults(int lane, size_t op) const {
  return weight_faults_[At(lane, op, sites_.weights.size())];
}

FaultCounts& LanePlan::FeatureCounts(int lane, int value) {
  return feature_counts_[At(lane, static_cast<size_t>(value), sites_.features.size())];
}

FaultCounts& LanePlan::WeightCounts(int lane, size_t op) {
  return weight_counts_[At(lane, op, sites_.weights.size())];
}

const FaultCounts& LanePlan::FeatureCounts(int lane, int value) const {
  return feature_counts_[At(lane, static_cast<size_t>(value), sites_.features.size())];
}

const FaultCounts& LanePlan::WeightCounts(int lane, size_t op) const {
  return weight_counts_[At(lane, op, sites_.weights.size())];
}

FaultCounts LanePlan::TotalCounts(int lane) const {
  FaultCounts total;
  for (size_t v = 0; v < sites_.features.size(); ++v)
    total.Merge(FeatureCounts(lane, static_cast<int>(v)));
  for (size_t i = 0; i < sites_.weights.size(); ++i) total.Merge(WeightCounts(lane, i));
  return total;
}

void LanePlan::SetRecorder(FaultRecorder* recorder) {
  recorder_ = recorder;
  for (LaneFaults& f : feature_) f.recorder = recorder;
}

void CheckFaults(const Program& program, const FaultSpec& faults, int bits) {
  if (faults.Empty()) return;
  LaneSpec lane;
  lane.faults = &faults;
  LanePlan(program, {lane}, bits);
}

}  // namespace ftt
