// Training of one fixed network, with faults in the loop or without.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/augment.h"
#include "data/dataset.h"
#include "engine/device.h"
#include "engine/optimizer.h"

namespace ftt {

struct TrainConfig {
  int epochs = 10;                // >= 1
  int batch = 64;                 // images per step and lane, >= 1
  FaultSpec faults;               // empty: trained without faults
  double fault_loss_coeff = 0.7;  // [0, 1]: loss = (1 - c) * CE(clean lane) + c * CE(faulty lane)
  OptimizerOptions optimizer;
  Schedule schedule;
  AugmentOptions augment;
  bool use_augment = true;
  int bits = 8;  // 4..8
  float bn_momentum = 0.1f;
  // Last share of the steps, [0, 1], in which batch norm uses its running statistics, as deploy
  // mode does: a faulty lane's own statistics hide part of the damage that faults do there.
  double freeze_bn = 0;
  uint64_t seed = 1;
  int64_t limit = 0;  // training images; 0: all
  int64_t calibration_images = 1024;
};
void Validate(const TrainConfig& config);

// The lanes of a training step: one clean lane, one faulty lane, or both, by fault_loss_coeff.
// Every step is a new trial (a fresh chip for permanent faults); the fault seed differs from that
// of every evaluation.
std::vector<LaneSpec> TrainingLanes(const FaultSpec& faults, double fault_loss_coeff, uint64_t seed,
                                    uint32_t step);

TrainExecutorOptions ExecutorOptions(const TrainConfig& config);

// Sums over the steps of the epoch in progress; part of a checkpoint, so that a resumed epoch
// reports the same.
struct EpochSums {
  double loss = 0, fault_loss = 0;  // of the first lane, and of the faulty lane where there is one
  double correct = 0, fault_correct = 0;
  double exposed = 0, delivered = 0;  // faults
  void Add(const std::vector<LaneResult>& results, bool faulty);
  static constexpr int kCount = 6;
};

struct EpochStats {
  int epoch = 0;  // 1-based
  int64_t images = 0;
  double loss = 0, accuracy = 0;              // of the first lane, on augmented training images
  double fault_loss = 0, fault_accuracy = 0;  // of the faulty lane; 0 without
  double delivered_rate = 0;                  // faults delivered per element exposed
  double seconds = 0;                         // of this process
  float learning_rate = 0;
};
EpochStats Summarise(const EpochSums& sums, int64_t steps, int batch);

class Trainer {
 public:
  // Throws ftt::Error where data set and network do not fit together.
  Trainer(Device& device, const Program& program, const Dataset& data, ParamStore& params,
          const TrainConfig& config);

  int64_t StepsPerEpoch() const { return steps_per_epoch_; }
  int64_t Step() const { return step_; }  // steps done so far
  // Of the epoch in progress; complete after Synchronize.
  const EpochSums& Sums() const { return sums_; }
  void Restore(int64_t step, const EpochSums& sums);  // resume
  bool Done() const { return step_ >= steps_per_epoch_ * config_.epochs; }
  // Runs the rest of the current epoch. progress (nullable): called after each step with the steps
  // done in this epoch and its sums; returns false to stop there. Returns false if stopped before
  // the epoch's end.
  bool RunEpoch(EpochStats* stats,
                const std::function<bool(int64_t, const EpochSums&)>& progress = nullptr);
  // Brings the parameters and Sums up to date with all steps.
  void Synchronize();
  // Freezes the network: exponents from config.calibration_images training images.
  DeployModel Deploy();
  // Accuracy on the first `limit` test images (0: all) with the statistics and exponents of each
  // batch of config.batch images, without faults: what training itself sees. A last batch that is
  // not full is left out unless it is the only one.
  double TrainModeAccuracy(int64_t limit);

 private:
  void TakeResults(int64_t in_flight);

  const Program& program_;
  const Dataset& data_;
  ParamStore& params_;
  TrainConfig config_;
  std::unique_ptr<TrainExecutor> executor_;
  std::vector<uint32_t> subset_;
  int64_t steps_per_epoch_ = 0;
  int64_t step_ = 0;
  int64_t in_flight_ = 0;  // steps whose results are not in sums_ yet
  EpochSums sums_;
};

// Exponents for deploy mode from `count` training images (not augmented), in batches of `batch`.
std::vector<int> Calibrate(TrainExecutor& executor, const Program& program, const ImageSet& images,
                           int64_t count, int batch);

}  // namespace ftt
