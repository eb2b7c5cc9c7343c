#include "engine/train_run.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "core/clock.h"
#include "core/error.h"
#include "core/file.h"
#include "core/signals.h"
#include "engine/checkpoint.h"
#include "engine/lanes.h"
#include "engine/run_dir.h"

namespace ftt {
namespace {

// Those of a new run. A run that has a checkpoint does not need the network it once started from.
ParamStore InitialParams(const TrainRunConfig& config, const Program& program) {
  ParamStore params(config.train.seed);
  const bool begun =
      config.resume && PathExists(config.out) && !NumberedDirs(config.out, "checkpoint-").empty();
  if (!config.pretrained.empty() && !begun) ReadPretrained(config.pretrained, program, params);
  return params;
}

class TrainRun {
 public:
  TrainRun(Device& device, const Dataset& data, const TrainRunConfig& config,
           const TrainObserver& observer)
      : device_(device),
        data_(data),
        config_(config),
        observer_(observer),
        program_(config.network.Build()),
        params_(InitialParams(config, program_)),
        trainer_(device, program_, data, params_, config.train),
        dir_(config.resume ? RunDir::Resume(config.out, config.config_text)
                           : RunDir::Create(config.out, config.config_text)) {
    for (const ParamInfo& info : program_.params) params_.Get(info);
    if (const auto latest = dir_.LatestCheckpoint()) Load(*latest);
    dir_.RewindEvents(trainer_.Step());
  }

  TrainRunResult Run() {
    saved_at_ = MonotonicSeconds();
    while (!trainer_.Done()) {
      if (!RunEpoch()) {
        Save(nullptr);
        result_.step = trainer_.Step();
        return result_;
      }
    }
    Finish();
    return result_;
  }

 private:
  bool RunEpoch() {
    const double start = MonotonicSeconds();
    const int64_t first = trainer_.Step();
    const int epoch = static_cast<int>(first / trainer_.StepsPerEpoch()) + 1;
    EpochStats stats;
    const bool whole = trainer_.RunEpoch(&stats, [&](int64_t done, const EpochSums& sums) {
      if (observer_.step)
        observer_.step(epoch, done, trainer_.StepsPerEpoch(), sums, MonotonicSeconds() - start);
      if (done < trainer_.StepsPerEpoch() &&
          MonotonicSeconds() - saved_at_ > 60 * config_.checkpoint_minutes)
        Save(nullptr);
      return !StopRequested();
    });
    result_.seconds += MonotonicSeconds() - start;
    result_.images += (trainer_.Step() - first) * config_.train.batch;
    if (!whole) return false;
    nlohmann::ordered_json event = {{"event", "epoch"},
                                    {"step", trainer_.Step()},
                                    {"epoch", stats.epoch},
                                    {"loss", stats.loss},
                                    {"accuracy", stats.accuracy},
                                    {"fault_loss", stats.fault_loss},
                                    {"fault_accuracy", stats.fault_accuracy},
                                    {"delivered_rate", stats.delivered_rate},
                                    {"lr", stats.learning_rate},
                                    {"seconds", stats.seconds}};
    dir_.WriteEvent(event.dump());
    if (observer_.epoch) observer_.epoch(stats);
    if (!trainer_.Done()) Save(nullptr);
    return !StopRequested() || trainer_.Done();
  }

  void Save(const DeployModel* model) {
    trainer_.Synchronize();
    TensorFile file;
    AddParams(params_, true, file);
    const EpochSums& s = trainer_.Sums();
    file.Add("optimizer.epoch_sums", {EpochSums::kCount},
             std::vector<double>{s.loss, s.fault_loss, s.correct, s.fault_correct, s.exposed,
                                 s.delivered});
    file.SetMetadata("step", std::to_string(trainer_.Step()));
    file.SetMetadata("seed", std::to_string(config_.train.seed));
    if (model != nullptr) {
      // With coefficient 0 the faults were specified but never seen.
      const bool faulty = config_.train.fault_loss_coeff > 0;
      AddDeployment(config_.network, *model, data_.spec,
                    faulty ? config_.train.faults.Text() : FaultSpec().Text(), file);
    } else {
      file.SetMetadata("training_hash", fmt::format("{:016x}", program_.Hash()));
    }
    dir_.SaveCheckpoint(trainer_.Step(), {{kStateFile, file.Serialize()}});
    saved_at_ = MonotonicSeconds();
  }

