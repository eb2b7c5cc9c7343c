// A training run in its folder: epochs, events, checkpoints, resume, and the evaluation at its end.
#pragma once

#include <functional>
#include <string>

#include "engine/evaluate.h"
#include "engine/network_spec.h"
#include "engine/trainer.h"

namespace ftt {

struct TrainRunConfig {
  std::string out;  // run folder
  bool resume = false;
  std::string
      config_text;  // resolved options as TOML, for config.toml and the comparison on resume
  NetworkSpec network;
  std::string
      pretrained;  // trained network whose parameters the run starts from; empty: random ones
  TrainConfig train;
  FaultSpec eval_faults;  // at the end, on the test images; empty: clean only
  EvaluateOptions evaluate;
  double checkpoint_minutes = 5;  // between checkpoints within an epoch; > 0
};

struct TrainRunResult {
  bool finished = false;  // false: stopped by a signal, checkpoint written
  int64_t step = 0;
  EvaluateResult evaluation;
  double train_mode_accuracy = 0;  // on the test images, see Trainer::TrainModeAccuracy
  double seconds = 0;              // of this process, training alone
  int64_t images = 0;              // trained on by this process
};

struct TrainObserver {
  // After each step: epoch (1-based), steps done in it, steps in all, sums, seconds since the epoch
  // (or the process) began.
  std::function<void(int, int64_t, int64_t, const EpochSums&, double)> step;
  std::function<void(const EpochStats&)> epoch;
};

// Throws ftt::Error on bad input before anything is written.
TrainRunResult RunTraining(Device& device, const Dataset& data, const TrainRunConfig& config,
                           const TrainObserver& observer);

}  // namespace ftt
