// Train mode on a GPU: everything stays on the device, the host only enqueues.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "engine/cuda/device_faults.h"
#include "engine/cuda/device_params.h"
#include "engine/cuda/graph_cache.h"
#include "engine/cuda/layout.h"
#include "engine/cuda/train_layout.h"
#include "engine/optimizer.h"
#include "engine/train_executor.h"
#include "kernels/cuda/conv_backward.h"
#include "kernels/cuda/depthwise_backward.h"
#include "kernels/cuda/gradient.h"
#include "kernels/cuda/head.h"
#include "kernels/cuda/input.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/weights.h"

namespace ftt::cuda {

// A step enqueues one copy to the device, the kernels - with options.fixed_program as a graph -,
// and one copy of the results back. It makes the host wait only where it is kStepsInFlight steps
// ahead, and allocates only where a program needs more memory than those before.
class CudaTrainExecutor final : public TrainExecutor {
 public:
  // graphs: false enqueues kernel by kernel whatever the options say.
  CudaTrainExecutor(ParamStore& params, const InputCoding& coding,
                    const TrainExecutorOptions& options, bool graphs);

  std::vector<LaneResult> Run(const Program& program, const TrainBatch& batch,
                              const std::vector<LaneSpec>& lanes, TrainMode mode,
                              const Meanwhile& meanwhile) override;
  std::vector<float> Gradient() override;
  void Prepare(const Program& program, const std::vector<LaneSpec>& lanes, int images) override;
  void Step(const Program& program, const TrainBatch& batch, const std::vector<LaneSpec>& lanes,
            const OptimizerOptions& optimizer, float learning_rate) override;
  std::optional<std::vector<LaneResult>> NextResult(bool wait) override;
  void Synchronize() override;
  const std::vector<int>& CalibratedExponents() const override { return calibrated_; }
  void ResetCalibration() override { calibrated_.clear(); }
  int64_t ArenaBytes() const override { return layout_.values.total; }
  int64_t ArenaLowerBound() const override { return layout_.values.lower_bound; }
  const std::vector<float>& Logits() override;

  // Device memory that every executor has, beside what depends on the program.
  static int64_t OwnBytes();

 private:
  struct ResultSlot {
    PinnedMemory memory;
    Event done;
  };
  // A run whose results the host has not taken yet.
  struct Pending {
    std::unique_ptr<DeviceFaults> faults;
    int lanes = 0, images = 0;
    ResultSlot* slot = nullptr;
  };

  // What follows from the program, the lanes, the number of images and the mode alone.
  struct RunPlan {
    LanePlan faults;
    uint64_t hash;  // of the program
    TrainShape shape;
    std::optional<TrainLayout> layout;  // where it has been worked out already
  };
  struct PreparedStep {
    const Program* program;
    std::vector<LaneSpec> lanes;
    RunPlan plan;
  };

  // cuda_train.cc
  void Begin(const Program& program, const TrainBatch& batch, const std::vector<LaneSpec>& lanes,
             TrainMode mode, const OptimizerOptions* optimizer, float learning_rate);
  void Enqueue();
  GraphKey StepKey() const;
  void SendResults(ResultSlot& slot);
  std::vector<LaneResult> ReadResults(const Pending& pending);
  std::vector<LaneResult> TakePending();
  // cuda_train_stage.cc
  RunPlan PlanRun(const Program& program, const std::vector<LaneSpec>& lanes, int images,
                  TrainMode mode) const;
  RunPlan TakePlan(const std::vector<LaneSpec>& lanes);
  void Bind(RunPlan& plan);
  void Reserve(DeviceMemory& memory, int64_t bytes) const;
  void Allocate();
  void StageImages();
  void StageWeights();
  void StageReductions();
  void StageOptimizer(const OptimizerOptions& optimizer, float learning_rate);
  // cuda_train_forward.cc
  void Forward();
  void QuantizeAllWeights();
  void ForwardWindow(size_t i);
  void ForwardSum(const Op& op);
  void ForwardGlobalPool(size_t i);
  void ForwardLinear(size_t i);
  void Finish(size_t i, const MapShape& shape, float unit_scale);
  void QuantizeRaw(size_t i, const MapShape& shape, RawType raw_type, int raw_shift);
  void Loss();
  // cuda_train_backward.cc
  void Backward();
  void BackwardOp(size_t i);
  OutputGradient BackwardNorm(size_t i);
  void BackwardWindow(size_t i);
  void ReducePartials(bool depthwise);
  void StartWeightGrads();
  void EndWeightGrads(size_t i);
  void AwaitWeightGrads(size_t i);
  void BackwardSum(const Op& op);
  void BackwardLinear(size_t i);
  Bf16* GradTarget(int value, bool* accumulate);

