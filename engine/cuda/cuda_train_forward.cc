// Forward pass of the device's train executor.
#include "core/error.h"
#include "engine/cuda/cuda_train.h"
#include "engine/cuda/layout.h"
#include "kernels/cuda/conv.h"
#include "kernels/cuda/depthwise.h"
#include "kernels/cuda/input.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/pool.h"
#include "kernels/cuda/quantize.h"
#include "kernels/cuda/sum.h"

namespace ftt::cuda {

void CudaTrainExecutor::QuantizeAllWeights() {
  QuantizeWeights(weight_arguments_, S());
  PackWeights(pack_arguments_, S());
}

// Statistics -> affine map and exponent.
void CudaTrainExecutor::Finish(size_t i, const MapShape& shape, float unit_scale) {
  const Op& op = OpAt(i);
  const OpBuffers& b = layout_.ops[i];
  NormArguments n;
  n.lanes = lanes_;
  n.channels = shape.channels;
  n.moments = moments_.As<int64_t>();
  n.count = shape.Pixels();
  n.bits = options_.bits;
  n.batch_norm = op.batch_norm;
  n.gamma = ParamValue(op.gamma);
  n.beta = ParamValue(op.batch_norm ? op.beta : op.bias);
  n.unit_scale = unit_scale;
  n.x_exponent = Exponent(op.inputs[0].value);
  n.weight_exponent = op.weight < 0 ? nullptr : OpMemory<int>(b.weight_exponent);
  n.scale = OpMemory<float>(b.scale);
  n.shift = OpMemory<float>(b.shift);
  n.mean = OpMemory<float>(b.mean);
  n.inv_std = OpMemory<float>(b.inv_std);
  n.variance = OpMemory<float>(b.variance);
  n.unit = OpMemory<float>(b.unit);
  n.exponent = Exponent(op.output);
  const bool frozen = mode_ == TrainMode::kCalibrate || (Training() && batch_->frozen_norm);
  if (op.batch_norm && frozen) {
    n.fixed_mean = ParamValue(op.running_mean);
    n.fixed_var = ParamValue(op.running_var);
  } else if (op.batch_norm && Training()) {
    n.running_mean = ParamValue(op.running_mean);
    n.running_var = ParamValue(op.running_var);
    n.momentum = options_.bn_momentum;
  }
  FinishNorm(n, S());
}

// Raw outputs -> codes with faults.
void CudaTrainExecutor::QuantizeRaw(size_t i, const MapShape& shape, RawType raw_type,
                                    int raw_shift) {
  const Op& op = OpAt(i);
  const OpBuffers& b = layout_.ops[i];
  QuantizeArguments q;
  q.shape = shape;
  q.bits = options_.bits;
  q.raw_type = raw_type;
  q.raw_shift = raw_shift;
  q.raw = Raw(op.output);
  q.scale = OpMemory<float>(b.scale);
  q.shift = OpMemory<float>(b.shift);
  q.faults = faults_->Feature(op.output, staged_ids_);
  q.codes = Codes(op.output);
  q.mask = Mask(op.output);
  Quantize(q, S());
}

void CudaTrainExecutor::ForwardWindow(size_t i) {
  const Op& op = OpAt(i);
  const OpBuffers& b = layout_.ops[i];
  const WindowGeometry g = GeometryOf(*program_, op, lanes_, images_);
  const int8_t* x = Codes(op.inputs[0].value);
  WindowOutput out;
  out.raw_type = StoredAs(op);
  out.raw_shift = RawShift(op);
  out.raw = Raw(op.output);
  out.moments = moments_.As<int64_t>();
  if (op.kind == OpKind::kPool) {
    Pool({g, op.pool == PoolKind::kMax ? PoolType::kMax : PoolType::kAverage, x, out}, S());
  } else if (IsDepthwise(op)) {
    Depthwise({g, x, OpMemory<uint32_t>(b.packed), b.copies == 1, out}, S());
  } else {
    Conv({g, x, OpMemory<int8_t>(b.packed), b.copies == 1, out}, S());
  }
  Finish(i, g.Out(), 1.0f);
  QuantizeRaw(i, g.Out(), out.raw_type, out.raw_shift);
}

void CudaTrainExecutor::ForwardGlobalPool(size_t i) {
  const Op& op = OpAt(i);
  const OpInput& in = op.inputs[0];
  const MapShape map = Map(in.value);
  GlobalSum({map, in.relu, Codes(in.value), static_cast<int32_t*>(Raw(op.output)),
             moments_.As<int64_t>()},
            S());
  Finish(i, Map(op.output), 1.0f / static_cast<float>(map.MapPixels()));
  QuantizeRaw(i, Map(op.output), RawType::kInt32, 0);
}

void CudaTrainExecutor::ForwardSum(const Op& op) {
  SumArguments a;
  a.shape = Map(op.output);
  a.bits = options_.bits;
  for (const OpInput& in : op.inputs)
    a.inputs[a.count++] = {Codes(in.value), Exponent(in.value), ShapeOf(in.value).c, in.relu};
  a.exponent = Exponent(op.output);
  a.faults = faults_->Feature(op.output, staged_ids_);
  a.codes = Codes(op.output);
  if (op.kind == OpKind::kConcat) return Concat(a, false, S());
  a.largest = scratch_.As<int32_t>();
  a.mask = Mask(op.output);
  Add(a, S());
}

void CudaTrainExecutor::ForwardLinear(size_t i) {
  const Op& op = OpAt(i);
  const OpBuffers& b = layout_.ops[i];
  const int input = op.inputs[0].value;
  const auto features = static_cast<int>(ShapeOf(input).Elements());
  const bool drop = Training() && program_->dropout > 0;
  if (drop) {
    Dropout({images_, features, program_->dropout, options_.seed, staged_step_, staged_ids_,
             keep_.As<uint8_t>()},
            S());
  }
  auto* unit = OpMemory<float>(b.unit);
  LaneUnits({lanes_, drop ? 1.0f / (1.0f - program_->dropout) : 1.0f, Exponent(input),
             OpMemory<int>(b.weight_exponent), unit},
            S());
  LinearArguments a;
  a.lanes = lanes_;
  a.images = images_;
  a.in = features;
  a.out = program_->classes;
  a.x = Codes(input);
  a.weights = OpMemory<int8_t>(b.codes);
  a.one_weight = b.copies == 1;
  a.unit = unit;
  a.bias = ParamValue(op.bias);
  a.keep = drop ? keep_.As<uint8_t>() : nullptr;
  a.logits = logits_memory_.As<float>();
  Linear(a, S());
  const SiteFaultsView faults = faults_->Feature(op.output, staged_ids_);
  if (faults.lanes == nullptr) return;
  InjectLogits({lanes_, images_, program_->classes, options_.bits, faults, a.logits}, S());
}

void CudaTrainExecutor::Loss() {
  SoftmaxCrossEntropy(
      {lanes_, images_, program_->classes, logits_memory_.As<float>(), staged_labels_,
       staged_loss_weights_, Training() ? grad_logits_.As<float>() : nullptr, Losses()},
      S());
}

void CudaTrainExecutor::Forward() {
  faults_->DrawStrikes(StrikePart::kAll, staged_ids_, S());
  QuantizeAllWeights();
  const MapShape input = Map(0);
  input_.shape = input;
  input_.table = table_.As<int8_t>();
  input_.codes = Codes(0);
  Encode(input_, S());
  CopyOnDevice(Exponent(0), staged_input_exponents_, int64_t{4} * lanes_, S());
  const SiteFaultsView faults = faults_->Feature(0, staged_ids_);
  if (faults.lanes != nullptr) Inject({input, faults, Codes(0)}, S());
  for (size_t i = 0; i < program_->ops.size(); ++i) {
    const Op& op = OpAt(i);
    switch (op.kind) {
      case OpKind::kConv:
      case OpKind::kPool:
        ForwardWindow(i);
        break;
      case OpKind::kAdd:
      case OpKind::kConcat:
        ForwardSum(op);
        break;
      case OpKind::kGlobalPool:
        ForwardGlobalPool(i);
        break;
      case OpKind::kLinear:
        ForwardLinear(i);
        break;
    }
  }
  Loss();
}

}  // namespace ftt::cuda
