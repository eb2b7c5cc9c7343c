#include "engine/cuda/train_layout.h"

#include <algorithm>

#include "engine/cuda/layout.h"
#include "kernels/cuda/backward.h"
#include "kernels/cuda/conv.h"
#include "kernels/cuda/conv_backward.h"
#include "kernels/cuda/depthwise.h"
#include "kernels/cuda/depthwise_backward.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/sum.h"
#include "kernels/cuda/weights.h"

namespace ftt::cuda {
namespace {

int64_t RoundBytes(int64_t bytes) { return (bytes + 255) / 256 * 256; }

void PlanValues(const Program& program, const TrainShape& s, TrainLayout& layout) {
  const size_t n = program.values.size();
  std::vector<ValueBuffers> buffers = PlanTrainBuffers(program, s.training);
  layout.shared_grads = SharedGradients(program, false);
  std::vector<BufferSpan> mapped(n);
  std::vector<int64_t> raw_bytes(n, 4);
  std::vector<bool> lags(n);  // weight gradients of dense convolutions read the output's gradient
  const auto backward = static_cast<int>(program.ops.size()) + 1;  // last step before it
  for (const Op& op : program.ops) {
    lags[static_cast<size_t>(op.output)] = op.kind == OpKind::kConv && !IsDepthwise(op);
    raw_bytes[static_cast<size_t>(op.output)] = RawBytes(StoredAs(op, TrainingRaw(s.exact_raw)));
  }
  for (const Op& op : program.ops) {
    const auto v = static_cast<size_t>(op.output);
    const auto owner = static_cast<size_t>(layout.shared_grads[v]);
    if (owner == v || !buffers[v].grad.Used()) continue;
    const int last = buffers[v].grad.last;
    buffers[owner].grad.last = std::max(buffers[owner].grad.last, last);
    buffers[v].grad = {};
    if (op.kind == OpKind::kPool || (op.kind == OpKind::kConv && !IsDepthwise(op)))
      mapped[v] = {last, last};
  }
  std::vector<BufferRequest> all(5 * n);
  layout.wants_grad.assign(n, 0);
  for (size_t v = 0; v < n; ++v) {
    const MapShape map = MapOf(program.values[v], s.lanes, s.images);
    const int64_t elements = map.lanes * map.LaneElements();
    const ValueBuffers& b = buffers[v];
    const auto request = [&](size_t part, const BufferSpan& span, int64_t bytes,
                             bool lagging = false) {
      const int lag = lagging && span.last > backward ? kWeightLag : 0;
      if (span.Used()) all[part * n + v] = {RoundBytes(bytes), span.first, span.last + lag};
    };
    request(0, b.codes, elements, true);
    request(1, b.acc, elements * raw_bytes[v]);
    request(2, b.mask, elements / 8);
    const int64_t grad_bytes = elements * static_cast<int64_t>(sizeof(Bf16));
    request(3, b.grad, grad_bytes, lags[v]);
    request(4, mapped[v], grad_bytes, lags[v]);
    layout.wants_grad[v] = b.wants_grad ? 1 : 0;
  }
  layout.values = PlanMemory(all);
  const auto take = [&](size_t part, std::vector<int64_t>& offsets) {
    offsets.assign(n, -1);
    for (size_t v = 0; v < n; ++v) {
      if (all[part * n + v].bytes > 0) offsets[v] = layout.values.offsets[part * n + v];
    }
  };
  take(0, layout.code_at);
  take(1, layout.raw_at);
  take(2, layout.mask_at);
  take(3, layout.grad_at);
  take(4, layout.mapped_at);
  for (size_t v = 0; v < n; ++v)
    layout.grad_at[v] = layout.grad_at[static_cast<size_t>(layout.shared_grads[v])];
}

class OpPlanner {
 public:
  OpPlanner(const Program& program, const TrainShape& shape, TrainLayout& layout)
      : program_(program), s_(shape), layout_(layout) {}

  void Plan(size_t i) {
    const Op& op = program_.ops[i];
    OpBuffers& b = layout_.ops[i];
    const MapShape out =
        MapOf(program_.values[static_cast<size_t>(op.output)], s_.lanes, s_.images);
    if (op.weight >= 0) PlanWeights(op, s_.faulty_weights[i] != 0, b);
    if (op.kind == OpKind::kLinear) {
      b.unit = Take(int64_t{4} * s_.lanes);
      layout_.keep =
          s_.images * program_.values[static_cast<size_t>(op.inputs[0].value)].Elements();
    }
    const bool window = op.kind == OpKind::kConv || op.kind == OpKind::kPool;
    if (window || op.kind == OpKind::kGlobalPool) PlanNorm(op, out, b);
    if (op.kind == OpKind::kAdd) Scratch(int64_t{4} * s_.lanes * SumBlocks(out));
    if (window) PlanWindow(op, b);
  }

