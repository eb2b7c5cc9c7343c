#include "engine/cuda/cuda_train.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "kernels/cuda/norm.h"

namespace ftt::cuda {
namespace {

constexpr int kStepsInFlight = 8;
constexpr int kMostLanes = 64;

// A step's results: the gradient's norm, losses, hits.
int64_t LossBytes(int lanes) { return lanes * static_cast<int64_t>(sizeof(LaneLoss)); }
int64_t HitBytes(int lanes) {
  return lanes * int64_t{kMaxFaultTerms} * static_cast<int64_t>(sizeof(HitCounts));
}
int64_t OutcomeBytes(int lanes) {
  return static_cast<int64_t>(sizeof(double)) + LossBytes(lanes) + HitBytes(lanes);
}

}  // namespace

CudaTrainExecutor::CudaTrainExecutor(ParamStore& params, const InputCoding& coding,
                                     const TrainExecutorOptions& options, bool graphs)
    : staging_(kStepsInFlight),
      params_(params, stream_.Get()),
      coding_(coding),
      options_(options),
      graphs_(graphs && options.fixed_program),
      outcome_(OutcomeBytes(kMostLanes)) {
  const auto slot = [] { return ResultSlot{PinnedMemory(OutcomeBytes(kMostLanes)), {}}; };
  for (int i = 0; i < kStepsInFlight; ++i) results_.push_back(slot());
  run_result_.memory = slot().memory;
}

int64_t CudaTrainExecutor::OwnBytes() { return OutcomeBytes(kMostLanes) + kMaxInputChannels * 256; }

// Everything that the host has to say about the run, in one copy.
void CudaTrainExecutor::Begin(const Program& program, const TrainBatch& batch,
                              const std::vector<LaneSpec>& lanes, TrainMode mode,
                              const OptimizerOptions* optimizer, float learning_rate) {
  FTT_CHECK(!lanes.empty() && lanes.size() <= kMostLanes && batch.images > 0,
            "training step: {} lanes of {} images; 1 to {} lanes of at least one image are "
            "possible",
            lanes.size(), batch.images, kMostLanes);
  program_ = &program;
  batch_ = &batch;
  mode_ = mode;
  lanes_ = static_cast<int>(lanes.size());
  images_ = batch.images;
  staging_.Begin();
  RunPlan plan = TakePlan(lanes);
  faults_ = std::make_unique<DeviceFaults>(plan.faults, true, false, Hits(), staging_);
  Bind(plan);
  Reserve(strikes_, faults_->StrikeBytes(images_));
  faults_->PlaceStrikes(strikes_.As<uint32_t>(), images_);
  StageWeights();
  reductions_.clear();
  if (Training()) StageReductions();
  update_ = std::monostate{};
  if (optimizer != nullptr) StageOptimizer(*optimizer, learning_rate);
  if (table_.Size() == 0) {
    const std::vector<int8_t> table = CodeTable(coding_, program.InputShape().c);
    table_.Resize(static_cast<int64_t>(table.size()));
    CopyToDevice(table_.Data(), table.data(), table_.Size(), S());
  }
  staged_step_ = staging_.Add(&batch.step, 1);
  staged_labels_ = staging_.Add(batch.labels, batch.images);
  staged_ids_ = staging_.Add(batch.image_ids, batch.images);
  StageImages();
  std::vector<float> weights;
  for (const LaneSpec& lane : lanes) weights.push_back(lane.loss_weight);
  staged_loss_weights_ = staging_.Add(weights);
  staged_input_exponents_ = staging_.Add(std::vector<int>(lanes.size(), coding_.Exponent()));
  staging_.Send(S());
}

// The run itself. What differs between two steps with one StepKey comes from device memory.
void CudaTrainExecutor::Enqueue() {
  FillDevice(outcome_.Data(), 0, OutcomeBytes(lanes_), S());
  FillDevice(exponents_.Data(), 0, layout_.exponents, S());
  FillDevice(moments_.Data(), 0, layout_.moments, S());
  has_grad_ = layout_.wants_grad;
  if (Training()) FillDevice(gradient_.Data(), 0, 4 * layout_.gradient_floats, S());
  Forward();
  if (Training()) Backward();
  if (const auto* sgd = std::get_if<SgdArguments>(&update_)) SgdStep(*sgd, S());
  if (const auto* adam = std::get_if<AdamArguments>(&update_)) AdamStep(*adam, S());
}

GraphKey CudaTrainExecutor::StepKey() const {
  GraphKey key;
  key.AddAll(program_hash_, program_->dropout, lanes_, images_, batch_->frozen_norm);
  for (const DeviceMemory* memory :
       {&arena_, &op_memory_, &scratch_, &weight_partials_, &moments_, &exponents_, &gradient_,
        &table_, &outcome_, &logits_memory_, &grad_logits_, &keep_})
    key.Add(memory->Data());
  key.AddAll(staged_step_, staged_labels_, staged_ids_, staged_loss_weights_,
             staged_input_exponents_);
  key.AddAll(input_.pixels, input_.indices, input_.moves, input_.reflect, input_.cutout);
  for (const uint8_t fill : input_.fill) key.Add(fill);
  const WeightArguments& w = weight_arguments_;
  key.AddAll(w.tensors, w.count, w.chunks, w.chunk_count, w.copies, w.collects, w.zero);
  const PackArguments& p = pack_arguments_;
  key.AddAll(p.jobs, p.chunks, p.chunk_count, p.copies);
  for (const WeightReduceTables& r : reductions_) key.AddAll(r.jobs, r.chunks, r.chunk_count);
  const auto add = [&](const UpdateArguments& u) {
    key.AddAll(u.chunks, u.count, u.rate, u.weight_decay, u.clip, u.partials);
  };
  key.Add(update_.index());
  if (const auto* sgd = std::get_if<SgdArguments>(&update_)) {
    add(sgd->update);
    key.AddAll(sgd->momentum, sgd->nesterov);
  }
  if (const auto* adam = std::get_if<AdamArguments>(&update_)) {
    add(adam->update);
    key.AddAll(adam->beta1, adam->beta2, adam->epsilon);
  }
  faults_->AddTo(key);
  return key;
}

void CudaTrainExecutor::SendResults(ResultSlot& slot) {
  CopyToHost(slot.memory.Data(), outcome_.Data(), OutcomeBytes(lanes_), S());
  slot.done.Record(S());
}

std::vector<LaneResult> CudaTrainExecutor::ReadResults(const Pending& pending) {
  const uint8_t* from = pending.slot->memory.Data();
  double norm = 0;
  std::memcpy(&norm, from, sizeof norm);
  FTT_CHECK(std::isfinite(norm), kDivergedMessage);
  from += sizeof norm;
  std::vector<LaneLoss> losses(static_cast<size_t>(pending.lanes));
  std::memcpy(losses.data(), from, static_cast<size_t>(LossBytes(pending.lanes)));
  from += LossBytes(pending.lanes);
  std::vector<HitCounts> hits(static_cast<size_t>(pending.lanes) * kMaxFaultTerms);
  std::memcpy(hits.data(), from, static_cast<size_t>(HitBytes(pending.lanes)));
  std::vector<LaneResult> results;
  for (int lane = 0; lane < pending.lanes; ++lane) {
    const LaneLoss& loss = losses[static_cast<size_t>(lane)];
    results.push_back(
        {loss.mean, loss.correct, pending.faults->Total(lane, hits.data(), pending.images)});
  }
  return results;
}

std::vector<LaneResult> CudaTrainExecutor::Run(const Program& program, const TrainBatch& batch,
                                               const std::vector<LaneSpec>& lanes, TrainMode mode,
                                               const Meanwhile& meanwhile) {
  Begin(program, batch, lanes, mode, nullptr, 0);
  Enqueue();
  const Pending pending{std::move(faults_), lanes_, images_, &run_result_};
  SendResults(run_result_);
  if (meanwhile) meanwhile();
  if (mode == TrainMode::kCalibrate) {
    std::vector<int> exponents(program.values.size() * static_cast<size_t>(lanes_));
    CopyToHost(exponents.data(), exponents_.Data(), static_cast<int64_t>(4 * exponents.size()),
               S());
    stream_.Wait();
    calibrated_.resize(program.values.size(), -1000);
    for (size_t v = 0; v < calibrated_.size(); ++v) {
      calibrated_[v] = std::max(calibrated_[v], exponents[v * static_cast<size_t>(lanes_)]);
    }
  }
  run_result_.done.Wait();
  return ReadResults(pending);
}

void CudaTrainExecutor::Step(const Program& program, const TrainBatch& batch,
                             const std::vector<LaneSpec>& lanes, const OptimizerOptions& optimizer,
                             float learning_rate) {
  Validate(optimizer);
  if (pending_.size() == results_.size()) finished_.push_back(TakePending());
  Begin(program, batch, lanes, TrainMode::kTrain, &optimizer, learning_rate);
  graphs_.Run(StepKey(), S(), [this] { Enqueue(); });
  ResultSlot& slot = results_[next_slot_];
  next_slot_ = (next_slot_ + 1) % results_.size();
  SendResults(slot);
  pending_.push_back({std::move(faults_), lanes_, images_, &slot});
}

std::optional<std::vector<LaneResult>> CudaTrainExecutor::NextResult(bool wait) {
  if (!finished_.empty()) {
    std::vector<LaneResult> result = std::move(finished_.front());
    finished_.pop_front();
    return result;
  }
  if (pending_.empty()) return std::nullopt;
  if (!wait && !pending_.front().slot->done.Done()) return std::nullopt;
  return TakePending();
}

// Waits for the oldest step.
std::vector<LaneResult> CudaTrainExecutor::TakePending() {
  const Pending pending = std::move(pending_.front());
  pending_.pop_front();
  pending.slot->done.Wait();
  return ReadResults(pending);
}

void CudaTrainExecutor::Synchronize() {
  params_.Download();
  stream_.Wait();
}

std::vector<float> CudaTrainExecutor::Gradient() {
  std::vector<float> gradient(static_cast<size_t>(layout_.gradient_floats));
  CopyToHost(gradient.data(), gradient_.Data(), 4 * layout_.gradient_floats, S());
  stream_.Wait();
  return gradient;
}

const std::vector<float>& CudaTrainExecutor::Logits() {
  logits_.resize(static_cast<size_t>(int64_t{lanes_} * images_ * program_->classes));
  CopyToHost(logits_.data(), logits_memory_.Data(), static_cast<int64_t>(4 * logits_.size()), S());
  stream_.Wait();
  return logits_;
}

}  // namespace ftt::cuda