  bool Training() const { return mode_ == TrainMode::kTrain; }
  const Op& OpAt(size_t i) const { return program_->ops[i]; }
  const Shape& ShapeOf(int value) const { return program_->values[static_cast<size_t>(value)]; }
  MapShape Map(int value) const { return MapOf(ShapeOf(value), lanes_, images_); }
  RawType StoredAs(const Op& op) const {
    return ftt::StoredAs(op, TrainingRaw(options_.exact_raw));
  }
  int RawShift(const Op& op) const {
    return ftt::RawShift(*program_, op, options_.bits, TrainingRaw(options_.exact_raw));
  }
  template <typename T>
  T* At(const std::vector<int64_t>& offsets, int value) {
    const int64_t offset = offsets[static_cast<size_t>(value)];
    return offset < 0 ? nullptr : reinterpret_cast<T*>(arena_.Data() + offset);
  }
  int8_t* Codes(int value) { return At<int8_t>(layout_.code_at, value); }
  void* Raw(int value) { return At<void>(layout_.raw_at, value); }
  uint8_t* Mask(int value) { return At<uint8_t>(layout_.mask_at, value); }
  Bf16* Grad(int value) { return At<Bf16>(layout_.grad_at, value); }
  bool SharesGrad(int value) const {
    return layout_.shared_grads[static_cast<size_t>(value)] != value;
  }
  int* Exponent(int value) { return exponents_.As<int>() + int64_t{value} * lanes_; }
  template <typename T>
  T* OpMemory(int64_t offset) {
    return reinterpret_cast<T*>(op_memory_.Data() + offset);
  }
  float* ParamValue(int index) {
    return index < 0 ? nullptr : places_[static_cast<size_t>(index)]->value;
  }
  float* ParamGradient(int index) {
    return index < 0 ? nullptr
                     : gradient_.As<float>() + layout_.gradient_offset[static_cast<size_t>(index)];
  }
  // The weight gradient of a convolution, as partial sums; without grad_y.
  template <typename Arguments>
  Arguments WeightGradOf(size_t i) {
    const Op& op = OpAt(i);
    const OpBuffers& b = layout_.ops[i];
    const int input = op.inputs[0].value;
    Arguments a;
    a.geometry = GeometryOf(*program_, op, lanes_, images_);
    a.x = Codes(input);
    a.x_exponent = Exponent(input);
    a.keep = OpMemory<uint8_t>(b.keep);
    a.one_weight = b.copies == 1;
    a.scratch = reinterpret_cast<float*>(weight_partials_.Data() + b.weight_partials);
    a.grad_w = ParamGradient(op.weight);
    a.reduces = false;
    return a;
  }
  // A step's results lie one behind the other: the gradient's norm, losses, hits.
  double* Norm() { return outcome_.As<double>(); }
  LaneLoss* Losses() { return reinterpret_cast<LaneLoss*>(Norm() + 1); }
  HitCounts* Hits() { return reinterpret_cast<HitCounts*>(Losses() + lanes_); }
  DeviceStream S() const { return stream_.Get(); }

  Stream stream_{true}, weight_stream_;
  Milestone ready_;                                     // what weight gradients read
  std::array<Milestone, kWeightLag + 1> weights_done_;  // by op, in turn
  Staging staging_;
  DeviceParams params_;
  InputCoding coding_;
  TrainExecutorOptions options_;
  GraphCache graphs_;

  std::optional<PreparedStep> prepared_;

  // --- of the run that is being enqueued ---
  const Program* program_ = nullptr;
  const TrainBatch* batch_ = nullptr;
  TrainMode mode_ = TrainMode::kTrain;
  int lanes_ = 0, images_ = 0;
  std::unique_ptr<DeviceFaults> faults_;
  uint64_t program_hash_ = 0;
  std::vector<DeviceParams::Place*> places_;  // by program parameter
  TrainShape shape_;
  TrainLayout layout_;
  std::vector<char> has_grad_;  // by value: 0 none, 1 wanted, 2 written
  EncodeArguments input_;
  WeightArguments weight_arguments_;
  PackArguments pack_arguments_;
  // In the order of the backward pass: first those of depthwise convolutions, then, from
  // dense_reductions_ on, of dense ones.
  std::vector<WeightReduceTables> reductions_;
  size_t dense_reductions_ = 0;
  size_t next_depthwise_ = 0, next_dense_ = 0;
  std::deque<size_t> weights_pending_;  // ops whose weight gradients are under way
  std::variant<std::monostate, SgdArguments, AdamArguments> update_;
  // In the step's staging block.
  const uint32_t* staged_step_ = nullptr;
  const uint8_t* staged_labels_ = nullptr;
  const uint32_t* staged_ids_ = nullptr;
  const float* staged_loss_weights_ = nullptr;
  const int* staged_input_exponents_ = nullptr;

  // --- device memory ---
  DeviceMemory arena_, op_memory_, scratch_, weight_partials_, exponents_, gradient_, table_,
      outcome_;
  DeviceMemory logits_memory_, grad_logits_, keep_, partials_, moments_, strikes_;
  std::map<const ImageSet*, DeviceMemory> sets_;  // data sets, resident

  // --- results ---
  std::vector<ResultSlot> results_;  // of steps, in turn
  ResultSlot run_result_;
  std::deque<Pending> pending_;
  std::deque<std::vector<LaneResult>> finished_;  // taken early, because their slot was needed
  size_t next_slot_ = 0;
  std::vector<int> calibrated_;
  std::vector<float> logits_;
};

}  // namespace ftt::cuda
