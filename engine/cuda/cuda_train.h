// Train mode on a GPU: everything stays on the device, the host only enqueues.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "engine/cuda/device_faults.h"
#include "engine/cuda/device_params.h"
#include "engine/memory_plan.h"
#include "engine/optimizer.h"
#include "engine/train_executor.h"
#include "kernels/cuda/gradient.h"
#include "kernels/cuda/head.h"
#include "kernels/cuda/input.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/cuda/weights.h"

namespace ftt::cuda {

// A step enqueues one copy to the device, the kernels, and one copy of the results back. It makes
// the host wait only where it is kStepsInFlight steps ahead, and allocates only where a program
// needs more memory than those before.
class CudaTrainExecutor final : public TrainExecutor {
 public:
  CudaTrainExecutor(ParamStore& params, const InputCoding& coding,
                    const TrainExecutorOptions& options);

  std::vector<LaneResult> Run(const Program& program, const TrainBatch& batch,
                              const std::vector<LaneSpec>& lanes, TrainMode mode) override;
  std::vector<float> Gradient() override;
  void Step(const Program& program, const TrainBatch& batch, const std::vector<LaneSpec>& lanes,
            const OptimizerOptions& optimizer, float learning_rate) override;
  std::optional<std::vector<LaneResult>> NextResult(bool wait) override;
  void Synchronize() override;
  const std::vector<int>& CalibratedExponents() const override { return calibrated_; }
  void ResetCalibration() override { calibrated_.clear(); }
  int64_t ArenaBytes() const override { return plan_.total; }
  int64_t ArenaLowerBound() const override { return plan_.lower_bound; }
  const std::vector<float>& Logits() override;

 private:
  // What an op needs beside its values, as bytes into op_memory_.
  struct OpBuffers {
    int64_t codes = 0, keep = 0, packed = 0, packed_grad = 0;  // weights
    int64_t weight_exponent = 0;
    int64_t scale = 0, shift = 0, mean = 0, inv_std = 0, variance = 0, unit = 0, grad_map = 0;
    int copies = 1;  // of the weights
  };
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

  // cuda_train.cc
  void Begin(const Program& program, const TrainBatch& batch, const std::vector<LaneSpec>& lanes,
             TrainMode mode, const OptimizerOptions* optimizer);
  void StageImages();
  void StageWeights();
  void StageOptimizer();
  void SendResults(ResultSlot& slot);
  std::vector<LaneResult> ReadResults(const Pending& pending);
  std::vector<LaneResult> TakePending();
  // cuda_train_plan.cc
  void PlanValues();
  void PlanOps();
  // cuda_train_forward.cc
  void Forward();
  void QuantizeAllWeights();
  void ForwardWindow(size_t i);
  void ForwardSum(const Op& op);
  void ForwardGlobalPool(size_t i);
  void ForwardLinear(size_t i);
  void ForwardSeparable(size_t depthwise, size_t pointwise);
  void Finish(size_t i, const MapShape& shape, const ChannelMoments* partials, int blocks,
              float unit_scale);
  void QuantizeRaw(size_t i, const MapShape& shape, RawType raw_type, int raw_shift);
  void Loss();
  // cuda_train_backward.cc
  void Backward();
  void BackwardOp(size_t i);
  OutputGradient BackwardNorm(size_t i);
  void BackwardWindow(size_t i);
  void BackwardSum(const Op& op);
  void BackwardLinear(size_t i);
  float* GradTarget(int value, bool* accumulate);

  bool Training() const { return mode_ == TrainMode::kTrain; }
  const Op& OpAt(size_t i) const { return program_->ops[i]; }
  const Shape& ShapeOf(int value) const { return program_->values[static_cast<size_t>(value)]; }
  MapShape Map(int value) const;
  RawType StoredAs(const Op& op) const;  // raw outputs
  int RawShift(const Op& op) const;
  template <typename T>
  T* At(const std::vector<int64_t>& offsets, int value) {
    const int64_t offset = offsets[static_cast<size_t>(value)];
    return offset < 0 ? nullptr : reinterpret_cast<T*>(arena_.Data() + offset);
  }
  int8_t* Codes(int value) { return At<int8_t>(code_at_, value); }
  void* Raw(int value) { return At<void>(raw_at_, value); }
  uint8_t* Mask(int value) { return At<uint8_t>(mask_at_, value); }
  float* Grad(int value) { return At<float>(grad_at_, value); }
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
                     : gradient_.As<float>() + gradient_offset_[static_cast<size_t>(index)];
  }
  DeviceStream S() const { return stream_.Get(); }

  Stream stream_;
  Staging staging_;
  DeviceParams params_;
  InputCoding coding_;
  TrainExecutorOptions options_;

  // --- of the run that is being enqueued ---
  const Program* program_ = nullptr;
  const TrainBatch* batch_ = nullptr;
  TrainMode mode_ = TrainMode::kTrain;
  int lanes_ = 0, images_ = 0;
  std::unique_ptr<DeviceFaults> faults_;
  std::vector<DeviceParams::Place*> places_;  // by program parameter
  std::vector<int64_t> gradient_offset_;      // by program parameter, floats; -1: not trained
  int64_t gradient_floats_ = 0;
  std::vector<OpBuffers> ops_;
  std::vector<int> partners_;   // SeparablePartners
  std::vector<char> has_grad_;  // by value: 0 none, 1 wanted, 2 written
  MemoryPlan plan_;
  std::vector<int64_t> code_at_, raw_at_, mask_at_, grad_at_;  // by value, -1 where absent
  EncodeArguments input_;
  WeightArguments weight_arguments_;
  SgdArguments sgd_;
  // In the step's staging block.
  const uint8_t* staged_labels_ = nullptr;
  const uint32_t* staged_ids_ = nullptr;
  const float* staged_loss_weights_ = nullptr;
  const int* staged_input_exponents_ = nullptr;

  // --- device memory ---
  DeviceMemory arena_, op_memory_, scratch_, exponents_, gradient_, table_, hits_, norm_;
  DeviceMemory logits_memory_, grad_logits_, losses_, keep_, sgd_partials_;
  int64_t scratch_bytes_ = 0;

  // --- results ---
  std::map<const ImageSet*, DeviceMemory> sets_;  // data sets, resident

  std::vector<ResultSlot> results_;  // of steps, in turn
  ResultSlot run_result_;
  std::deque<Pending> pending_;
  std::deque<std::vector<LaneResult>> finished_;  // taken early, because their slot was needed
  size_t next_slot_ = 0;
  std::vector<int> calibrated_;
  std::vector<float> logits_;
};

}  // namespace ftt::cuda
