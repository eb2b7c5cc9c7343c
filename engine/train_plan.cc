// Binding of parameters and the memory plan of a training run.
#include <algorithm>

#include "engine/train_state.h"

namespace ftt {

void TrainExecutor::Impl::Bind() {
  bound.clear();
  gradient_offset.clear();
  int64_t total = 0;
  for (const ParamInfo& info : program->params) {
    bound.push_back(&params.Get(info));
    gradient_offset.push_back(info.Trained() ? total : -1);
    if (info.Trained()) total += info.Elements();
  }
  gradient.assign(static_cast<size_t>(total), 0.0f);
}

void TrainExecutor::Impl::PlanBuffers() {
  const auto ops = static_cast<int>(program->ops.size());
  const size_t values = program->values.size();
  const auto backward = [&](int i) { return 2 * ops + 1 - i; };
  std::vector<BufferRequest> codes(values), acc(values), mask(values), grad(values);
  const int64_t copies = int64_t{dims.lanes} * dims.images;
  codes[0] = {copies * ShapeOf(0).Elements(), 0, 0};
  has_grad.assign(values, 0);
  for (int i = ops - 1; i >= 0; --i) {  // consumers before producers
    const Op& op = OpAt(static_cast<size_t>(i));
    const auto out = static_cast<size_t>(op.output);
    const int64_t n = ShapeOf(op.output).Elements();
    const bool live = op.kind == OpKind::kLinear || has_grad[out] != 0;
    const int end = Training() && live ? backward(i) : i + 1;
    const bool window = op.kind == OpKind::kConv || op.kind == OpKind::kPool;
    codes[out] = {op.kind == OpKind::kLinear ? 0 : copies * n, i + 1,
                  std::max(codes[out].last, i + 1)};
    if (window || op.kind == OpKind::kGlobalPool)
      acc[out] = {copies * n * 4, i + 1, op.batch_norm ? end : i + 1};
    if (Training() && op.kind != OpKind::kLinear && op.kind != OpKind::kConcat) {
      mask[out] = {copies * MaskBytes(n), i + 1, end};
    }
    if (Training() && live && op.kind != OpKind::kLinear) {
      grad[out] = {copies * n * 4, grad[out].first, backward(i)};
    }
    for (const OpInput& in : op.inputs) {
      const auto v = static_cast<size_t>(in.value);
      const bool needs_codes = window || op.kind == OpKind::kLinear || in.relu;
      codes[v].last = std::max({codes[v].last, i + 1, needs_codes ? end : 0});
      if (!Training() || !live) continue;
      if (has_grad[v] == 0)
        grad[v].first = backward(i);  // the first consumer seen is the first to write
      has_grad[v] = 1;
    }
  }
  has_grad[0] = 0;
  grad[0] = {};
  std::vector<BufferRequest> all;
  const auto append = [&](const std::vector<BufferRequest>& part) {
    all.insert(all.end(), part.begin(), part.end());
  };
  append(codes);
  append(acc);
  append(mask);
  append(grad);
  plan = PlanMemory(all);
  arena.Resize(plan.total);
  const auto take = [&](size_t part, std::vector<int64_t>& offsets) {
    offsets.assign(values, -1);
    for (size_t v = 0; v < values; ++v) {
      if (all[part * values + v].bytes > 0) offsets[v] = plan.offsets[part * values + v];
    }
  };
  take(0, code_at);
  take(1, acc_at);
  take(2, mask_at);
  take(3, grad_at);
}

}  // namespace ftt