 private:
  int64_t Take(int64_t bytes) {
    const int64_t at = layout_.op_memory;
    layout_.op_memory += RoundBytes(bytes);
    return at;
  }
  void Scratch(int64_t bytes) { layout_.scratch = std::max(layout_.scratch, bytes); }

  void PlanWeights(const Op& op, bool faulty, OpBuffers& b) {
    b.copies = faulty ? s_.lanes : 1;
    const int64_t n = program_.params[static_cast<size_t>(op.weight)].Elements();
    b.codes = Take(n * b.copies);
    b.weight_exponent = Take(sizeof(int));
    b.weight_largest = Take(int64_t{4} * WeightChunks(static_cast<int>(n)));
    if (s_.training) b.keep = Take(n * b.copies);
  }

  void PlanNorm(const Op& op, const MapShape& out, OpBuffers& b) {
    const int64_t channels = int64_t{4} * s_.lanes * out.Stride();
    b.scale = Take(channels);
    b.shift = Take(channels);
    b.mean = Take(channels);
    b.inv_std = Take(channels);
    b.variance = Take(channels);
    b.unit = Take(int64_t{4} * s_.lanes);
    layout_.moments = std::max(layout_.moments, MomentBytes(s_.lanes, out.Stride()));
    if (!s_.training) return;
    if (op.kind != OpKind::kGlobalPool) b.grad_map = Take(3 * channels);
    Scratch(s_.lanes * int64_t{NormBackwardBlocks(out)} * out.Stride() *
            static_cast<int64_t>(sizeof(GradSums)));
  }

  void PlanWindow(const Op& op, OpBuffers& b) {
    const WindowGeometry g = GeometryOf(program_, op, s_.lanes, s_.images);
    if (op.kind == OpKind::kPool) return;
    const bool depthwise = IsDepthwise(op);
    b.packed = Take(PackedBytes(g, depthwise) * b.copies);
    if (!s_.training) return;
    if (!depthwise) b.packed_grad = Take(2 * PackedConvGradElements(g) * b.copies);
  }

  const Program& program_;
  const TrainShape& s_;
  TrainLayout& layout_;
};

// In the order of the backward pass. Depthwise convolutions write theirs in another stream than the
// dense ones, so each kind has a part of the block, small enough to stay in a device's cache until
// it is full; a larger one would save few launches.
void PlanWeightPartials(const Program& program, const TrainShape& s, TrainLayout& layout) {
  for (const bool depthwise : {true, false}) {
    const int64_t part_bytes = depthwise ? s.partial_bytes / 2 : s.partial_bytes;
    const int64_t start = layout.weight_partials;
    int64_t used = 0;
    for (size_t i = program.ops.size(); i-- > 0;) {
      const Op& op = program.ops[i];
      if (!layout.HasWeightPartials(program, i) || IsDepthwise(op) != depthwise) continue;
      const WindowGeometry g = GeometryOf(program, op, s.lanes, s.images);
      const int64_t bytes =
          RoundBytes(4 * (depthwise ? DepthwiseGradScratch(g) : ConvWeightGradScratch(g)));
      OpBuffers& b = layout.ops[i];
      b.restarts_partials = used > 0 && used + bytes > part_bytes;
      if (b.restarts_partials) used = 0;
      b.weight_partials = start + used;
      used += bytes;
      layout.weight_partials = std::max(layout.weight_partials, start + used);
    }
  }
}

}  // namespace

TrainLayout PlanTraining(const Program& program, const TrainShape& shape) {
  TrainLayout layout;
  PlanValues(program, shape, layout);
  layout.ops.assign(program.ops.size(), {});
  OpPlanner planner(program, shape, layout);
  for (size_t i = 0; i < program.ops.size(); ++i) planner.Plan(i);
  if (shape.training) PlanWeightPartials(program, shape, layout);
  layout.exponents = static_cast<int64_t>(program.values.size()) * shape.lanes * 4;
  layout.logits = int64_t{4} * shape.lanes * shape.images * program.classes;
  for (const ParamInfo& info : program.params) {
    layout.gradient_offset.push_back(info.Trained() ? layout.gradient_floats : -1);
    if (info.Trained()) layout.gradient_floats += info.Elements();
  }
  return layout;
}

bool TrainLayout::HasWeightPartials(const Program& program, size_t op) const {
  return program.ops[op].kind == OpKind::kConv &&
         wants_grad[static_cast<size_t>(program.ops[op].output)] != 0;
}

int64_t TrainLayout::Bytes() const {
  return values.total + op_memory + scratch + weight_partials + moments + exponents + keep +
         2 * logits + 4 * gradient_floats;
}

}  // namespace ftt::cuda
