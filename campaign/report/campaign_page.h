// Sections of a report about campaigns.
#pragma once

#include <string>
#include <vector>

#include "campaign/report/report.h"
#include "campaign/store.h"

namespace ftt {

struct CampaignPoint {
  PointRow point;
  std::vector<TrialRow> trials;
  int stopped_at = 0;  // CampaignStore::StoppedAt
};

// A step of a hardening plan: one more layer is protected.
struct PlanStep {
  std::string layer;
  std::string scope;  // of the point that measured it
  double cost = 0;    // of all layers protected so far, in `unit`
  double total_cost = 0;
  std::string unit;
};

struct HardeningPlan {
  int64_t network = 0;
  std::string fault;
  std::vector<PlanStep> steps;
};

struct CampaignRecord {
  std::string path;
  CampaignKey key;
  std::vector<NetworkRow> networks;
  std::vector<CampaignPoint> points;
  std::vector<HardeningPlan> plans;
  // Configurations of the commands that made it, by command: "sweep", "analyze".
  std::vector<std::pair<std::string, std::string>> configs;
};

// Throws ftt::Error where the file is no campaign, or one without results.
CampaignRecord ReadCampaign(const std::string& path);

// Curves of accuracy against rate, differences between networks, outcomes, and what `analyze`
// measured of parts. Points without a finished trial are left out and counted in a warning.
Section CampaignSection(const CampaignRecord& campaign, const std::string& name);

// What the faults of a point were restricted to; see campaign/analysis.h. kind "only", "protect",
// "kind" or "edge"; protect: has several names, the others one. An empty scope has no kind.
struct Scope {
  std::string kind;
  std::vector<std::string> names;
};
Scope ParseScope(const std::string& text);

// The specification without its key bit=K, and K, or -1 where it has none.
struct BitFault {
  std::string base;
  int bit = -1;
};
BitFault SplitBit(const std::string& fault);

}  // namespace ftt
