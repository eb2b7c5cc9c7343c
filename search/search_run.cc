#include "search/search_run.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/clock.h"
#include "core/error.h"
#include "core/signals.h"
#include "engine/checkpoint.h"
#include "engine/lanes.h"
#include "engine/networks/networks.h"
#include "engine/run_dir.h"

namespace ftt {
namespace {

using Json = nlohmann::ordered_json;

Json ToJson(const Reward& r) {
  return {{"clean", r.clean}, {"fault", r.fault}, {"penalty", r.penalty}, {"value", r.value}};
}

Json ToJson(const Candidate& c) {
  return {{"genotype", FormatGenotype(c.genotype)}, {"reward", ToJson(c.reward)}};
}

class SearchRun {
 public:
  SearchRun(Device& device, const Dataset& data, const SearchRunConfig& config,
            const SearchObserver& observer)
      : data_(data),
        config_(config),
        observer_(observer),
        params_(config.search.seed),
        loop_(device, data, params_, config.search),
        dir_(config.resume ? RunDir::Resume(config.out, config.config_text)
                           : RunDir::Create(config.out, config.config_text)) {
    if (const auto latest = dir_.LatestCheckpoint()) Load(*latest);
    dir_.RewindEvents(loop_.Step());
  }

  SearchRunResult Run() {
    saved_at_ = MonotonicSeconds();
    while (!loop_.Done()) {
      if (!RunEpoch()) {
        Save();
        result_.step = loop_.Step();
        return result_;
      }
    }
    if (observer_.deriving) observer_.deriving();
    Save();
    Finish();
    return result_;
  }

 private:
  bool RunEpoch() {
    const double start = MonotonicSeconds();
    const int64_t first = loop_.Step(), steps = loop_.StepsPerEpoch();
    const int epoch = static_cast<int>(first / steps) + 1;
    SearchEpoch stats;
    const bool whole = loop_.RunEpoch(&stats, [&](int64_t done, const EpochSums& sums) {
      if (observer_.step) observer_.step(epoch, done, steps, sums, MonotonicSeconds() - start);
      if (done < steps && MonotonicSeconds() - saved_at_ > 60 * config_.checkpoint_minutes) Save();
      return !StopRequested();
    });
    result_.seconds += MonotonicSeconds() - start;
    result_.images += (loop_.Step() - first) * config_.search.batch;
    if (!whole) return false;
    const Json event = {{"event", "epoch"},
                        {"step", loop_.Step()},
                        {"epoch", stats.epoch},
                        {"loss", stats.loss},
                        {"accuracy", stats.accuracy},
                        {"fault_accuracy", stats.fault_accuracy},
                        {"proposals", stats.proposals},
                        {"reward", ToJson(stats.reward)},
                        {"entropy", stats.entropy},
                        {"seconds", stats.seconds}};
    dir_.WriteEvent(event.dump());
    if (observer_.epoch) observer_.epoch(stats);
    if (!loop_.Done()) Save();
    return !StopRequested() || loop_.Done();
  }

  void Save() {
    loop_.Synchronize();
    TensorFile file;
    AddParams(params_, true, file);
    for (const StateTensor& t : loop_.GetStrategy().Export())
      file.Add("search.strategy/" + t.name, t.shape, t.values);
    std::vector<double> trace;
    for (const Reward& r : loop_.Trace())
      trace.insert(trace.end(), {r.clean, r.fault, r.penalty, r.value});
    file.Add("search.trace", {static_cast<int64_t>(loop_.Trace().size()), 4}, trace);
    const EpochSums& s = loop_.Sums();
    file.Add("search.epoch_sums", {EpochSums::kCount},
             std::vector<double>{s.loss, s.fault_loss, s.correct, s.fault_correct, s.exposed,
                                 s.delivered});
    file.SetMetadata("step", std::to_string(loop_.Step()));
    file.SetMetadata("strategy", config_.search.strategy);
    file.SetMetadata("seed", std::to_string(config_.search.seed));
    dir_.SaveCheckpoint(loop_.Step(), {{kStateFile, file.Serialize()}});
    saved_at_ = MonotonicSeconds();
  }

