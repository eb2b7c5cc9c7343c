#include "campaign/report/campaign_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "campaign/report/campaign_blocks.h"
#include "campaign/report/format.h"
#include "core/error.h"

namespace ftt {
namespace {

constexpr double kConfidence = 0.95;

MeasuredPoints Measure(const CampaignRecord& campaign) {
  MeasuredPoints points;
  for (size_t n = 0; n < campaign.networks.size(); ++n) {
    for (const CampaignPoint& p : campaign.points) {
      if (p.point.network != campaign.networks[n].id || p.trials.empty()) continue;
      const bool curve = p.point.model.find('*') != std::string::npos;
      points.push_back({&p, &campaign.networks[n], static_cast<int>(n),
                        curve ? BitFault{p.point.fault, -1} : SplitBit(p.point.fault),
                        ParseScope(p.point.scope),
                        Summarise(p.trials, campaign.networks[n], campaign.key.images, kConfidence,
                                  p.stopped_at)});
    }
  }
  return points;
}

// By network and rate.
MeasuredPoints WholeNetworks(const MeasuredPoints& points) {
  MeasuredPoints whole;
  std::copy_if(points.begin(), points.end(), std::back_inserter(whole),
               [](const MeasuredPoint& p) { return p.Whole(); });
  std::stable_sort(whole.begin(), whole.end(), [](const MeasuredPoint& a, const MeasuredPoint& b) {
    return a.color != b.color ? a.color < b.color : a.data->point.rate < b.data->point.rate;
  });
  return whole;
}

double Lost(const MeasuredPoint& p) { return p.summary.golden_accuracy - p.summary.accuracy.mean; }

std::string Kept(const MeasuredPoint& p) {
  return fmt::format("{} of {}", PercentText(p.summary.accuracy),
                     PercentText(p.summary.golden_accuracy));
}

// The specification that tells the networks apart most clearly, by what they lose; of one network
// the one that costs most.
std::string Headline(const MeasuredPoints& whole, size_t networks) {
  std::map<std::string, std::vector<const MeasuredPoint*>> by_fault;
  for (const MeasuredPoint& p : whole) by_fault[p.data->point.fault].push_back(&p);
  double largest = -1;
  const MeasuredPoint *best = nullptr, *worst = nullptr;
  for (const auto& [fault, points] : by_fault) {
    const auto [low, high] = std::minmax_element(
        points.begin(), points.end(),
        [](const MeasuredPoint* a, const MeasuredPoint* b) { return Lost(*a) < Lost(*b); });
    const double spread = Lost(**high) - (networks > 1 ? Lost(**low) : 0);
    if ((networks > 1 && points.size() < 2) || spread <= largest) continue;
    largest = spread;
    best = *low;
    worst = *high;
  }
  if (best == nullptr) return fmt::format("{} networks, {} points", networks, whole.size());
  const std::string fault = FaultText(best->data->point.fault);
  if (best == worst)
    return fmt::format("{} under {}; clean {}", PercentText(best->summary.accuracy), fault,
                       PercentText(best->summary.golden_accuracy));
  return fmt::format("Under {} {} keeps {}, {} keeps {}", fault, best->network->name, Kept(*best),
                     worst->network->name, Kept(*worst));
}

Table NetworkTable(const CampaignRecord& campaign) {
  Table table;
  table.title = "Networks";
  table.header = {"Network", "Architecture", "Trained with",  "Accuracy without faults",
                  "Bits",    "Parameters",   "Multiply-adds", "Hash"};
  table.text_columns = 3;
  for (const NetworkRow& n : campaign.networks) {
    // A genotype fills a page.
    const std::string architecture =
        n.architecture.size() > 60 ? n.architecture.substr(0, 57) + "..." : n.architecture;
    table.rows.push_back(
        {n.name, architecture, FaultText(n.trained_with),
         PercentText(
             static_cast<double>(n.golden_correct) / static_cast<double>(campaign.key.images), 2),
         fmt::format("{}", n.bits), CountText(n.parameters), CountText(n.multiply_adds),
         n.hash.substr(0, 12)});
  }
  return table;
}

void AddParts(const CampaignRecord& campaign, const MeasuredPoints& points,
              const MeasuredPoints& whole, Section* s) {
  // By network and specification.
  std::map<std::pair<int, std::string>, MeasuredPoints> groups;
  for (const MeasuredPoint& p : points) {
    if (!p.Whole()) groups[{p.color, p.fault.base}].push_back(p);
  }
  if (!groups.empty()) s->blocks.emplace_back(Heading{"Which parts matter"});
  for (auto& entry : groups) {
    MeasuredPoints& group = entry.second;
    // As they were measured: layers in the order of execution.
    std::sort(group.begin(), group.end(), [](const MeasuredPoint& a, const MeasuredPoint& b) {
      return a.data->point.id < b.data->point.id;
    });
    const auto everywhere = std::find_if(whole.begin(), whole.end(), [&](const MeasuredPoint& p) {
      return p.color == entry.first.first && p.fault.base == entry.first.second;
    });
    const auto plan =
        std::find_if(campaign.plans.begin(), campaign.plans.end(), [&](const HardeningPlan& h) {
          return h.network == group.front().network->id && h.fault == entry.first.second;
        });
    for (Block& b :
         PartBlocks(group, everywhere == whole.end() ? nullptr : &*everywhere,
                    plan == campaign.plans.end() ? nullptr : &*plan, campaign.key.images))
      s->blocks.push_back(std::move(b));
  }
}

HardeningPlan ReadPlan(const NetworkRow& network, const std::string& fault, const std::string& note,
                       const std::string& path) {
  HardeningPlan plan{network.id, fault, {}};
  const auto json = nlohmann::json::parse(note, nullptr, false);
  try {
    for (const auto& step : json)
      plan.steps.push_back({step.at("layer"), step.at("scope"), step.at("cost"),
                            step.at("total_cost"), step.at("unit")});
  } catch (const nlohmann::json::exception& error) {
    Fail("{}: the hardening plan of {} cannot be read: {}", path, network.name, error.what());
  }
  return plan;
}

void ReadPlans(const CampaignStore& store, CampaignRecord* campaign) {
  std::set<std::pair<int64_t, std::string>> seen;
  for (const CampaignPoint& p : campaign->points) {
    if (!p.point.scope.starts_with("protect:") ||
        !seen.insert({p.point.network, p.point.fault}).second)
      continue;
    for (const NetworkRow& n : campaign->networks) {
      if (n.id != p.point.network) continue;
      const std::string note = store.Note(fmt::format("plan {} {}", n.name, p.point.fault));
      if (!note.empty())
        campaign->plans.push_back(ReadPlan(n, p.point.fault, note, campaign->path));
    }
  }
}

}  // namespace

CampaignRecord ReadCampaign(const std::string& path) {
  const CampaignStore store(path, CampaignStore::Access::kRead);
  CampaignRecord campaign;
  campaign.path = path;
  const std::optional<CampaignKey> key = store.Key();
  campaign.networks = store.Networks();
  FTT_CHECK(key && key->images > 0 && !campaign.networks.empty(),
            "{}: holds no results yet; report a campaign after its first trials", path);
  campaign.key = *key;
  for (PointRow& point : store.Points()) {
    CampaignPoint p;
    p.trials = store.Trials(point.id);
    p.stopped_at = store.StoppedAt(point.id);
    p.point = std::move(point);
    campaign.points.push_back(std::move(p));
  }
  ReadPlans(store, &campaign);
  for (const char* command : {"sweep", "analyze"}) {
    if (std::string config = store.Note(command); !config.empty())
      campaign.configs.emplace_back(command, std::move(config));
  }
  return campaign;
}

Section CampaignSection(const CampaignRecord& campaign, const std::string& name) {
  const MeasuredPoints points = Measure(campaign);
  const MeasuredPoints whole = WholeNetworks(points);
  Section s;
  s.name = name;
  s.kind = "Campaign";
  s.headline = Headline(whole, campaign.networks.size());
  int64_t trials = 0;
  for (const MeasuredPoint& p : points) trials += static_cast<int64_t>(p.data->trials.size());
  s.figures = {{"Networks", CountText(static_cast<int64_t>(campaign.networks.size())), ""},
               {"Points", CountText(static_cast<int64_t>(points.size())), "network, faults, part"},
               {"Trials", CountText(trials), "each over all images"},
               {"Test images", CountText(campaign.key.images), campaign.key.data},
               {"Seed", fmt::format("{}", campaign.key.seed), "of the faults"}};
  if (const size_t missing = campaign.points.size() - points.size(); missing > 0)
    s.warnings.push_back(fmt::format("{} of {} points have no finished trial yet and are left out.",
                                     missing, campaign.points.size()));
  std::map<std::string, MeasuredPoints> models;
  for (const MeasuredPoint& p : whole) models[p.data->point.model].push_back(p);
  for (const auto& [model, of_model] : models) {
    for (Block& b : ModelBlocks(FaultText(model), of_model, campaign.key.images))
      s.blocks.push_back(std::move(b));
  }
  AddParts(campaign, points, whole, &s);
  s.blocks.emplace_back(Heading{"Measured networks"});
  s.blocks.emplace_back(NetworkTable(campaign));
  if (!campaign.configs.empty()) s.blocks.emplace_back(Heading{"Reproduce"});
  for (const auto& [command, config] : campaign.configs) {
    s.blocks.emplace_back(
        Listing{"Command", fmt::format("ftt-cuda {0} --config {0}.toml", command), true});
    s.blocks.emplace_back(Listing{fmt::format("Configuration ({}.toml)", command), config, false});
  }
  return s;
}

}  // namespace ftt
