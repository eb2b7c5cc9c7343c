#include "engine/cuda/cuda_train.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "engine/cuda/layout.h"

namespace ftt::cuda {
namespace {

constexpr int kStepsInFlight = 8;
constexpr int kMostLanes = 64;

// A step's results: losses, the gradient's norm, then hits.
int64_t LossBytes(int lanes) { return lanes * static_cast<int64_t>(sizeof(LaneLoss)); }
int64_t HitBytes(int lanes) {
  return lanes * int64_t{kMaxFaultTerms} * static_cast<int64_t>(sizeof(HitCounts));
}

}  // namespace

CudaTrainExecutor::CudaTrainExecutor(ParamStore& params, const InputCoding& coding,
                                     const TrainExecutorOptions& options)
    : staging_(kStepsInFlight), params_(params, stream_.Get()), coding_(coding), options_(options) {
  const auto slot = [] {
    return ResultSlot{
        PinnedMemory(LossBytes(kMostLanes) + HitBytes(kMostLanes) + int64_t{sizeof(double)}), {}};
  };
  for (int i = 0; i < kStepsInFlight; ++i) results_.push_back(slot());
  run_result_.memory = slot().memory;
  hits_.Resize(HitBytes(kMostLanes));
  norm_.Resize(sizeof(double));
}

// Where the images come from: the step's own pixels, or places in a set that lies on the device.
void CudaTrainExecutor::StageImages() {
  const TrainBatch& batch = *batch_;
  input_ = {};
  if (batch.pixels != nullptr) {
    input_.pixels = staging_.Add(batch.pixels, batch.images * program_->InputShape().Elements());
    return;
  }
  const ImageSet& set = *batch.source;
  DeviceMemory& resident = sets_[&set];
  if (resident.Size() == 0) {
    const auto bytes = static_cast<int64_t>(set.pixels.size());
    resident.Resize(bytes);
    CopyToDevice(resident.Data(), set.pixels.data(), bytes, S());
  }
  input_.pixels = resident.Data();
  input_.indices = staged_ids_;
  if (batch.augment == nullptr) return;
  const AugmentOptions& o = *batch.augment;
  Validate(o, set.channels);
  std::vector<ImageMoves> moves;
  for (int i = 0; i < batch.images; ++i)
    moves.push_back(DrawMoves(set, o, batch.augment_seed, batch.epoch, batch.image_ids[i]));
  input_.moves = staging_.Add(moves);
  input_.reflect = o.crop_border == "reflect";
  input_.cutout = o.cutout;
  std::copy(o.cutout_fill.begin(), o.cutout_fill.end(), input_.fill);
}

void CudaTrainExecutor::StageWeights() {
  std::vector<WeightTensor> tensors;
  std::vector<WeightChunk> chunks;
  weight_arguments_ = {};
  for (size_t i = 0; i < ops_.size(); ++i) {
    const Op& op = OpAt(i);
    if (op.weight < 0) continue;
    const OpBuffers& b = ops_[i];
    WeightTensor t;
    t.value = ParamValue(op.weight);
    t.n = static_cast<int>(program_->params[static_cast<size_t>(op.weight)].Elements());
    t.copies = b.copies;
    t.codes = OpMemory<int8_t>(b.codes);
    t.keep = Training() ? OpMemory<uint8_t>(b.keep) : nullptr;
    t.exponent = OpMemory<int>(b.weight_exponent);
    t.faults = faults_->Weights(i);
    for (int first = 0; first < t.n; first += kWeightChunk)
      chunks.push_back({static_cast<int>(tensors.size()), first});
    weight_arguments_.copies = std::max(weight_arguments_.copies, t.copies);
    tensors.push_back(t);
  }
  const uint32_t zero = 0;
  weight_arguments_.tensors = staging_.Add(tensors);
  weight_arguments_.count = static_cast<int>(tensors.size());
  weight_arguments_.chunks = staging_.Add(chunks);
  weight_arguments_.chunk_count = static_cast<int>(chunks.size());
  weight_arguments_.bits = options_.bits;
  weight_arguments_.collects = faults_->Collects();
  weight_arguments_.zero = staging_.Add(&zero, 1);
}

void CudaTrainExecutor::StageOptimizer() {
  std::vector<SgdChunk> chunks;
  for (size_t p = 0; p < places_.size(); ++p) {
    if (gradient_offset_[p] < 0) continue;
    places_[p]->updated = true;
    const auto n = static_cast<int>(program_->params[p].Elements());
    for (int first = 0; first < n; first += kSgdChunk) {
      chunks.push_back({places_[p]->value + first, places_[p]->velocity + first,
                        ParamGradient(static_cast<int>(p)) + first,
                        std::min(kSgdChunk, n - first)});
    }
  }
  sgd_.chunks = staging_.Add(chunks);
  sgd_.count = static_cast<int>(chunks.size());
  if (sgd_partials_.Size() < static_cast<int64_t>(chunks.size() * sizeof(double)))
    sgd_partials_.Resize(2 * static_cast<int64_t>(chunks.size() * sizeof(double)));
  sgd_.partials = sgd_partials_.As<double>();
  sgd_.norm = norm_.As<double>();
}

// Everything that the host has to say about the run, in one copy.
void CudaTrainExecutor::Begin(const Program& program, const TrainBatch& batch,
                              const std::vector<LaneSpec>& lanes, TrainMode mode,
                              const OptimizerOptions* optimizer) {
  FTT_CHECK(!lanes.empty() && lanes.size() <= kMostLanes && batch.images > 0,
            "training step: {} lanes of {} images; 1 to {} lanes of at least one image are "
            "possible",
            lanes.size(), batch.images, kMostLanes);
  CheckSupported(program);
  program_ = &program;
  batch_ = &batch;
  mode_ = mode;
  lanes_ = static_cast<int>(lanes.size());
  images_ = batch.images;
  staging_.Begin();
  const LanePlan plan(program, lanes, options_.bits);
  faults_ = std::make_unique<DeviceFaults>(plan, true, false, hits_.As<HitCounts>(), staging_);
  places_.clear();
  gradient_offset_.clear();
  gradient_floats_ = 0;
  for (const ParamInfo& info : program.params) {
    places_.push_back(&params_.Get(info));
    gradient_offset_.push_back(info.Trained() ? gradient_floats_ : -1);
    if (info.Trained()) gradient_floats_ += info.Elements();
  }
  PlanValues();
  PlanOps();
  StageWeights();
  if (optimizer != nullptr) StageOptimizer();
  if (table_.Size() == 0) {
    const std::vector<int8_t> table = CodeTable(coding_, program.InputShape().c);
    table_.Resize(static_cast<int64_t>(table.size()));
    CopyToDevice(table_.Data(), table.data(), table_.Size(), S());
  }
  staged_labels_ = staging_.Add(batch.labels, batch.images);
  staged_ids_ = staging_.Add(batch.image_ids, batch.images);
  StageImages();
  std::vector<float> weights;
  for (const LaneSpec& lane : lanes) weights.push_back(lane.loss_weight);
  staged_loss_weights_ = staging_.Add(weights);
  staged_input_exponents_ = staging_.Add(std::vector<int>(lanes.size(), coding_.Exponent()));
  staging_.Send(S());
  FillDevice(hits_.Data(), 0, HitBytes(lanes_), S());
  FillDevice(exponents_.Data(), 0, static_cast<int64_t>(program.values.size()) * lanes_ * 4, S());
  if (Training()) FillDevice(gradient_.Data(), 0, 4 * gradient_floats_, S());
}

void CudaTrainExecutor::SendResults(ResultSlot& slot) {
  uint8_t* to = slot.memory.Data();
  CopyToHost(to, losses_.Data(), LossBytes(lanes_), S());
  CopyToHost(to + LossBytes(lanes_), norm_.Data(), sizeof(double), S());
  CopyToHost(to + LossBytes(lanes_) + sizeof(double), hits_.Data(), HitBytes(lanes_), S());
  slot.done.Record(S());
}

std::vector<LaneResult> CudaTrainExecutor::ReadResults(const Pending& pending) {
  const uint8_t* from = pending.slot->memory.Data();
  std::vector<LaneLoss> losses(static_cast<size_t>(pending.lanes));
  std::memcpy(losses.data(), from, static_cast<size_t>(LossBytes(pending.lanes)));
  double norm = 0;
  std::memcpy(&norm, from + LossBytes(pending.lanes), sizeof norm);
  FTT_CHECK(std::isfinite(norm), kDivergedMessage);
  std::vector<HitCounts> hits(static_cast<size_t>(pending.lanes) * kMaxFaultTerms);
  std::memcpy(hits.data(), from + LossBytes(pending.lanes) + sizeof norm,
              static_cast<size_t>(HitBytes(pending.lanes)));
  std::vector<LaneResult> results;
  for (int lane = 0; lane < pending.lanes; ++lane) {
    const LaneLoss& loss = losses[static_cast<size_t>(lane)];
    results.push_back(
        {loss.mean, loss.correct, pending.faults->Total(lane, hits.data(), pending.images)});
  }
  return results;
}

std::vector<LaneResult> CudaTrainExecutor::Run(const Program& program, const TrainBatch& batch,
                                               const std::vector<LaneSpec>& lanes, TrainMode mode) {
  Begin(program, batch, lanes, mode, nullptr);
  FillDevice(norm_.Data(), 0, sizeof(double), S());
  Forward();
  if (Training()) Backward();
  const Pending pending{std::move(faults_), lanes_, images_, &run_result_};
  SendResults(run_result_);
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
  FTT_CHECK(optimizer.kind == "sgd",
            "optimizer '{}': the cuda backend has sgd only; use it or "
            "--backend cpu",
            optimizer.kind);
  if (pending_.size() == results_.size()) finished_.push_back(TakePending());
  Begin(program, batch, lanes, TrainMode::kTrain, &optimizer);
  Forward();
  Backward();
  sgd_.rate = learning_rate;
  sgd_.momentum = optimizer.momentum;
  sgd_.nesterov = optimizer.nesterov;
  sgd_.weight_decay = optimizer.weight_decay;
  sgd_.clip = optimizer.clip;
  SgdStep(sgd_, S());
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
  std::vector<float> gradient(static_cast<size_t>(gradient_floats_));
  CopyToHost(gradient.data(), gradient_.Data(), 4 * gradient_floats_, S());
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
