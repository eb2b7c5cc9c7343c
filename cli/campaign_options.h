// What the commands that run campaigns have in common.
#pragma once

#include <string>
#include <vector>

#include "campaign/sweep.h"
#include "cli/common_options.h"

namespace ftt {

struct CampaignOptions {
  std::vector<std::string> checkpoints;  // [NAME=]PATH
  std::string out, data, csv;
  bool json = false;
  int64_t limit = 0;
  SweepConfig sweep;
  BackendOptions backend;
};
// For options that are shares: "5%" is read as 0.05.
std::string ShareOfPercent(const std::string& text);
void AddCampaignOptions(CLI::App& app, CampaignOptions& options);

// Networks of options.checkpoints; without NAME= they are called after their folders.
std::vector<CampaignNetwork> LoadNetworks(const CampaignOptions& options);
// The data set of options.data, else the one the first network was trained on.
Dataset LoadCampaignData(const CampaignOptions& options,
                         const std::vector<CampaignNetwork>& networks);
// The campaign's file that --out names: a folder's campaign.sqlite unless it ends in .sqlite. The
// folder is made.
std::string CampaignFile(const std::string& out);

// Runs the points with a live line; says what it did when SIGINT ended it, and returns false then.
bool RunWithProgress(Campaign& campaign, const std::vector<SweepPoint>& points, bool json);

// All rows of a campaign as CSV, one trial a line.
std::string CampaignCsv(const CampaignStore& store);

}  // namespace ftt
