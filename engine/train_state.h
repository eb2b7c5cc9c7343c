// Internal to the host's train executor: everything that lives during one run.
#pragma once

#include <memory>
#include <vector>

#include "core/aligned.h"
#include "engine/memory_plan.h"
#include "engine/norm.h"
#include "engine/train_executor.h"
#include "engine/train_plan.h"
#include "engine/weights.h"
#include "kernels/quantize_math.h"

namespace ftt {

struct HostTrain {
  Backend& backend;
  ParamStore& params;
  InputCoding coding;
  TrainExecutorOptions options;

  // --- of the run in progress ---
  const Program* program = nullptr;
  const TrainBatch* batch = nullptr;
  const std::vector<LaneSpec>* lane_specs = nullptr;
  TrainMode mode = TrainMode::kTrain;
  BatchDims dims;
  std::unique_ptr<LanePlan> lanes;
  std::vector<Param*> bound;                 // by program parameter
  std::vector<int> exponents;                // [value][lane]
  std::vector<WeightCodes> weights;          // by op
  std::vector<std::vector<LaneNorm>> norms;  // by op, [lane]
  std::vector<ChannelStats> stats;
  std::vector<char> has_grad;       // by value
  std::vector<int> shared_grad;     // by value: whose gradient it shares, or itself
  std::vector<char> narrow_grad;    // by value: kept in bfloat16
  std::vector<int> last_writer;     // by value: the op that completes its gradient, -1 where none
  std::vector<NormSums> norm_sums;  // by value
  std::vector<char> relu_only;      // by value: read through a ReLU by all, its mask says so too
  std::vector<uint8_t> keep;        // dropout, [images][features]
  std::vector<uint8_t> made_pixels;
  std::vector<float> logits, grad_logits;

  // --- memory ---
  MemoryPlan plan;
  AlignedBytes arena;
  RawType raw_type = RawType::kInt32;
  std::vector<int64_t> code_at, acc_at, mask_at, grad_at;  // by value, -1 where absent

  // --- results ---
  std::vector<float> gradient;
  std::vector<int64_t> gradient_offset;  // by program parameter, -1 for running statistics
  std::vector<int> calibrated;

  HostTrain(Backend& b, ParamStore& p, InputCoding c, const TrainExecutorOptions& o)
      : backend(b), params(p), coding(std::move(c)), options(o) {}

  std::vector<LaneResult> Run();

  const Op& OpAt(size_t i) const { return program->ops[i]; }
  const Shape& ShapeOf(int value) const { return program->values[static_cast<size_t>(value)]; }
  bool Training() const { return mode == TrainMode::kTrain; }
  float* ParamValue(int index) {
    return index < 0 ? nullptr : bound[static_cast<size_t>(index)]->value.data();
  }
  float* ParamGradient(int index) {
    return index < 0 ? nullptr : gradient.data() + gradient_offset[static_cast<size_t>(index)];
  }
  int* Exponent(int value) { return exponents.data() + static_cast<size_t>(value * dims.lanes); }
  template <typename T>
  T* At(const std::vector<int64_t>& offsets, int value) {
    const int64_t offset = offsets[static_cast<size_t>(value)];
    return offset < 0 ? nullptr : reinterpret_cast<T*>(arena.Data() + offset);
  }
  int8_t* Codes(int value) { return At<int8_t>(code_at, value); }
  RawMap Acc(const Op& op) {
    return {At<std::byte>(acc_at, op.output), StoredAs(op, raw_type),
            RawShift(*program, op, options.bits, raw_type)};
  }
  uint8_t* Mask(int value) { return At<uint8_t>(mask_at, value); }
  GradMap Grad(int value) {
    return {At<std::byte>(grad_at, value), narrow_grad[static_cast<size_t>(value)] != 0};
  }
  bool ReluOnly(int value) const { return relu_only[static_cast<size_t>(value)] != 0; }
  bool SharesGradient(int value) const { return shared_grad[static_cast<size_t>(value)] != value; }
  std::vector<SumInput> SumInputs(const Op& op);
  float LaneUnit(const Op& op, int lane, float scale);

  // train_plan.cc
  void Bind();
  void PlanBuffers();
  // train_executor.cc
  void Forward();
  void PrepareWeights();
  void ForwardWindow(size_t i);
  void ForwardGlobalPool(size_t i);
  void ForwardLinear(size_t i);
  void Quantize(size_t i, const Shape& s);
  std::vector<LaneResult> Loss();
  void UpdateRunningStats(const Op& op, const std::vector<Moments>& moments, double count);
  // train_backward.cc
  void Backward();
  void BackwardOp(size_t i);
  void BackwardSum(const Op& op);
  // What a sum's backward pass does to an input that shares its gradient.
  void CutMaskBySum(int sum, int value);
  NormSums* SumsToCollect(size_t writer, int value);
  // Where to write the gradient of an input, and whether it already holds something; null for the
  // image.
  GradMap GradTarget(int value, bool* accumulate);
};

}  // namespace ftt
