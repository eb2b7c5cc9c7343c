#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/config_args.h"
#include "cli/help.h"
#include "cli/program.h"
#include "cli/training_options.h"
#include "core/progress.h"
#include "engine/genotype.h"
#include "search/search_run.h"

namespace ftt {
namespace {

struct SearchCommand {
  std::string data = "cifar10", fault = "mibb:1e-4";
  uint64_t seed = 1;
  bool json = false;
  std::vector<std::string> primitives;
  SearchConfig search;
  BackendOptions backend;
  RunOptions run;
  TrainingOptions training;
};

SearchRunConfig MakeConfig(const SearchCommand& o, const Dataset& data,
                           const std::string& config_text) {
  SearchRunConfig c;
  c.out = o.run.out;
  c.resume = o.run.resume;
  c.checkpoint_minutes = o.run.checkpoint_minutes;
  c.config_text = config_text;
  c.search = o.search;
  c.search.faults = ParseFaultSpec(o.fault);
  c.search.space = PresetSpace(StrikesWeights(c.search.faults) ? "adsaf" : "mibb");
  if (!o.primitives.empty()) c.search.space.primitives = o.primitives;
  c.search.epochs = o.training.epochs;
  c.search.batch = o.training.batch;
  c.search.bits = o.training.bits;
  c.search.limit = o.training.limit;
  c.search.optimizer = o.training.optimizer;
  c.search.schedule = o.training.schedule;
  c.search.augment = Augmentation(o.training, data);
  if (!o.training.augment) {
    c.search.augment.crop_padding = c.search.augment.cutout = 0;
    c.search.augment.flip = false;
  }
  c.search.seed = o.seed;
  return c;
}

std::string EpochLine(const SearchEpoch& s, int epochs, bool faulty) {
  std::string line = fmt::format("epoch {}/{}  supernet loss {:.3f}  acc {:.2f} %", s.epoch, epochs,
                                 s.loss, 100 * s.accuracy);
  if (faulty) line += fmt::format("  faulty {:.2f} %", 100 * s.fault_accuracy);
  if (s.proposals > 0) {
    line += fmt::format(
        "  reward {:.4f} (clean {:.2f} %, faulty {:.2f} %, {} samples)  entropy {:.2f}",
        s.reward.value, 100 * s.reward.clean, 100 * s.reward.fault, s.proposals, s.entropy);
  }
  return line + fmt::format("  {:.0f} images/s  {}", static_cast<double>(s.images) / s.seconds,
                            FormatDuration(s.seconds));
}

std::string CandidateLine(const Candidate& c) {
  return fmt::format("reward {:.4f}  clean {:.2f} %  faulty {:.2f} %  {}", c.reward.value,
                     100 * c.reward.clean, 100 * c.reward.fault, FormatGenotype(c.genotype));
}

int Report(const SearchCommand& o, const SearchRunResult& r) {
  if (!r.finished) {
    fmt::print(stderr, "stopped at step {}; continue with --resume\n", r.step);
    return 0;
  }
  const SearchOutcome& out = r.outcome;
  if (!out.collapse_warning.empty()) fmt::print(stderr, "warning: {}\n", out.collapse_warning);
  if (o.json) {
    const nlohmann::ordered_json j = {{"out", o.run.out},
                                      {"genotype", FormatGenotype(out.best.genotype)},
                                      {"genotype_file", r.genotype_file},
                                      {"reward", out.best.reward.value},
                                      {"clean", out.best.reward.clean},
                                      {"fault", out.best.reward.fault},
                                      {"random_reward", out.random_best.reward.value},
                                      {"reward_evaluations", out.reward_evaluations},
                                      {"mean_reward_drawn", out.drawn.value},
                                      {"mean_reward_random", out.random_drawn.value},
                                      {"mflops", r.mflops},
                                      {"parameters", r.parameters}};
    fmt::print("{}\n", j.dump());
    return 0;
  }
  fmt::print("candidates (on the shared weights):\n");
  for (const Candidate& c : out.derived) fmt::print("  {}\n", CandidateLine(c));
  fmt::print("best     {}\n", CandidateLine(out.best));
  fmt::print("random   {}\n", CandidateLine(out.random_best));
  fmt::print("         the best of random genotypes with the same {} reward evaluations\n",
             out.reward_evaluations);
  fmt::print("mean reward of draws on one batch: {:.4f} by the strategy, {:.4f} at random\n",
             out.drawn.value, out.random_drawn.value);
  fmt::print("network: {:.1f} MFLOPs, {:.3f} M parameters\n", r.mflops, 1e-6 * r.parameters);
  fmt::print("genotype: {}\nreport: {}/report.json\n", r.genotype_file, o.run.out);
  return 0;
}

int Run(const SearchCommand& o, const CLI::App& app) {
  ParseFaultSpec(o.fault);
  const Dataset data = LoadDataset(o.data);
  const SearchRunConfig config = MakeConfig(o, data, ResolvedToml(app));
  const std::unique_ptr<Device> device = OpenDevice(o.backend);
  Progress progress(o.json ? stderr : stdout);
  const bool faulty = !config.search.faults.Empty() && config.search.fault_loss_coeff > 0;
  const int epochs = config.search.epochs, batch = config.search.batch;
  SearchObserver observer;
  observer.epoch = [&](const SearchEpoch& s) { progress.Line(EpochLine(s, epochs, faulty)); };
  observer.deriving = [&] { progress.Line("deriving candidates and the random baseline"); };
  observer.step = [&](int epoch, int64_t done, int64_t steps, const EpochSums& sums,
                      double seconds) {
    if (!progress.WantsUpdate()) return;
    const double seen = static_cast<double>(done * batch);
    const double all = static_cast<double>(steps) * epochs,
                 so_far = static_cast<double>((epoch - 1) * steps + done);
    progress.Update(fmt::format(
        "epoch {}/{}  {:.0f} %  acc {:.2f} %{}  {:.0f} images/s  ETA {}", epoch, epochs,
        100.0 * static_cast<double>(done) / static_cast<double>(steps), 100 * sums.correct / seen,
        faulty ? fmt::format("  faulty {:.2f} %", 100 * sums.fault_correct / seen) : "",
        seen / seconds, FormatDuration(seconds / static_cast<double>(done) * (all - so_far))));
  };
  return Report(o, RunSearch(*device, data, config, observer));
}

}  // namespace

std::function<int()> SetUpSearch(CLI::App& app) {
  const auto o = std::make_shared<SearchCommand>();
  SearchConfig& s = o->search;
  AddConfigOptions(app);
  AddDataOption(app, o->data);
  AddFaultOption(app, o->fault);
  app.add_option("--strategy", s.strategy, "reinforce, random or evolution");
  app.add_option("--primitives", o->primitives,
                 "Operations of the search space, separated by commas; default: the paper's for "
                 "faults of features, and with dense convolutions for faults of weights")
      ->delimiter(',');
  app.add_option("--fault-loss-coeff", s.fault_loss_coeff,
                 "Supernet loss = (1 - c) * CE(clean) + c * CE(faulty); 0: FT-NAS, above: FTT-NAS");
  app.add_option("--fault-reward-coeff", s.fault_reward_coeff,
                 "reward = (1 - c) * acc_clean + c * acc_faulty - penalty");
  app.add_option("--flops-bound", s.flops_bound,
                 "MFLOPs (2 per multiply-add) that cost nothing; 0: no bound");
  app.add_option("--flops-penalty", s.flops_penalty, "penalty = P * max(0, MFLOPs / bound - 1)");
  app.add_option("--warmup-epochs", s.warmup_epochs,
                 "Epochs of supernet training before the first reward");
  app.add_option("--controller-every", s.controller_every, "Supernet steps per rewarded proposal");
  app.add_option("--controller-lr", s.controller_lr, "Learning rate of the controller (Adam)");
  app.add_option("--weight-fraction", s.weight_fraction,
                 "Share of the training images that trains weights; the rest rewards proposals");
  app.add_option("--derive-draws", s.derive_draws,
                 "Genotypes drawn at the end; where they are more than the candidates, sequential "
                 "halving on growing numbers of reward batches picks those");
  app.add_option("--derive-samples", s.derive_samples,
                 "Candidates, of which the best is the result");
  app.add_option("--derive-batches", s.derive_batches, "Reward batches per candidate");
  AddTrainingOptions(app, o->training);
  AddCellOptions(app, s.network);
  AddSeedOption(app, o->seed);
  AddRunOptions(app, o->run);
  AddBackendOptions(app, o->backend);
  AddJsonOption(app, o->json);
  SetExamples(
      app,
      "  ftt-cuda search --preset quick --out runs/quick\n"
      "  ftt-cuda search --preset small --data cifar10:data --out runs/mibb\n"
      "  ftt-cuda search --preset small --fault adsaf:0.08 --fault-reward-coeff 0.2 --out "
      "runs/adsaf\n"
      "  ftt-cuda search --preset small --strategy evolution --out runs/evolution\n"
      "  ftt-cuda search --resume --out runs/mibb      # after Ctrl-C or a crash: same result\n"
      "\nThe run folder holds genotype.txt (for `train --network`), report.json with all "
      "candidates, the\n"
      "reward trace and the random baseline, config.toml, events.jsonl and checkpoint-STEP/.");
  return [o, &app] { return Run(*o, app); };
}

}  // namespace ftt
