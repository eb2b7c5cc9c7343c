// Backward pass of the train executor: the program in reverse, each op owning its gradient.
#include <algorithm>

#include "engine/train_state.h"

namespace ftt {

GradMap HostTrain::GradTarget(int value, bool* accumulate) {
  if (value == 0) return nullptr;
  char& written = has_grad[static_cast<size_t>(value)];
  *accumulate = written == 2;
  written = 2;
  return Grad(value);
}

void HostTrain::CutMaskBySum(int sum, int value) {
  has_grad[static_cast<size_t>(value)] = 2;
  const uint8_t* from = Mask(sum);
  uint8_t* mask = Mask(value);
  const int64_t bytes = int64_t{dims.lanes} * dims.images * MaskBytes(ShapeOf(sum).Elements());
  constexpr int64_t kPiece = 1 << 17;
  backend.For(static_cast<int>((bytes + kPiece - 1) / kPiece), [&](int piece, int) {
    const int64_t last = std::min(bytes, (piece + 1) * kPiece);
    for (int64_t i = piece * kPiece; i < last; ++i) mask[i] &= from[i];
  });
}

// Those of a value whose gradient is complete once op `writer` has written to it, or null.
NormSums* HostTrain::SumsToCollect(size_t writer, int value) {
  if (last_writer[static_cast<size_t>(value)] != static_cast<int>(writer)) return nullptr;
  if (value == 0) return nullptr;
  const auto maker = static_cast<size_t>(value - 1);  // op i writes value i + 1
  if (!OpAt(maker).batch_norm) return nullptr;
  NormSums& sums = norm_sums[static_cast<size_t>(value)];
  sums = {Acc(OpAt(maker)), norms[maker].data(), Mask(value), {}, {}};
  return &sums;
}

void HostTrain::BackwardSum(const Op& op) {
  std::vector<SumInput> inputs = SumInputs(op);
  const bool concat = op.kind == OpKind::kConcat;
  int offset = 0;
  for (size_t k = 0; k < inputs.size(); ++k) {
    bool accumulate = false;
    if (SharesGradient(op.inputs[k].value)) {
      CutMaskBySum(op.output, op.inputs[k].value);
      continue;
    }
    float* target = GradTarget(op.inputs[k].value, &accumulate).Floats();
    if (target != nullptr) {
      inputs[k].relu = inputs[k].relu && !ReluOnly(op.inputs[k].value);
      backend.SumBackward(dims, ShapeOf(op.output), inputs[k], concat ? offset : 0, Mask(op.output),
                          Grad(op.output).Floats(), target, accumulate);
    }
    offset += inputs[k].channels;
  }
}

void HostTrain::BackwardOp(size_t i) {
  const Op& op = OpAt(i);
  bool accumulate = false;
  switch (op.kind) {
    case OpKind::kConv:
    case OpKind::kPool: {
      NormGradient norm;
      backend.NormBackward(dims, ShapeOf(op.output), Acc(op), norms[i].data(), ParamValue(op.gamma),
                           Mask(op.output), Grad(op.output), ParamGradient(op.gamma),
                           ParamGradient(op.batch_norm ? op.beta : op.bias), &norm,
                           &norm_sums[static_cast<size_t>(op.output)]);
      const int input = op.inputs[0].value;
      const GradMap target = GradTarget(input, &accumulate);
      WindowShape window = WindowOf(*program, op);
      window.relu_masked = ReluOnly(input);
      backend.WindowBackward(dims, window, Codes(input), Exponent(input),
                             op.weight < 0 ? nullptr : &weights[i], Grad(op.output), &norm, target,
                             accumulate, ParamGradient(op.weight), SumsToCollect(i, input));
      break;
    }
    case OpKind::kAdd:
    case OpKind::kConcat:
      BackwardSum(op);
      break;
    case OpKind::kGlobalPool: {
      const OpInput& in = op.inputs[0];
      float* target = GradTarget(in.value, &accumulate).Floats();
      if (target == nullptr) break;
      backend.GlobalSumBackward(dims, ShapeOf(in.value), in.relu && !ReluOnly(in.value),
                                Codes(in.value), Mask(op.output), Grad(op.output).Floats(), target,
                                accumulate);
      break;
    }
    case OpKind::kLinear: {
      const int input = op.inputs[0].value;
      const auto features = static_cast<int>(ShapeOf(input).Elements());
      std::vector<float> x_unit;
      for (int lane = 0; lane < dims.lanes; ++lane)
        x_unit.push_back(PowerOfTwo(Exponent(input)[lane]));
      float* target = GradTarget(input, &accumulate).Floats();
      const float keep_scale = keep.empty() ? 1.0f : 1.0f / (1.0f - program->dropout);
      backend.LinearBackward(dims, features, program->classes, Codes(input), x_unit.data(),
                             weights[i], keep.empty() ? nullptr : keep.data(), keep_scale,
                             grad_logits.data(), target, ParamGradient(op.weight),
                             ParamGradient(op.bias));
      break;
    }
  }
}

void HostTrain::Backward() {
  for (size_t i = program->ops.size(); i-- > 0;) {
    const Op& op = OpAt(i);
    if (op.kind == OpKind::kLinear || has_grad[static_cast<size_t>(op.output)] != 0) BackwardOp(i);
  }
}

}  // namespace ftt
