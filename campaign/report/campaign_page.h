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
};

struct CampaignRecord {
  std::string path;
  CampaignKey key;
  std::vector<NetworkRow> networks;
  std::vector<CampaignPoint> points;
  std::string command;  // that made it, or none
};

// Throws ftt::Error where the file is no campaign, or one without networks.
CampaignRecord ReadCampaign(const std::string& path);

// Curves of accuracy against rate, differences between networks, outcomes, and what `analyze`
// measured site by site. Points without a finished trial are left out and counted in a warning.
Section CampaignSection(const CampaignRecord& campaign, const std::string& name);

// What the faults of a point were restricted to: "layer:NAME", "layer:NAME bit:K", "bit:K", or
// "protect:NAME[,NAME...]" for faults everywhere but there.
struct Scope {
  std::string layer;
  int bit = -1;
  std::vector<std::string> kept_whole;  // the layers of protect:
};
Scope ParseScope(const std::string& text);

}  // namespace ftt
