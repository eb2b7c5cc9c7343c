#include "engine/trainer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/clock.h"
#include "core/error.h"
#include "data/split.h"

namespace ftt {
namespace {

constexpr int64_t kStepsAhead = 4;                              // of the host before the device
constexpr uint64_t kTrainingFaults = 0x7472'6169'6E00'0000ull;  // apart from every evaluation seed

}  // namespace

void Validate(const TrainConfig& c) {
  FTT_CHECK(c.epochs >= 1, "epochs: {} is below 1", c.epochs);
  FTT_CHECK(c.batch >= 1, "batch: {} is below 1", c.batch);
  FTT_CHECK(c.fault_loss_coeff >= 0 && c.fault_loss_coeff <= 1,
            "fault-loss-coeff: {} is outside [0, 1]", c.fault_loss_coeff);
  FTT_CHECK(c.bits >= 4 && c.bits <= 8, "bits: {} is outside 4..8", c.bits);
  FTT_CHECK(c.bn_momentum > 0 && c.bn_momentum <= 1, "bn-momentum: {} is outside (0, 1]",
            c.bn_momentum);
  FTT_CHECK(c.freeze_bn >= 0 && c.freeze_bn <= 1, "freeze-bn: {} is outside [0, 1]", c.freeze_bn);
  FTT_CHECK(c.schedule.base > 0, "lr: {} is not positive", c.schedule.base);
  Validate(c.optimizer);
}

std::vector<LaneSpec> TrainingLanes(const FaultSpec& faults, double coeff, uint64_t seed,
                                    uint32_t step) {
  std::vector<LaneSpec> lanes;
  const bool faulty = !faults.terms.empty() && coeff > 0;
  if (!faulty || coeff < 1) {
    lanes.push_back({});
    lanes.back().loss_weight = faulty ? static_cast<float>(1.0 - coeff) : 1.0f;
  }
  if (faulty) {
    LaneSpec lane;
    lane.faults = &faults;
    lane.seed = seed ^ kTrainingFaults;
    lane.moment = {step, true};
    lane.loss_weight = static_cast<float>(coeff);
    lanes.push_back(lane);
  }
  return lanes;
}

TrainExecutorOptions ExecutorOptions(const TrainConfig& config) {
  return {.bits = config.bits,
          .bn_momentum = config.bn_momentum,
          .seed = config.seed,
          .fixed_program = true};
}

Trainer::Trainer(Device& device, const Program& program, const Dataset& data, ParamStore& params,
                 const TrainConfig& config)
    : program_(program),
      data_(data),
      params_(params),
      config_(config),
      executor_(device.NewTrainExecutor(params, InputCoding(data.mean, data.stddev, config.bits),
                                        ExecutorOptions(config))) {
  Validate(config);
  Validate(config.augment, data.train.channels);
  const Shape& input = program.InputShape();
  FTT_CHECK(
      input == (Shape{data.train.height, data.train.width, data.train.channels}) &&
          program.classes == data.classes,
      "network {} is built for {}x{}x{} images and {} classes, the data set {} has {}x{}x{} and {}",
      program.ShortName(), input.h, input.w, input.c, program.classes, data.name, data.train.height,
      data.train.width, data.train.channels, data.classes);
  const int64_t all = data.train.Size();
  const int64_t used = config.limit > 0 ? std::min(config.limit, all) : all;
  subset_ = BalancedSubset(data.train.labels, used, config.seed);
  steps_per_epoch_ = used / config.batch;
  FTT_CHECK(steps_per_epoch_ >= 1, "training: {} images do not fill one batch of {}", used,
            config.batch);
}

void EpochSums::Add(const std::vector<LaneResult>& results, bool faulty) {
  loss += results.front().loss;
  correct += results.front().correct;
  if (!faulty) return;
  fault_loss += results.back().loss;
  fault_correct += results.back().correct;
  exposed += static_cast<double>(results.back().faults.exposed);
  delivered += static_cast<double>(results.back().faults.delivered);
}

EpochStats Summarise(const EpochSums& sums, int64_t steps, int batch) {
  EpochStats stats;
  stats.images = steps * batch;
  const auto images = static_cast<double>(stats.images);
  stats.loss = sums.loss / static_cast<double>(steps);
  stats.fault_loss = sums.fault_loss / static_cast<double>(steps);
  stats.accuracy = sums.correct / images;
  stats.fault_accuracy = sums.fault_correct / images;
  stats.delivered_rate = sums.exposed > 0 ? sums.delivered / sums.exposed : 0.0;
  return stats;
}

void Trainer::Restore(int64_t step, const EpochSums& sums) {
  step_ = step;
  sums_ = sums;
}

bool Trainer::RunEpoch(EpochStats* stats,
                       const std::function<bool(int64_t, const EpochSums&)>& progress) {
  const double start = MonotonicSeconds();
  const auto epoch = static_cast<uint32_t>(step_ / steps_per_epoch_);
  const std::vector<uint32_t> order =
      EpochOrder(static_cast<int64_t>(subset_.size()), config_.seed, epoch);
  const int64_t total = steps_per_epoch_ * config_.epochs;
  const int64_t end = steps_per_epoch_ * (epoch + 1);
  const auto first_frozen =
      static_cast<int64_t>(std::llround(static_cast<double>(total) * (1 - config_.freeze_bn)));
  std::vector<uint8_t> labels(static_cast<size_t>(config_.batch));
  std::vector<uint32_t> ids(labels.size());
  float rate = 0;
  while (step_ < end) {
    const int64_t position = step_ % steps_per_epoch_;
    for (size_t k = 0; k < ids.size(); ++k) {
      ids[k] = subset_[order[static_cast<size_t>(position) * ids.size() + k]];
      labels[k] = data_.train.labels[ids[k]];
    }
    const auto key = static_cast<uint32_t>(step_);
    const std::vector<LaneSpec> lanes =
        TrainingLanes(config_.faults, config_.fault_loss_coeff, config_.seed, key);
    const TrainBatch batch{.images = config_.batch,
                           .labels = labels.data(),
                           .image_ids = ids.data(),
                           .step = key,
                           .source = &data_.train,
                           .augment = config_.use_augment ? &config_.augment : nullptr,
                           .augment_seed = config_.seed,
                           .epoch = epoch,
                           .frozen_norm = step_ >= first_frozen};
    rate = LearningRate(config_.schedule, step_, total);
    executor_->Step(program_, batch, lanes, config_.optimizer, rate);
    ++in_flight_;
    ++step_;
    TakeResults(step_ < end ? kStepsAhead : 0);
    if (progress && !progress(position + 1, sums_) && step_ < end) return false;
  }
  *stats = Summarise(sums_, steps_per_epoch_, config_.batch);
  stats->epoch = static_cast<int>(epoch) + 1;
  stats->seconds = MonotonicSeconds() - start;
  stats->learning_rate = rate;
  sums_ = {};
  return true;
}

// Until at most so many are left to take.
void Trainer::TakeResults(int64_t in_flight) {
  while (auto results = executor_->NextResult(in_flight_ > in_flight)) {
    sums_.Add(*results, config_.fault_loss_coeff > 0 && !config_.faults.terms.empty());
    --in_flight_;
  }
}

void Trainer::Synchronize() {
  TakeResults(0);
  executor_->Synchronize();
}

DeployModel Trainer::Deploy() {
  Synchronize();
  const std::vector<int> exponents =
      Calibrate(*executor_, program_, data_.train, config_.calibration_images, config_.batch);
  return Freeze(program_, params_, InputCoding(data_.mean, data_.stddev, config_.bits), exponents,
                config_.bits);
}

double Trainer::TrainModeAccuracy(int64_t limit) {
  const ImageSet& test = data_.test;
  const int64_t n = limit > 0 ? std::min(limit, test.Size()) : test.Size();
  const int batch = static_cast<int>(std::min<int64_t>(config_.batch, n));
  std::vector<uint32_t> ids(static_cast<size_t>(n));
  std::iota(ids.begin(), ids.end(), 0u);
  int64_t correct = 0, seen = 0;
  for (; seen + batch <= n; seen += batch) {
    const TrainBatch b{batch, test.Image(seen), test.labels.data() + seen, ids.data() + seen, 0};
    correct += executor_->Run(program_, b, {LaneSpec{}}, TrainMode::kForward)[0].correct;
  }
  return seen > 0 ? static_cast<double>(correct) / static_cast<double>(seen) : 0.0;
}

std::vector<int> Calibrate(TrainExecutor& executor, const Program& program, const ImageSet& images,
                           int64_t count, int batch) {
  executor.ResetCalibration();
  const int64_t n = std::min(count, images.Size());
  std::vector<uint32_t> ids(static_cast<size_t>(n));
  std::iota(ids.begin(), ids.end(), 0u);
  for (int64_t first = 0; first < n; first += batch) {
    const auto size = static_cast<int>(std::min<int64_t>(batch, n - first));
    const TrainBatch b{size, images.Image(first), images.labels.data() + first, ids.data() + first,
                       0};
    executor.Run(program, b, {LaneSpec{}}, TrainMode::kCalibrate);
  }
  return executor.CalibratedExponents();
}

}  // namespace ftt