  void Load(int64_t number) {
    const std::string path = dir_.CheckpointPath(number) + "/" + kStateFile;
    const TensorFile file = TensorFile::Load(path);
    FTT_CHECK(file.Has("search.trace"), "{}: not a checkpoint of a search", path);
    ReadParams(file, params_);
    const NamedTensor& trace = file.Get("search.trace");
    const auto values = file.Find<double>("search.trace", trace.shape);
    std::vector<Reward> rewards;
    for (size_t i = 0; i + 3 < values.size(); i += 4) {
      rewards.push_back({values[i], values[i + 1], values[i + 2], values[i + 3]});
    }
    StateDict strategy;
    const std::string prefix = "search.strategy/";
    for (const std::string& name : file.Names()) {
      if (name.rfind(prefix, 0) != 0) continue;
      const NamedTensor& t = file.Get(name);
      const auto data = file.Find<double>(name, t.shape);
      strategy.push_back({name.substr(prefix.size()), t.shape, {data.begin(), data.end()}});
    }
    const auto s = file.Find<double>("search.epoch_sums", {EpochSums::kCount});
    loop_.Restore(std::stoll(file.Metadata("step")), {s[0], s[1], s[2], s[3], s[4], s[5]},
                  std::move(rewards), strategy);
  }

  void Finish() {
    result_.outcome = loop_.Finish();
    const SearchOutcome& o = result_.outcome;
    CellNetOptions options = config_.search.network;
    options.affine = true;
    options.shared = false;
    const Program program = BuildCellNetwork(
        o.best.genotype, options, {data_.train.height, data_.train.width, data_.train.channels},
        data_.classes);
    result_.mflops = 1e-6 * static_cast<double>(Flops(program));
    result_.parameters = static_cast<double>(program.ParamCount());
    Json report = {{"best", ToJson(o.best)},
                   {"random_best", ToJson(o.random_best)},
                   {"reward_evaluations", o.reward_evaluations},
                   {"mean_reward_drawn", o.drawn.value},
                   {"mean_reward_random", o.random_drawn.value},
                   {"mflops", result_.mflops},
                   {"parameters", result_.parameters},
                   {"collapse_warning", o.collapse_warning}};
    for (const Candidate& c : o.derived) report["derived"].push_back(ToJson(c));
    for (const Reward& r : loop_.Trace()) report["reward_trace"].push_back(r.value);
    dir_.WriteText("report.json", report.dump(2) + "\n");
    dir_.WriteText("genotype.txt", FormatGenotype(o.best.genotype) + "\n");
    result_.genotype_file = dir_.Path() + "/genotype.txt";
    result_.finished = true;
    result_.step = loop_.Step();
  }

  const Dataset& data_;
  const SearchRunConfig& config_;
  const SearchObserver& observer_;
  ParamStore params_;
  SearchLoop loop_;
  RunDir dir_;
  SearchRunResult result_;
  double saved_at_ = 0;
};

// Any genotype may come, so the heaviest ones count, and the parameters of all.
DeviceWork WorkOf(const Dataset& data, const SearchConfig& search) {
  CellNetOptions network = search.network;
  network.affine = false;
  network.shared = true;
  DeviceWork work;
  work.what = "search";
  TrainingWork& training = work.training.emplace();
  for (const Genotype& g : CoverSpace(search.space)) {
    training.programs.push_back(BuildCellNetwork(
        g, network, {data.train.height, data.train.width, data.train.channels}, data.classes));
  }
  training.options.bits = search.bits;
  training.batch = search.batch;
  training.lanes = TrainingLanes(search.faults, search.fault_loss_coeff, search.seed, 0);
  training.forward_lanes = TrainingLanes(search.faults, 0.5, search.seed, 0);  // of a reward
  training.adam = search.optimizer.kind == "adam";
  training.images = &data.train;
  return work;
}

}  // namespace

SearchRunResult RunSearch(Device& device, const Dataset& data, const SearchRunConfig& config,
                          const SearchObserver& observer) {
  FTT_CHECK(config.checkpoint_minutes > 0, "checkpoint-minutes: {} is not positive",
            config.checkpoint_minutes);
  // Rates grow with the operands of a site, and the smallest, the stem, is part of every network of
  // the space.
  CheckFaults(
      BuildCellNetwork(WFttGenotype(), config.search.network,
                       {data.train.height, data.train.width, data.train.channels}, data.classes),
      config.search.faults, config.search.bits);
  Validate(config.search);
  device.CheckMemory(WorkOf(data, config.search));
  InstallSignalHandlers();
  return SearchRun(device, data, config, observer).Run();
}

}  // namespace ftt
