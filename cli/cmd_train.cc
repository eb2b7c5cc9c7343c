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
#include "core/statistics.h"
#include "engine/networks/networks.h"
#include "engine/train_run.h"

namespace ftt {
namespace {

struct TrainCommand {
  std::string data = "cifar10", fault = "none", network, pretrained, eval_fault;
  uint64_t seed = 1;
  bool json = false;
  double fault_loss_coeff = 0.7, freeze_bn = 0;
  int trials = 5;
  int64_t eval_limit = 0, calibration_images = 1024;
  BackendOptions backend;
  RunOptions run;
  TrainingOptions training;
  CellNetOptions cell;
};

TrainRunConfig MakeConfig(const TrainCommand& o, const Dataset& data,
                          const std::string& config_text) {
  TrainRunConfig c;
  c.out = o.run.out;
  c.resume = o.run.resume;
  c.checkpoint_minutes = o.run.checkpoint_minutes;
  c.config_text = config_text;
  c.network = ResolveNetwork(
      o.network, o.cell, {data.train.height, data.train.width, data.train.channels}, data.classes);
  c.pretrained = o.pretrained;
  c.train.epochs = o.training.epochs;
  c.train.batch = o.training.batch;
  c.train.bits = o.training.bits;
  c.train.limit = o.training.limit;
  c.train.optimizer = o.training.optimizer;
  c.train.schedule = o.training.schedule;
  c.train.augment = Augmentation(o.training, data);
  c.train.use_augment = o.training.augment;
  c.train.faults = ParseFaultSpec(o.fault);
  c.train.fault_loss_coeff = o.fault_loss_coeff;
  c.train.freeze_bn = o.freeze_bn;
  c.train.seed = o.seed;
  c.train.calibration_images = o.calibration_images;
  c.eval_faults = ParseFaultSpec(o.eval_fault.empty() ? o.fault : o.eval_fault);
  c.evaluate.trials = o.trials;
  c.evaluate.limit = o.eval_limit;
  c.evaluate.seed = o.seed;
  return c;
}

std::string EpochLine(const EpochStats& s, int epochs, bool faulty) {
  std::string line = fmt::format("epoch {}/{}  loss {:.3f}  acc {:.2f} %", s.epoch, epochs, s.loss,
                                 100 * s.accuracy);
  if (faulty)
    line += fmt::format("  faulty loss {:.3f}  acc {:.2f} %", s.fault_loss, 100 * s.fault_accuracy);
  return line + fmt::format("  {:.0f} images/s  {}", static_cast<double>(s.images) / s.seconds,
                            FormatDuration(s.seconds));
}

int Report(const TrainCommand& o, const TrainRunResult& r) {
  if (!r.finished) {
    fmt::print(stderr, "stopped at step {}; continue with --resume\n", r.step);
    return 0;
  }
  std::vector<double> accuracies;
  for (const TrialResult& t : r.evaluation.trials) {
    accuracies.push_back(static_cast<double>(t.correct) / static_cast<double>(r.evaluation.images));
  }
  if (o.json) {
    const nlohmann::ordered_json j = {{"out", o.run.out},
                                      {"clean_accuracy", r.evaluation.CleanAccuracy()},
                                      {"train_mode_accuracy", r.train_mode_accuracy},
                                      {"test_images", r.evaluation.images},
                                      {"fault_accuracies", accuracies}};
    fmt::print("{}\n", j.dump());
    return 0;
  }
  fmt::print(
      "test accuracy, deploy mode: {:.2f} % ({} images); with batch statistics, as in training: "
      "{:.2f} %\n",
      100 * r.evaluation.CleanAccuracy(), r.evaluation.images, 100 * r.train_mode_accuracy);
  if (!accuracies.empty()) {
    const MeanEstimate e = EstimateMean(accuracies, 0.95);
    fmt::print("under {}: {:.2f} % (95 % interval {:.2f}..{:.2f} over {} trials)\n",
               o.eval_fault.empty() ? o.fault : o.eval_fault, 100 * e.mean,
               100 * std::max(e.interval.low, 0.0), 100 * std::min(e.interval.high, 1.0), e.count);
  }
  fmt::print("run: {}\n", o.run.out);
  return 0;
}

int Run(const TrainCommand& o, const CLI::App& app) {
  ParseFaultSpec(o.fault);
  const Dataset data = LoadDataset(o.data);
  const TrainRunConfig config = MakeConfig(o, data, ResolvedToml(app));
  const std::unique_ptr<Device> device = OpenDevice(o.backend);
  fmt::print(stderr, "{}\n", NetworkSummary(config.network.Build()));
  Progress progress(o.json ? stderr : stdout);
  const bool faulty = !config.train.faults.Empty() && config.train.fault_loss_coeff > 0;
  const int epochs = config.train.epochs, batch = config.train.batch;
  TrainObserver observer;
  observer.epoch = [&](const EpochStats& s) { progress.Line(EpochLine(s, epochs, faulty)); };
  observer.step = [&](int epoch, int64_t done, int64_t steps, const EpochSums& sums,
                      double seconds) {
    if (!progress.WantsUpdate()) return;
    const double seen = static_cast<double>(done * batch);
    const double all = static_cast<double>(steps) * epochs,
                 so_far = static_cast<double>((epoch - 1) * steps + done);
    const double rest = seconds / static_cast<double>(done) * (all - so_far);
    progress.Update(
        fmt::format("epoch {}/{}  {:.0f} %  loss {:.3f}  acc {:.2f} %{}  {:.0f} images/s  ETA {}",
                    epoch, epochs, 100.0 * static_cast<double>(done) / static_cast<double>(steps),
                    sums.loss / static_cast<double>(done), 100 * sums.correct / seen,
                    faulty ? fmt::format("  faulty {:.2f} %", 100 * sums.fault_correct / seen) : "",
                    seen / seconds, FormatDuration(rest)));
  };
  return Report(o, RunTraining(*device, data, config, observer));
}

}  // namespace

std::function<int()> SetUpTrain(CLI::App& app) {
  const auto o = std::make_shared<TrainCommand>();
  AddConfigOptions(app);
  AddNetworkOption(app, o->network);
  app.get_option("--network")->required();
  app.add_option("--pretrained", o->pretrained,
                 "Start from the parameters of this trained network (run or checkpoint folder) "
                 "instead of random ones: fine-tuning, with faults or without");
  AddDataOption(app, o->data);
  AddFaultOption(app, o->fault);
  app.add_option("--fault-loss-coeff", o->fault_loss_coeff,
                 "loss = (1 - c) * CE(clean) + c * CE(faulty); 0 trains without faults");
  app.add_option(
      "--freeze-bn", o->freeze_bn,
      "Share of the steps, at the end, in which batch norm uses its running statistics "
      "as deployed networks do: a faulty batch's own statistics hide part of the damage");
  AddTrainingOptions(app, o->training);
  AddCellOptions(app, o->cell);
  app.add_option("--trials", o->trials, "Fault seeds of the evaluation at the end; 0: clean only");
  app.add_option("--eval-fault", o->eval_fault,
                 "Faults of that evaluation; default: those of --fault");
  app.add_option("--eval-limit", o->eval_limit, "Test images of that evaluation; 0: all");
  app.add_option("--calibration-images", o->calibration_images,
                 "Training images that fix the exponents");
  AddSeedOption(app, o->seed);
  AddRunOptions(app, o->run);
  AddBackendOptions(app, o->backend);
  AddJsonOption(app, o->json);
  SetExamples(
      app,
      "  ftt-cuda train --network resnet-20 --data cifar10:data --epochs 10 --lr 0.1 --out "
      "runs/r20\n"
      "  ftt-cuda train --network runs/search/genotype.txt --preset small --out runs/ftt\n"
      "  ftt-cuda train --network runs/search/genotype.txt --preset small "
      "--fault-loss-coeff 0 --out runs/plain\n"
      "  ftt-cuda train --resume --out runs/ftt        # after Ctrl-C or a crash: same "
      "bytes at the end\n"
      "  ftt-cuda train --network resnet-20 --pretrained runs/r20 --fault adsaf:0.02 --lr 0.01 "
      "--out runs/tuned\n"
      "\nThe run folder holds config.toml (usable with --config), events.jsonl, "
      "checkpoint-STEP/ and\n"
      "result.json. Features and weights are 8-bit; accuracies at the end are those of "
      "deploy mode.");
  return [o, &app] { return Run(*o, app); };
}

}  // namespace ftt
