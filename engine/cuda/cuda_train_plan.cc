// Device memory of a training run: the values in one planned arena, what ops need beside them in
// another block.
#include <algorithm>

#include "engine/cuda/cuda_train.h"
#include "engine/cuda/layout.h"
#include "engine/train_plan.h"
#include "kernels/cuda/backward.h"
#include "kernels/cuda/conv.h"
#include "kernels/cuda/conv_backward.h"
#include "kernels/cuda/depthwise.h"
#include "kernels/cuda/depthwise_backward.h"
#include "kernels/cuda/pool.h"
#include "kernels/cuda/separable.h"
#include "kernels/cuda/sum.h"

namespace ftt::cuda {
namespace {

int64_t RoundBytes(int64_t bytes) { return (bytes + 255) / 256 * 256; }

// Programs of a search differ from step to step: some room keeps most of them from reallocating.
void Reserve(DeviceMemory& memory, int64_t bytes) {
  if (bytes > memory.Size()) memory.Resize(bytes + bytes / 4);
}

}  // namespace

MapShape CudaTrainExecutor::Map(int value) const { return MapOf(ShapeOf(value), lanes_, images_); }

RawType CudaTrainExecutor::StoredAs(const Op& op) const {
  const bool half = op.kind != OpKind::kGlobalPool && !options_.exact_raw;
  return half ? RawType::kHalf : RawType::kInt32;
}

// The largest accumulator must stay finite as a half.
int CudaTrainExecutor::RawShift(const Op& op) const {
  constexpr int64_t kHalfMax = 65504;
  if (StoredAs(op) == RawType::kInt32 || op.kind != OpKind::kConv) return 0;
  int64_t bound = program_->MacsPerOutput(op) << (2 * (options_.bits - 1));
  int shift = 0;
  for (; bound > kHalfMax; bound = (bound + 1) / 2) ++shift;
  return shift;
}

void CudaTrainExecutor::PlanValues() {
  const size_t n = program_->values.size();
  const std::vector<ValueBuffers> buffers = PlanTrainBuffers(*program_, Training());
  std::vector<int> raw_bytes(n, 4);
  for (const Op& op : program_->ops)
    if (StoredAs(op) == RawType::kHalf) raw_bytes[static_cast<size_t>(op.output)] = 2;
  std::vector<BufferRequest> all(4 * n);
  has_grad_.assign(n, 0);
  for (size_t v = 0; v < n; ++v) {
    const MapShape map = Map(static_cast<int>(v));
    const int64_t elements = map.lanes * map.LaneElements();
    const ValueBuffers& b = buffers[v];
    const auto request = [&](size_t part, const BufferSpan& span, int64_t bytes) {
      if (span.Used()) all[part * n + v] = {RoundBytes(bytes), span.first, span.last};
    };
    request(0, b.codes, elements);
    request(1, b.acc, elements * raw_bytes[v]);
    request(2, b.mask, elements / 8);
    request(3, b.grad, elements * 4);
    has_grad_[v] = b.wants_grad ? 1 : 0;
  }
  partners_ = SeparablePartners(*program_, true);
  for (size_t i = 0; i < partners_.size(); ++i) {
    const int second = partners_[i];
    if (second < static_cast<int>(i)) continue;
    // The pair's kernel reads the input once more, and no raw output lies in between.
    int& last = all[static_cast<size_t>(OpAt(i).inputs[0].value)].last;
    last = std::max(last, second + 1);
    all[n + static_cast<size_t>(OpAt(i).output)] = {};
  }
  plan_ = PlanMemory(all);
  Reserve(arena_, plan_.total);
  const auto take = [&](size_t part, std::vector<int64_t>& offsets) {
    offsets.assign(n, -1);
    for (size_t v = 0; v < n; ++v)
      if (all[part * n + v].bytes > 0) offsets[v] = plan_.offsets[part * n + v];
  };
  take(0, code_at_);
  take(1, raw_at_);
  take(2, mask_at_);
  take(3, grad_at_);
}

void CudaTrainExecutor::PlanOps() {
  int64_t used = 0, keep = 0;
  scratch_bytes_ = 0;
  const auto take = [&](int64_t bytes) {
    const int64_t at = used;
    used += RoundBytes(bytes);
    return at;
  };
  const auto scratch = [&](int64_t bytes) { scratch_bytes_ = std::max(scratch_bytes_, bytes); };
  ops_.assign(program_->ops.size(), {});
  for (size_t i = 0; i < ops_.size(); ++i) {
    const Op& op = OpAt(i);
    OpBuffers& b = ops_[i];
    const MapShape out = Map(op.output);
    if (op.weight >= 0) {
      b.copies = faults_->Weights(i) == nullptr ? 1 : lanes_;
      const int64_t n = program_->params[static_cast<size_t>(op.weight)].Elements();
      b.codes = take(n * b.copies);
      b.weight_exponent = take(sizeof(int));
      if (Training()) b.keep = take(n * b.copies);
    }
    if (op.kind == OpKind::kLinear) {
      b.unit = take(int64_t{4} * lanes_);
      keep = images_ * ShapeOf(op.inputs[0].value).Elements();
    }
    if (op.kind == OpKind::kGlobalPool || op.kind == OpKind::kConv || op.kind == OpKind::kPool) {
      const int64_t channels = int64_t{4} * lanes_ * out.Stride();
      b.scale = take(channels);
      b.shift = take(channels);
      b.mean = take(channels);
      b.inv_std = take(channels);
      b.variance = take(channels);
      b.unit = take(int64_t{4} * lanes_);
      if (Training() && op.kind == OpKind::kConv) b.grad_map = take(3 * channels);
      if (Training())
        scratch(lanes_ * int64_t{NormBackwardBlocks(out) + 1} * out.Stride() *
                static_cast<int64_t>(sizeof(GradSums)));
    }
    if (op.kind == OpKind::kGlobalPool) {
      scratch(lanes_ * int64_t{images_} * out.Stride() *
              static_cast<int64_t>(sizeof(ChannelMoments)));
    } else if (op.kind == OpKind::kAdd) {
      scratch(int64_t{4} * lanes_ * SumBlocks(out));
    }
    if (op.kind != OpKind::kConv && op.kind != OpKind::kPool) continue;
    const WindowGeometry g = GeometryOf(*program_, op, lanes_, images_);
    const bool depthwise = IsDepthwise(op), pool = op.kind == OpKind::kPool;
    int blocks = pool ? PoolBlocks(g) : depthwise ? DepthwiseBlocks(g) : ConvBlocks(g);
    if (partners_[i] >= 0 && !depthwise) {
      const Op& first = OpAt(static_cast<size_t>(partners_[i]));
      blocks = SeparableBlocks(GeometryOf(*program_, first, lanes_, images_), g);
    }
    scratch(int64_t{lanes_} * blocks * out.Stride() * static_cast<int64_t>(sizeof(ChannelMoments)));
    if (pool) continue;
    b.packed = take(PackedBytes(g, depthwise) * b.copies);
    if (!Training()) continue;
    if (depthwise) {
      scratch(4 * DepthwiseWeightGradScratch(g));
    } else {
      b.packed_grad = take(2 * PackedConvGradElements(g) * b.copies);
      scratch(4 * ConvWeightGradScratch(g));
    }
  }
  Reserve(op_memory_, used);
  Reserve(scratch_, scratch_bytes_);
  Reserve(exponents_, static_cast<int64_t>(program_->values.size()) * lanes_ * 4);
  Reserve(keep_, keep);
  const int64_t logits = int64_t{4} * lanes_ * images_ * program_->classes;
  Reserve(logits_memory_, logits);
  Reserve(grad_logits_, logits);
  Reserve(losses_, lanes_ * static_cast<int64_t>(sizeof(LaneLoss)));
  Reserve(gradient_, 4 * gradient_floats_);
}

}  // namespace ftt::cuda
