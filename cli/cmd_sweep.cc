#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "campaign/summary.h"
#include "cli/campaign_options.h"
#include "cli/commands.h"
#include "cli/config_args.h"
#include "cli/help.h"
#include "cli/program.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text_plot.h"

namespace ftt {
namespace {

struct SweepCommand {
  std::vector<std::string> faults;
  std::string rates;
  CampaignOptions campaign;
};

// A point of the store with what its trials say.
struct Measured {
  PointRow point;
  NetworkRow network;
  std::vector<TrialRow> trials;
  PointSummary summary;
};

std::string IntervalText(const MeanEstimate& e, double scale) {
  if (e.count < 2) return "one trial";
  return fmt::format("{:6.2f} ..{:6.2f}", scale * e.interval.low, scale * e.interval.high);
}

std::vector<Measured> Collect(const CampaignStore& store, const Campaign& campaign,
                              const std::vector<SweepPoint>& points, double confidence) {
  std::vector<Measured> out;
  const std::vector<PointRow> rows = store.Points();
  for (const SweepPoint& p : points) {
    const NetworkRow& network = campaign.Row(p.network);
    for (const PointRow& row : rows) {
      if (row.network != network.id || row.fault != p.faults.Text() || row.scope != p.scope)
        continue;
      Measured m{row, network, store.Trials(row.id), {}};
      if (m.trials.empty()) continue;
      m.summary =
          Summarise(m.trials, network, campaign.Images(), confidence, store.StoppedAt(row.id));
      out.push_back(std::move(m));
    }
  }
  return out;
}

// Columns of the first column: names, and pairs of them.
int NameWidth(const std::vector<Measured>& rows) {
  size_t longest = 4, second = 0;
  std::string last;
  for (const Measured& m : rows) {
    if (m.network.name == last) continue;
    last = m.network.name;
    second = std::max(second, std::min(longest, last.size()));
    longest = std::max(longest, last.size());
  }
  return static_cast<int>(std::max<size_t>(longest + (second > 0 ? second + 3 : 0), 7));
}

void PrintTable(const std::vector<Measured>& rows, const std::string& curve, int width,
                double confidence) {
  fmt::print("{:<{}} {:>10} {:>8}  {:>16}  {:>6} {:>8} {:>8} {:>8}  {:>10}\n", "network", width,
             "rate", "acc %", fmt::format("{:g} % interval", 100 * confidence), "trials", "SDC-1 %",
             "SDC-5 %", "masked %", "delivered");
  int64_t last = -1;
  for (const Measured& m : rows) {
    if (m.point.model != curve) continue;
    const PointSummary& s = m.summary;
    if (m.network.id != last) {
      fmt::print("{:<{}} {:>10} {:>8.2f}  {:>16}\n", m.network.name, width, "none",
                 100 * s.golden_accuracy, "golden run");
    }
    last = m.network.id;
    fmt::print("{:<{}} {:>10.3g} {:>8.2f}  {:>16}  {:>6} {:>8.2f} {:>8.2f} {:>8.2f}  {:>10.3e}\n",
               "", width, m.point.rate, 100 * s.accuracy.mean, IntervalText(s.accuracy, 100),
               s.accuracy.count, 100 * s.sdc1.mean, 100 * s.sdc5.mean, 100 * s.masked.mean,
               s.delivered_rate);
  }
}

void PrintPairs(const std::vector<Measured>& rows, const std::string& curve, int width,
                int64_t images, double confidence) {
  bool title = false;
  for (const Measured& a : rows) {
    for (const Measured& b : rows) {
      if (a.point.model != curve || b.point.model != curve || a.point.fault != b.point.fault ||
          a.network.id >= b.network.id)
        continue;
      const MeanEstimate d = PairedDifference(a.trials, b.trials, images, confidence);
      if (d.count == 0) continue;
      if (!title) fmt::print("paired differences, points of accuracy (same fault seeds)\n");
      title = true;
      fmt::print("{:<{}} {:>10.3g} {:>8.2f}  {:>16}  {:>6}\n",
                 fmt::format("{} - {}", a.network.name, b.network.name), width, a.point.rate,
                 100 * d.mean, IntervalText(d, 100), d.count);
    }
  }
}

void PrintPlot(const std::vector<Measured>& rows, const std::string& curve) {
  std::vector<TextCurve> curves;
  for (const Measured& m : rows) {
    if (m.point.model != curve) continue;
    if (curves.empty() || curves.back().name != m.network.name)
      curves.push_back({m.network.name, {}, {}, {}, {}});
    TextCurve& c = curves.back();
    c.x.push_back(m.point.rate);
    c.y.push_back(m.summary.accuracy.mean);
    const bool several = m.summary.accuracy.count > 1;
    c.low.push_back(several ? m.summary.accuracy.interval.low : m.summary.accuracy.mean);
    c.high.push_back(several ? m.summary.accuracy.interval.high : m.summary.accuracy.mean);
  }
  PrintCurves(curves);
}

nlohmann::ordered_json EstimateJson(const MeanEstimate& e) {
  nlohmann::ordered_json j = {{"mean", e.mean}, {"trials", e.count}};
  if (e.count > 1) {
    j["low"] = e.interval.low;
    j["high"] = e.interval.high;
  }
  return j;
}

void PrintJson(const std::vector<Measured>& rows, int64_t images, double confidence,
               const std::string& file) {
  nlohmann::ordered_json j = {{"campaign", file},
                              {"images", images},
                              {"confidence", confidence},
                              {"points", nlohmann::json::array()}};
  for (const Measured& m : rows) {
    nlohmann::ordered_json trials = nlohmann::json::array();
    for (const TrialRow& t : m.trials)
      trials.push_back({{"trial", t.trial},
                        {"correct", t.correct},
                        {"sdc1", t.sdc1},
                        {"sdc5", t.sdc5},
                        {"masked", t.masked},
                        {"due", t.due},
                        {"delivered", t.delivered},
                        {"exposed", t.exposed}});
    j["points"].push_back({{"network", m.network.name},
                           {"network_hash", m.network.hash},
                           {"fault", m.point.fault},
                           {"rate", m.point.rate},
                           {"golden_accuracy", m.summary.golden_accuracy},
                           {"accuracy", EstimateJson(m.summary.accuracy)},
                           {"sdc1", EstimateJson(m.summary.sdc1)},
                           {"sdc5", EstimateJson(m.summary.sdc5)},
                           {"masked", EstimateJson(m.summary.masked)},
                           {"delivered_rate", m.summary.delivered_rate},
                           {"trials", trials}});
  }
  fmt::print("{}\n", j.dump());
}

int Run(const SweepCommand& command, const CLI::App& app) {
  const CampaignOptions& o = command.campaign;
  std::vector<FaultCurve> curves;
  for (const std::string& text : command.faults) curves.emplace_back(text);
  std::vector<double> rates;
  if (!command.rates.empty()) rates = ParseRates(command.rates, "--rates");
  std::vector<CampaignNetwork> networks = LoadNetworks(o);
  const std::vector<SweepPoint> points = SweepPoints(networks.size(), curves, rates);
  const Dataset data = LoadCampaignData(o, networks);
  SweepConfig config = o.sweep;
  config.version = FTT_VERSION;
  CheckCampaign(networks, points, data, config);
  const std::unique_ptr<Device> device = OpenDevice(o.backend);
  CheckCampaignMemory(*device, networks, points, config);
  const std::string file = CampaignFile(o.out);
  CampaignStore store(file, CampaignStore::Access::kCreate);
  Campaign campaign(*device, store, data, o.limit, std::move(networks), config);
  store.SetNote("sweep", ResolvedToml(app));
  const bool finished = RunWithProgress(campaign, points, o.json);
  if (!o.csv.empty()) AtomicWriteFile(o.csv, CampaignCsv(store));
  const std::vector<Measured> rows = Collect(store, campaign, points, config.confidence);
  if (o.json) {
    PrintJson(rows, campaign.Images(), config.confidence, file);
    return kExitSuccess;
  }
  const int width = NameWidth(rows);
  for (const FaultCurve& curve : curves) {
    fmt::print("\n{}, {} test images; intervals come from trials\n", curve.Text(),
               campaign.Images());
    PrintTable(rows, curve.Text(), width, config.confidence);
    PrintPairs(rows, curve.Text(), width, campaign.Images(), config.confidence);
    if (curve.Open()) PrintPlot(rows, curve.Text());
  }
  fmt::print("\ncampaign: {}{}\n", file, finished ? "" : " (not finished)");
  return kExitSuccess;
}

}  // namespace

std::function<int()> SetUpSweep(CLI::App& app) {
  const auto o = std::make_shared<SweepCommand>();
  AddConfigOptions(app);
  AddCampaignOptions(app, o->campaign);
  app.add_option("--fault", o->faults,
                 "Fault model whose rate --rates sets (NAME[,key=value...]; in a sum NAME:*), or "
                 "with its own rate, NAME:RATE; may be given several times")
      ->required()
      ->take_all()
      ->allow_extra_args(false);
  app.add_option("--rates", o->rates,
                 "Rates: a list, or LOW:HIGH:STEP where STEP is log10 (one a decade), log10/N (N a "
                 "decade) or linN (N in all)")
      ->take_last();
  SweepConfig& s = o->campaign.sweep;
  app.add_option("--margin", s.margin,
                 "Run trials until the interval's half width is at most this, e.g. 1% or 0.01 for "
                 "one point of accuracy; 0: --trials of each point")
      ->transform(ShareOfPercent)
      ->take_last();
  app.add_option("--max-trials", s.max_trials, "The most trials of a point, with --margin")
      ->take_last();
  SetExamples(
      app,
      "  ftt-cuda sweep runs/r20 --fault mibb --rates 1e-6:1e-3:log10 --trials 20 --out camp\n"
      "  ftt-cuda sweep plain=runs/a ftt=runs/b --fault adsaf --rates 0.02:0.1:lin5 --margin 1% "
      "--out camp\n"
      "\nTrial t under one seed has the same faults on every network, and those of a lower rate "
      "are "
      "among\n"
      "those of a higher one: differences are taken trial by trial. Ctrl-C loses the trial in "
      "flight.");
  return [o, &app] { return Run(*o, app); };
}

}  // namespace ftt
