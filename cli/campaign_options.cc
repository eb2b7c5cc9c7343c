#include "cli/campaign_options.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>

#include "core/clock.h"
#include "core/error.h"
#include "core/file.h"
#include "core/progress.h"
#include "core/signals.h"

namespace ftt {
namespace {

// "runs/r20/" -> "r20"; a checkpoint folder or a file is called after the run it lies in.
std::string NameOf(const std::string& path) {
  std::filesystem::path p = std::filesystem::path(path).lexically_normal();
  if (!p.has_filename()) p = p.parent_path();
  const std::string name = p.filename();
  const bool inside = name.rfind("checkpoint-", 0) == 0 || p.extension() == ".safetensors";
  return inside && p.has_parent_path() ? NameOf(p.parent_path()) : name;
}

}  // namespace

std::string ShareOfPercent(const std::string& text) {
  if (!text.ends_with('%')) return text;
  double percent = 0;
  const char* end = text.data() + text.size() - 1;
  const auto parsed = std::from_chars(text.data(), end, percent);
  return parsed.ec == std::errc() && parsed.ptr == end ? fmt::format("{}", percent / 100) : text;
}

void AddCampaignOptions(CLI::App& app, CampaignOptions& o) {
  app.add_option("CHECKPOINT", o.checkpoints,
                 "Run folders of `train`, checkpoint folders or .safetensors files, each as "
                 "[NAME=]PATH")
      ->required();
  app.add_option("--out", o.out,
                 "Folder of the campaign (made if missing), or a file that ends in .sqlite; the "
                 "same command again continues")
      ->required()
      ->take_last();
  app.add_option("--data", o.data, "Data set NAME[:DIR]; default: the one it was trained on")
      ->take_last();
  app.add_option("--trials", o.sweep.trials,
                 "Fault seeds of each point, each over all test images; with --margin the fewest")
      ->take_last();
  app.add_option("--confidence", o.sweep.confidence, "Of all intervals, in (0, 1) or as 95%")
      ->transform(ShareOfPercent)
      ->take_last();
  app.add_option("--limit", o.limit, "First test images only; 0: all")->take_last();
  app.add_option("--batch", o.sweep.batch, "Images per call; never changes a result")->take_last();
  app.add_option("--lanes", o.sweep.lanes,
                 "Trials side by side, which share what no fault has touched; never changes a "
                 "result")
      ->take_last();
  AddSeedOption(app, o.sweep.seed);
  AddBackendOptions(app, o.backend);
  app.add_option("--csv", o.csv, "Also write every trial of the campaign to this file")
      ->take_last();
  AddJsonOption(app, o.json);
}

std::vector<CampaignNetwork> LoadNetworks(const CampaignOptions& o) {
  std::vector<CampaignNetwork> networks;
  for (const std::string& text : o.checkpoints) {
    const size_t equals = PathExists(text) ? std::string::npos : text.find('=');
    const std::string path = equals == std::string::npos ? text : text.substr(equals + 1);
    const std::string name = equals == std::string::npos ? NameOf(path) : text.substr(0, equals);
    FTT_CHECK(!name.empty(), "'{}': the name before '=' is empty", text);
    networks.push_back({name, LoadTrained(path)});
  }
  return networks;
}

Dataset LoadCampaignData(const CampaignOptions& o, const std::vector<CampaignNetwork>& networks) {
  if (!o.data.empty()) return LoadDataset(o.data);
  const std::string& data = networks[0].trained.data;
  for (const CampaignNetwork& n : networks) {
    FTT_CHECK(n.trained.data == data,
              "{} was trained on {}, {} on {}; say with --data which one is meant",
              networks[0].name, data, n.name, n.trained.data);
  }
  return LoadDataset(data);
}

std::string CampaignFile(const std::string& out) {
  if (std::filesystem::path(out).extension() == ".sqlite") {
    const std::string folder = std::filesystem::path(out).parent_path();
    if (!folder.empty()) EnsureWritableDir(folder);
    return out;
  }
  EnsureWritableDir(out);
  return std::filesystem::path(out) / "campaign.sqlite";
}

bool RunWithProgress(Campaign& campaign, const std::vector<SweepPoint>& points, bool json) {
  InstallSignalHandlers();
  Progress progress(stderr);
  const double start = MonotonicSeconds();
  double first = -1;
  const bool finished = campaign.Run(
      points,
      [&](const SweepProgress& p) {
        if (first < 0) first = p.done;
        if (!progress.WantsUpdate()) return;
        const double elapsed = MonotonicSeconds() - start;
        progress.Update(fmt::format(
            "{} {}{}{}  trial {}  {:.0f} %  {:.0f} images/s  ETA {}", p.network, p.fault,
            p.scope.empty() ? "" : " ", p.scope, p.trials_done, 100 * p.done / p.total,
            (p.done - first) / elapsed,
            FormatDuration(EstimateRemaining(elapsed, p.done - first, p.total - first))));
      },
      StopRequested);
  if (!finished && !json)
    progress.Line("stopped; finished trials are stored, the same command goes on from there");
  return finished;
}

std::string CampaignCsv(const CampaignStore& store) {
  const std::optional<CampaignKey> key = store.Key();
  const double images = key ? static_cast<double>(key->images) : 1;
  std::string out =
      "network,network_hash,model,fault,rate,scope,trial,seed,images,accuracy,golden_accuracy,sdc1,"
      "sdc5,masked,due,delivered,exposed,delivered_rate,backend,version,seconds\n";
  const auto quoted = [](const std::string& text) {
    std::string q = "\"";
    for (const char c : text) q += c == '"' ? "\"\"" : std::string(1, c);
    return q + "\"";
  };
  for (const NetworkRow& n : store.Networks()) {
    for (const PointRow& p : store.Points()) {
      if (p.network != n.id) continue;
      for (const TrialRow& t : store.Trials(p.id)) {
        const auto share = [&](int64_t count) { return static_cast<double>(count) / images; };
        out +=
            fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{:.6g},{},{},{:.3f}\n",
                        quoted(n.name), n.hash, quoted(p.model), quoted(p.fault), p.rate,
                        quoted(p.scope), t.trial, key ? key->seed : 0, key ? key->images : 0,
                        share(t.correct), share(n.golden_correct), share(t.sdc1), share(t.sdc5),
                        share(t.masked), share(t.due), t.delivered, t.exposed,
                        static_cast<double>(t.delivered) /
                            static_cast<double>(std::max<uint64_t>(t.exposed, 1)),
                        t.backend, t.version, t.seconds);
      }
    }
  }
  return out;
}

}  // namespace ftt
