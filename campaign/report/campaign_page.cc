#include "campaign/report/campaign_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

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
      points.push_back(
          {&p, &campaign.networks[n], static_cast<int>(n),
           Summarise(p.trials, campaign.networks[n], campaign.key.images, kConfidence)});
    }
  }
  // Whole networks of one model by rate; the order of networks stays.
  std::stable_sort(
      points.begin(), points.end(), [](const MeasuredPoint& a, const MeasuredPoint& b) {
        return a.color != b.color ? a.color < b.color : a.data->point.rate < b.data->point.rate;
      });
  return points;
}

MeasuredPoints WholeNetworks(const MeasuredPoints& points) {
  MeasuredPoints whole;
  std::copy_if(points.begin(), points.end(), std::back_inserter(whole),
               [](const MeasuredPoint& p) { return p.data->point.scope.empty(); });
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

void AddScopes(const MeasuredPoints& points, const MeasuredPoints& whole, Section* s) {
  // By network and specification.
  std::map<std::pair<int, std::string>, MeasuredPoints> groups;
  for (const MeasuredPoint& p : points) {
    if (!p.data->point.scope.empty()) groups[{p.color, p.data->point.fault}].push_back(p);
  }
  if (!groups.empty()) s->blocks.emplace_back(Heading{"Which sites matter"});
  for (const auto& [key, group] : groups) {
    const auto match = std::find_if(whole.begin(), whole.end(), [&](const MeasuredPoint& p) {
      return p.color == key.first && p.data->point.fault == key.second;
    });
    for (Block& b : ScopeBlocks(group, match == whole.end() ? nullptr : &*match))
      s->blocks.push_back(std::move(b));
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
    p.point = std::move(point);
    campaign.points.push_back(std::move(p));
  }
  campaign.command = store.Note("command");
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
               {"Points", CountText(static_cast<int64_t>(points.size())), "network, faults, scope"},
               {"Trials", CountText(trials), "each over all images"},
               {"Test images", CountText(campaign.key.images), campaign.key.data},
               {"Seed", fmt::format("{}", campaign.key.seed), "of the faults"}};
  if (const size_t missing = campaign.points.size() - points.size(); missing > 0)
    s.warnings.push_back(fmt::format("{} of {} points have no finished trial yet and are left out.",
                                     missing, campaign.points.size()));
  std::map<std::string, MeasuredPoints> models;
  for (const MeasuredPoint& p : whole) models[p.data->point.model].push_back(p);
  for (const auto& [model, of_model] : models) {
    for (Block& b : ModelBlocks(model, of_model, campaign.key.images))
      s.blocks.push_back(std::move(b));
  }
  AddScopes(points, whole, &s);
  s.blocks.emplace_back(Heading{"Measured networks"});
  s.blocks.emplace_back(NetworkTable(campaign));
  if (!campaign.command.empty()) s.blocks.emplace_back(Listing{"Command", campaign.command, true});
  return s;
}

}  // namespace ftt
