#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/help.h"
#include "cli/program.h"
#include "core/error.h"
#include "core/file.h"
#include "core/progress.h"
#include "core/statistics.h"
#include "core/text_plot.h"
#include "engine/checkpoint.h"
#include "engine/evaluate.h"
#include "faults/audit.h"
#include "faults/fault_list.h"

namespace ftt {
namespace {

struct EvalCommand {
  std::string checkpoint, data, fault_list, replay, predictions;
  std::vector<std::string> faults;
  bool json = false, audit = false;
  EvaluateOptions evaluate;
  BackendOptions backend;
};

struct Row {
  std::string fault;
  EvaluateResult result;
  std::vector<double> accuracies;
};

std::vector<double> Accuracies(const EvaluateResult& r) {
  std::vector<double> out;
  for (const TrialResult& t : r.trials)
    out.push_back(static_cast<double>(t.correct) / static_cast<double>(r.images));
  return out;
}

// Requested against delivered, per model and group of sites.
void PrintAudit(const Row& row, const TrainedNetwork& net, bool table) {
  FaultAudit audit(ParseFaultSpec(row.fault), row.result.images);
  const ProgramSites sites = SitesOf(net.model.program);
  for (size_t v = 0; v < row.result.feature_counts.size(); ++v)
    audit.Add(sites.features[v], row.result.feature_counts[v]);
  for (size_t i = 0; i < row.result.weight_counts.size(); ++i) {
    if (sites.weights[i].elements > 0) audit.Add(sites.weights[i], row.result.weight_counts[i]);
  }
  if (table) fmt::print("\n{}\n{}", row.fault, audit.Table());
  if (!row.result.trials.empty()) fmt::print(stderr, "{}", audit.Warning());
}

void PrintRow(const Row& row) {
  const auto images = static_cast<double>(row.result.images);
  if (row.accuracies.empty()) return;
  const MeanEstimate e = EstimateTrials(row.accuracies, 0.95);
  double changed = 0, outside = 0;
  FaultCounts faults;
  for (const TrialResult& t : row.result.trials) {
    changed += static_cast<double>(t.changed) / images / static_cast<double>(row.accuracies.size());
    outside +=
        static_cast<double>(t.outside_top5) / images / static_cast<double>(row.accuracies.size());
    faults.Merge(t.faults);
  }
  const std::string interval =
      e.count > 1 ? fmt::format("{:6.2f} ..{:6.2f}", 100 * std::max(0.0, e.interval.low),
                                100 * std::min(1.0, e.interval.high))
                  : "one trial";
  fmt::print("{:<28} {:8.2f}  {:>16}  {:6d}  {:7.2f}  {:7.2f}  {:10.3e}\n", row.fault, 100 * e.mean,
             interval, e.count, 100 * changed, 100 * outside,
             static_cast<double>(faults.delivered) /
                 static_cast<double>(std::max<uint64_t>(faults.exposed, 1)));
}

// Rows of one model and other rates as curves; a terminal shows them.
void PrintPlot(const std::vector<Row>& rows) {
  std::map<std::string, std::map<double, MeanEstimate>> models;
  for (const Row& row : rows) {
    FaultSpec spec = row.accuracies.empty() ? FaultSpec{} : ParseFaultSpec(row.fault);
    if (spec.terms.size() != 1 || !(spec.terms[0].rate > 0)) continue;
    const double rate = std::exchange(spec.terms[0].rate, 1);
    models[spec.Text()][rate] = EstimateTrials(row.accuracies, 0.95);
  }
  std::vector<TextCurve> curves;
  for (const auto& [model, rates] : models) {
    if (rates.size() < 2) continue;
    TextCurve c{model, {}, {}, {}, {}};
    // mibb:1,bit=3 -> mibb,bit=3
    if (const size_t rate = c.name.find(":1"); rate != std::string::npos) c.name.erase(rate, 2);
    for (const auto& [rate, e] : rates) {
      c.x.push_back(rate);
      c.y.push_back(e.mean);
      c.low.push_back(e.count > 1 ? e.interval.low : e.mean);
      c.high.push_back(e.count > 1 ? e.interval.high : e.mean);
    }
    curves.push_back(std::move(c));
  }
  PrintCurves(curves);
}

nlohmann::ordered_json ToJson(const Row& row) {
  nlohmann::ordered_json j = {{"fault", row.fault}, {"accuracies", row.accuracies}};
  for (const TrialResult& t : row.result.trials) {
    j["trials"].push_back({{"trial", t.trial},
                           {"correct", t.correct},
                           {"sdc1", t.changed},
                           {"sdc5", t.outside_top5},
                           {"exposed", t.faults.exposed},
                           {"delivered", t.faults.delivered}});
  }
  return j;
}

void WritePredictions(const std::string& path, std::vector<Prediction> rows) {
  std::sort(rows.begin(), rows.end(), [](const Prediction& a, const Prediction& b) {
    return std::pair(a.trial, a.image) < std::pair(b.trial, b.image);
  });
  std::string text = "trial,image,label,predicted\n";
  for (const Prediction& p : rows)
    fmt::format_to(std::back_inserter(text), "{},{},{},{}\n", p.trial, p.image, p.label,
                   p.predicted);
  AtomicWriteFile(path, text);
}

int Check(const EvalCommand& o, const TrainedNetwork& net, const Dataset& data) {
  const std::vector<std::string> names =
      SplitList(o.backend.backend.substr(std::string("check:").size()));
  FTT_CHECK(names.size() == 2, "--backend {}: give two backends, as in check:cpu,ref",
            o.backend.backend);
  const auto a = OpenDevice(names[0], o.backend.threads),
             b = OpenDevice(names[1], o.backend.threads);
  for (const std::string& text : o.faults) {
    const FaultSpec spec = ParseFaultSpec(text);
    try {
      const int64_t n = CheckDevices(*a, *b, net.model, data.test, &spec, o.evaluate);
      fmt::print("{}: backends {} and {} agree bit for bit on {} values\n", spec.Text(), a->Name(),
                 b->Name(), n);
    } catch (const Error& e) {
      fmt::print(stderr, "ftt-cuda: error: {}\n", e.what());
      return kExitMismatch;
    }
  }
  return kExitSuccess;
}

int Run(EvalCommand o) {
  if (o.faults.empty()) o.faults.push_back("none");
  for (const std::string& text : o.faults) ParseFaultSpec(text);
  FTT_CHECK(o.predictions.empty() || o.faults.size() == 1,
            "--predictions: its rows do not name the faults; give --fault once");
  const TrainedNetwork net = LoadTrained(o.checkpoint);
  const Dataset data = LoadDataset(o.data.empty() ? net.data : o.data);
  if (o.backend.backend.rfind("check:", 0) == 0) return Check(o, net, data);
  const std::unique_ptr<Device> device = OpenDevice(o.backend);
  std::unique_ptr<ReplayPlan> replay;
  if (!o.replay.empty()) {
    replay = std::make_unique<ReplayPlan>(ReadFaultList(o.replay));
    o.evaluate.replay = replay.get();
    o.faults = {"none"};
  }
  std::vector<Prediction> predictions;
  if (!o.predictions.empty()) o.evaluate.predictions = &predictions;
  Progress progress(stderr);
  std::vector<Row> rows;
  FaultRecorder recorder;
  for (const std::string& text : o.faults) {
    const FaultSpec spec = ParseFaultSpec(text);
    EvaluateOptions options = o.evaluate;
    if (spec.Empty() && replay == nullptr) options.trials = 0;
    Row row{replay != nullptr ? "replay" : spec.Text(),
            Evaluate(*device, net.model, data.test, &spec, options,
                     o.fault_list.empty() ? nullptr : &recorder,
                     [&](int64_t done, int64_t total) {
                       progress.Update(fmt::format(
                           "{}  {:.0f} %", text,
                           100.0 * static_cast<double>(done) / static_cast<double>(total)));
                     }),
            {}};
    row.accuracies = Accuracies(row.result);
    rows.push_back(std::move(row));
  }
  progress.Clear();
  if (!o.fault_list.empty()) WriteFaultList(o.fault_list, recorder.TakeSorted());
  if (!o.predictions.empty()) WritePredictions(o.predictions, std::move(predictions));
  const EvaluateResult& first = rows.front().result;
  if (o.json) {
    nlohmann::ordered_json j = {{"network", net.spec.name},
                                {"images", first.images},
                                {"clean_accuracy", first.CleanAccuracy()}};
    for (const Row& row : rows) j["faults"].push_back(ToJson(row));
    fmt::print("{}\n", j.dump());
    return kExitSuccess;
  }
  fmt::print("{} on {}, deploy mode, {} test images; trained with faults: {}\n", net.spec.name,
             data.name, first.images, net.faults);
  fmt::print("clean accuracy {:.2f} %\n", 100 * first.CleanAccuracy());
  if (rows.size() > 1 || !rows.front().accuracies.empty()) {
    fmt::print("{:<28} {:>8}  {:>16}  {:>6}  {:>7}  {:>7}  {:>10}\n", "faults", "acc %",
               "95 % interval", "trials", "SDC-1 %", "SDC-5 %", "delivered");
  }
  for (const Row& row : rows) PrintRow(row);
  if (replay == nullptr) PrintPlot(rows);
  for (const Row& row : rows) {
    if (replay == nullptr) PrintAudit(row, net, o.audit);
  }
  return kExitSuccess;
}

}  // namespace

std::function<int()> SetUpEval(CLI::App& app) {
  const auto o = std::make_shared<EvalCommand>();
  AddConfigOptions(app);
  app.add_option("CHECKPOINT", o->checkpoint,
                 "Run folder of `train`, a checkpoint folder, or a .safetensors file")
      ->required();
  app.add_option("--data", o->data, "Data set NAME[:DIR]; default: the one it was trained on");
  app.add_option("--fault", o->faults,
                 "Faults NAME:RATE[,key=value...]; may be given several times")
      ->take_all()
      ->allow_extra_args(false);
  o->evaluate.trials = 5;
  app.add_option("--trials", o->evaluate.trials, "Fault seeds, each over all test images");
  app.add_option("--limit", o->evaluate.limit, "Test images; 0: all");
  app.add_option("--batch", o->evaluate.batch, "Images per call; never changes a result");
  app.add_option("--lanes", o->evaluate.lanes, "Trials side by side; never changes a result");
  AddSeedOption(app, o->evaluate.seed);
  app.add_option("--fault-list", o->fault_list, "Write every delivered fault to this CSV file");
  app.add_option("--replay", o->replay, "Apply the faults of such a file instead of sampling");
  app.add_option("--predictions", o->predictions,
                 "Write the class of every image in every trial to this CSV file");
  app.add_flag("--audit", o->audit,
               "Print requested against delivered rates and the histogram over bits");
  AddBackendOptions(app, o->backend);
  AddJsonOption(app, o->json);
  SetExamples(
      app,
      "  ftt-cuda eval runs/r20                                         # clean accuracy\n"
      "  ftt-cuda eval runs/r20 --fault mibb:1e-5 --fault mibb:1e-4 --trials 10\n"
      "  ftt-cuda eval runs/r20 --fault adsaf:0.08 --backend check:cpu,ref --limit 64 --trials 1\n"
      "  ftt-cuda eval runs/r20 --fault adsaf:0.05 --fault-list faults.csv --predictions p.csv\n"
      "\nacc: mean over trials of the accuracy against labels. SDC-1: predictions that differ from "
      "the\n"
      "fault-free run. SDC-5: predictions outside its first five. Intervals come from trials.\n"
      "Predictions: one row trial,image,label,predicted each; trial -1 is the fault-free run.");
  return [o] { return Run(*o); };
}

}  // namespace ftt