  void Load(int64_t number) {
    const std::string path = dir_.CheckpointPath(number) + "/" + kStateFile;
    const TensorFile file = TensorFile::Load(path);
    const std::string key =
        file.Metadata().contains("program_hash") ? "program_hash" : "training_hash";
    FTT_CHECK(file.Metadata(key) == fmt::format("{:016x}", program_.Hash()),
              "{}: is a checkpoint of another network than {}", path, program_.ShortName());
    ReadParams(file, params_);
    const auto sums = file.Find<double>("optimizer.epoch_sums", {EpochSums::kCount});
    trainer_.Restore(std::stoll(file.Metadata("step")),
                     {sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]});
  }

  void Finish() {
    const DeployModel model = trainer_.Deploy();
    Save(&model);
    const FaultSpec* faults = config_.eval_faults.Empty() ? nullptr : &config_.eval_faults;
    result_.train_mode_accuracy = trainer_.TrainModeAccuracy(config_.evaluate.limit);
    result_.evaluation = Evaluate(device_, model, data_.test, faults, config_.evaluate);
    result_.finished = true;
    result_.step = trainer_.Step();
    nlohmann::ordered_json j = {{"event", "result"},
                                {"step", trainer_.Step()},
                                {"test_images", result_.evaluation.images},
                                {"clean_accuracy", result_.evaluation.CleanAccuracy()},
                                {"train_mode_accuracy", result_.train_mode_accuracy},
                                {"faults", config_.eval_faults.Text()}};
    for (const TrialResult& t : result_.evaluation.trials) {
      j["trials"].push_back(static_cast<double>(t.correct) /
                            static_cast<double>(result_.evaluation.images));
    }
    dir_.WriteText("result.json", j.dump(2) + "\n");
  }

  Device& device_;
  const Dataset& data_;
  const TrainRunConfig& config_;
  const TrainObserver& observer_;
  Program program_;
  ParamStore params_;
  Trainer trainer_;
  RunDir dir_;
  TrainRunResult result_;
  double saved_at_ = 0;
};

// The evaluation at the end runs while the training still has its memory.
DeviceWork WorkOf(const Program& program, const Dataset& data, const TrainRunConfig& config) {
  const TrainConfig& t = config.train;
  DeviceWork work;
  work.what = fmt::format("training of {}", program.ShortName());
  work.training = TrainingWork{
      .programs = {program},
      .options = ExecutorOptions(t),
      .batch = t.batch,
      .lanes = TrainingLanes(t.faults, t.fault_loss_coeff, t.seed, 0),
      .forward_lanes = {},
      .adam = t.optimizer.kind == "adam",
      .images = &data.train,
  };
  work.deployments.push_back({program, t.bits, config.evaluate.batch, config.evaluate.lanes,
                              &config.eval_faults, config.evaluate.sites});
  return work;
}

}  // namespace

TrainRunResult RunTraining(Device& device, const Dataset& data, const TrainRunConfig& config,
                           const TrainObserver& observer) {
  FTT_CHECK(config.checkpoint_minutes > 0, "checkpoint-minutes: {} is not positive",
            config.checkpoint_minutes);
  Validate(config.train);
  const Program program = config.network.Build();
  CheckFaults(program, config.train.faults, config.train.bits);
  CheckFaults(program, config.eval_faults, config.train.bits);
  device.CheckMemory(WorkOf(program, data, config));
  InstallSignalHandlers();
  return TrainRun(device, data, config, observer).Run();
}

}  // namespace ftt
