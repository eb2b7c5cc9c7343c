// Backward pass of the device's train executor: the program in reverse.
#include <algorithm>

#include "engine/cuda/cuda_train.h"
#include "engine/cuda/layout.h"
#include "kernels/cuda/backward.h"
#include "kernels/cuda/conv_backward.h"
#include "kernels/cuda/conv_data_grad.h"
#include "kernels/cuda/depthwise_backward.h"
#include "kernels/cuda/pool_backward.h"

namespace ftt::cuda {

Bf16* CudaTrainExecutor::GradTarget(int value, bool* accumulate) {
  if (value == 0) return nullptr;
  char& written = has_grad_[static_cast<size_t>(value)];
  *accumulate = written == 2;
  written = 2;
  return Grad(value);
}

// Gradient of the codes -> gradient of the real output: in place, unless others share it. Kernels
// of depthwise convolutions apply mask and map where they load it.
OutputGradient CudaTrainExecutor::BackwardNorm(size_t i) {
  const Op& op = OpAt(i);
  const OpBuffers& b = layout_.ops[i];
  NormBackwardArguments n;
  n.shape = Map(op.output);
  n.raw_type = StoredAs(op);
  n.raw_shift = RawShift(op);
  n.raw = Raw(op.output);
  if (op.batch_norm) {
    n.mean = OpMemory<float>(b.mean);
    n.inv_std = OpMemory<float>(b.inv_std);
    n.unit = OpMemory<float>(b.unit);
    n.gamma = ParamValue(op.gamma);
    n.frozen = batch_->frozen_norm;
    n.grad_gamma = ParamGradient(op.gamma);
  }
  n.grad_beta = ParamGradient(op.batch_norm ? op.beta : op.bias);
  n.mask = Mask(op.output);
  n.grad = Grad(op.output);
  n.partials = scratch_.As<GradSums>();
  n.map = OpMemory<float>(b.grad_map);
  const OutputGradient deferred = NormBackward(n, S());
  if (IsDepthwise(op)) return deferred;
  Bf16* own = At<Bf16>(layout_.mapped_at, op.output);
  Bf16* mapped = own != nullptr ? own : Grad(op.output);
  MapGradient(n.shape, deferred, mapped, S());
  OutputGradient y;
  y.grad = mapped;
  return y;
}

// --- weight gradients of dense convolutions, beside the rest of the pass -------------------------
// Nothing but the optimizer waits for them, and neither they nor the gradients of the data fill a
// device alone.

// The partial sums that are there become weight gradients.
void CudaTrainExecutor::ReducePartials(bool depthwise) {
  if (depthwise) {
    ReduceWeightGrads(reductions_[next_depthwise_++], S());
  } else {
    ReduceWeightGrads(reductions_[next_dense_++], weight_stream_.Get());
  }
}

// Their stream waits for what they read.
void CudaTrainExecutor::StartWeightGrads() {
  ready_.Record(S());
  ready_.HoldBack(weight_stream_.Get());
}

void CudaTrainExecutor::EndWeightGrads(size_t i) {
  weights_done_[i % weights_done_.size()].Record(weight_stream_.Get());
  weights_pending_.push_back(i);
}

// Op i may overwrite what those of ops beyond the lag read.
void CudaTrainExecutor::AwaitWeightGrads(size_t i) {
  while (!weights_pending_.empty() && weights_pending_.front() > i + kWeightLag) {
    weights_done_[weights_pending_.front() % weights_done_.size()].HoldBack(S());
    weights_pending_.pop_front();
  }
}

void CudaTrainExecutor::BackwardWindow(size_t i) {
  const OutputGradient y = BackwardNorm(i);
  const Op& op = OpAt(i);
  const OpBuffers& b = layout_.ops[i];
  const WindowGeometry g = GeometryOf(*program_, op, lanes_, images_);
  const int input = op.inputs[0].value;
  const int8_t* x = Codes(input);
  bool accumulate = false;
  Bf16* target = GradTarget(input, &accumulate);
  if (op.kind == OpKind::kPool) {
    if (target == nullptr) return;
    const PoolType type = op.pool == PoolKind::kMax ? PoolType::kMax : PoolType::kAverage;
    PoolBackward({g, type, x, y.grad, target, accumulate}, S());
    return;
  }
  const bool one = b.copies == 1;
  const int* weight_exponent = OpMemory<int>(b.weight_exponent);
  if (b.restarts_partials) ReducePartials(IsDepthwise(op));
  if (IsDepthwise(op)) {
    auto both = WeightGradOf<DepthwiseGradArguments>(i);
    both.weights = OpMemory<int8_t>(b.codes);
    both.weight_exponent = weight_exponent;
    both.grad_y = y;
    both.grad_x = target;
    both.accumulate = accumulate;
    DepthwiseGrad(both, S());
    return;
  }
  auto weights = WeightGradOf<ConvWeightGradArguments>(i);
  weights.grad_y = y.grad;
  StartWeightGrads();
  ConvWeightGrad(weights, weight_stream_.Get());
  EndWeightGrads(i);
  if (target != nullptr) {
    ConvDataGrad(
        {g, x, OpMemory<Bf16>(b.packed_grad), one, weight_exponent, y.grad, target, accumulate},
        S());
  }
}

void CudaTrainExecutor::BackwardSum(const Op& op) {
  const bool concat = op.kind == OpKind::kConcat;
  std::vector<SumBackwardArguments> inputs;  // of the next launch
  CutMasksArguments cut{Map(op.output), Mask(op.output)};
  const auto flush = [&] {
    SumBackwardAll(inputs, cut, S());
    inputs.clear();
    cut.count = 0;
  };
  int offset = 0;
  for (const OpInput& in : op.inputs) {
    if (SharesGrad(in.value)) {
      has_grad_[static_cast<size_t>(in.value)] = 2;
      cut.masks[cut.count++] = Mask(in.value);
      continue;
    }
    bool accumulate = false;
    const int channels = ShapeOf(in.value).c;
    Bf16* target = GradTarget(in.value, &accumulate);
    const auto conflicts = [&](const SumBackwardArguments& other) {
      return other.grad_x == target || other.channels != channels;
    };
    if (std::any_of(inputs.begin(), inputs.end(), conflicts)) flush();
    if (target != nullptr) {
      inputs.push_back({Map(op.output), channels, concat ? offset : 0, in.relu, Codes(in.value),
                        Mask(op.output), Grad(op.output), target, accumulate});
    }
    offset += channels;
  }
  flush();
}

void CudaTrainExecutor::BackwardLinear(size_t i) {
  const Op& op = OpAt(i);
  const OpBuffers& b = layout_.ops[i];
  const int input = op.inputs[0].value;
  const bool drop = program_->dropout > 0;
  LinearBackwardArguments a;
  a.lanes = lanes_;
  a.images = images_;
  a.in = static_cast<int>(ShapeOf(input).Elements());
  a.out = program_->classes;
  a.x = Codes(input);
  a.x_exponent = Exponent(input);
  a.weights = OpMemory<int8_t>(b.codes);
  a.weight_keep = OpMemory<uint8_t>(b.keep);
  a.one_weight = b.copies == 1;
  a.weight_exponent = OpMemory<int>(b.weight_exponent);
  a.keep = drop ? keep_.As<uint8_t>() : nullptr;
  a.keep_scale = drop ? 1.0f / (1.0f - program_->dropout) : 1.0f;
  a.grad_logits = grad_logits_.As<float>();
  bool accumulate = false;
  a.grad_x = GradTarget(input, &accumulate);
  a.grad_w = ParamGradient(op.weight);
  a.grad_bias = ParamGradient(op.bias);
  LinearBackward(a, S());
}

void CudaTrainExecutor::BackwardOp(size_t i) {
  const Op& op = OpAt(i);
  switch (op.kind) {
    case OpKind::kConv:
    case OpKind::kPool:
      return BackwardWindow(i);
    case OpKind::kAdd:
    case OpKind::kConcat:
      return BackwardSum(op);
    case OpKind::kGlobalPool: {
      const OpInput& in = op.inputs[0];
      bool accumulate = false;
      Bf16* target = GradTarget(in.value, &accumulate);
      if (target == nullptr) return;
      GlobalSumBackward({Map(in.value), in.relu, Codes(in.value), Mask(op.output), Grad(op.output),
                         target, accumulate},
                        S());
      return;
    }
    case OpKind::kLinear:
      return BackwardLinear(i);
  }
}

void CudaTrainExecutor::Backward() {
  next_depthwise_ = 0;
  next_dense_ = dense_reductions_;
  weights_pending_.clear();
  for (size_t i = program_->ops.size(); i-- > 0;) {
    const Op& op = OpAt(i);
    AwaitWeightGrads(i);
    if (op.kind == OpKind::kLinear || has_grad_[static_cast<size_t>(op.output)] != 0) BackwardOp(i);
  }
  ReducePartials(true);
  StartWeightGrads();
  ReducePartials(false);
  weights_done_[0].Record(weight_stream_.Get());
  weights_done_[0].HoldBack(S());
}

}  // namespace ftt::cuda
