// Binding of parameters and the memory plan of a training run.
#include "engine/train_plan.h"

#include <algorithm>
#include <numeric>

#include "engine/train_state.h"

namespace ftt {

void HostTrain::Bind() {
  bound.clear();
  gradient_offset.clear();
  int64_t total = 0;
  for (const ParamInfo& info : program->params) {
    bound.push_back(&params.Get(info));
    gradient_offset.push_back(info.Trained() ? total : -1);
    if (info.Trained()) total += info.Elements();
  }
  gradient.resize(static_cast<size_t>(total));
  constexpr int64_t kPiece = 1 << 16;
  backend.For(static_cast<int>((total + kPiece - 1) / kPiece), [&](int piece, int) {
    const int64_t first = piece * kPiece;
    std::fill_n(gradient.data() + first, std::min(kPiece, total - first), 0.0f);
  });
}

void HostTrain::PlanBuffers() {
  const size_t values = program->values.size();
  const int64_t copies = int64_t{dims.lanes} * dims.images;
  raw_type = options.exact_raw ? RawType::kInt32 : backend.TrainingRaw();
  has_grad.assign(values, 0);
  norm_sums.assign(values, {});
  relu_only = ReadThroughRelu(*program);
  std::vector<BufferRequest> all(4 * values);
  std::vector<ValueBuffers> buffers = PlanTrainBuffers(*program, Training());
  last_writer = LastGradientWriters(*program, buffers);
  if (Training() && backend.LeavesGradients()) {
    shared_grad = SharedGradients(*program);
  } else {
    shared_grad.resize(values);
    std::iota(shared_grad.begin(), shared_grad.end(), 0);
  }
  if (Training() && backend.NarrowsGradients() && raw_type == RawType::kHalf) {
    narrow_grad = NarrowGradients(*program);
  } else {
    narrow_grad.assign(values, 0);
  }
  for (size_t v = 0; v < values; ++v) {
    if (!SharesGradient(static_cast<int>(v))) continue;
    BufferSpan& owner = buffers[static_cast<size_t>(shared_grad[v])].grad;
    owner.last = std::max(owner.last, buffers[v].grad.last);
    buffers[v].grad = {};
  }
  for (size_t v = 0; v < values; ++v) {
    const int64_t n = ShapeOf(static_cast<int>(v)).Elements();
    const ValueBuffers& b = buffers[v];
    const auto request = [&](size_t part, const BufferSpan& span, int64_t bytes) {
      if (span.Used()) all[part * values + v] = {copies * bytes, span.first, span.last};
    };
    request(0, b.codes, n);
    const bool written = v > 0;  // op i writes value i + 1
    request(1, b.acc, n * (written ? RawBytes(StoredAs(OpAt(v - 1), raw_type)) : 4));
    request(2, b.mask, MaskBytes(n));
    request(3, b.grad, n * (narrow_grad[v] != 0 ? 2 : 4));
    has_grad[v] = b.wants_grad ? 1 : 0;
  }
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
  for (size_t v = 0; v < values; ++v) grad_at[v] = grad_at[static_cast<size_t>(shared_grad[v])];
}

RawType StoredAs(const Op& op, RawType type) {
  return op.kind == OpKind::kGlobalPool ? RawType::kInt32 : type;
}

int RawShift(const Program& program, const Op& op, int bits, RawType type) {
  constexpr int64_t kHalfMax = 65504;
  if (StoredAs(op, type) == RawType::kInt32 || op.kind != OpKind::kConv) return 0;
  int64_t bound = program.MacsPerOutput(op) << (2 * (bits - 1));
  int shift = 0;
  for (; bound > kHalfMax; bound = (bound + 1) / 2) ++shift;
  return shift;
}

std::vector<char> ReadThroughRelu(const Program& program) {
  std::vector<char> read(program.values.size(), 0), plain(read), masked(read);
  for (const Op& op : program.ops) {
    masked[static_cast<size_t>(op.output)] = op.kind != OpKind::kConcat;
    for (const OpInput& in : op.inputs) {
      (in.relu ? read : plain)[static_cast<size_t>(in.value)] = 1;
    }
  }
  for (size_t v = 0; v < read.size(); ++v) read[v] = read[v] & masked[v] & ~plain[v];
  return read;
}

std::vector<int> SharedGradients(const Program& program, bool relu) {
  std::vector<int> shared(program.values.size()), readings(program.values.size());
  std::iota(shared.begin(), shared.end(), 0);
  std::vector<char> unwritten(program.values.size(), 0);  // its maker leaves its gradient as it is
  for (const Op& op : program.ops) {
    unwritten[static_cast<size_t>(op.output)] = op.kind == OpKind::kAdd ||
                                                op.kind == OpKind::kPool ||
                                                (op.kind == OpKind::kConv && op.batch_norm);
    for (const OpInput& in : op.inputs) ++readings[static_cast<size_t>(in.value)];
  }
  for (size_t i = program.ops.size(); i-- > 0;) {  // a sum's own share is known before its inputs'
    const Op& op = program.ops[i];
    if (op.kind != OpKind::kAdd) continue;
    for (const OpInput& in : op.inputs) {
      const auto v = static_cast<size_t>(in.value);
      if (readings[v] == 1 && unwritten[v] && (relu || !in.relu))
        shared[v] = shared[static_cast<size_t>(op.output)];
    }
  }
  return shared;
}

std::vector<char> NarrowGradients(const Program& program) {
  std::vector<int> readings(program.values.size());
  std::vector<char> narrow(program.values.size(), 0), normed(narrow);
  for (const Op& op : program.ops) {
    normed[static_cast<size_t>(op.output)] = op.batch_norm;
    for (const OpInput& in : op.inputs) {
      const auto v = static_cast<size_t>(in.value);
      narrow[v] = ++readings[v] == 1 && op.kind == OpKind::kConv && normed[v];
    }
  }
  return narrow;
}

std::vector<int> LastGradientWriters(const Program& program,
                                     const std::vector<ValueBuffers>& buffers) {
  std::vector<int> writers(program.values.size(), -1);
  for (size_t i = program.ops.size(); i-- > 0;) {
    const Op& op = program.ops[i];
    const bool live =
        op.kind == OpKind::kLinear || buffers[static_cast<size_t>(op.output)].wants_grad;
    for (const OpInput& in : op.inputs) {
      if (live) writers[static_cast<size_t>(in.value)] = static_cast<int>(i);
    }
  }
  return writers;
}

std::vector<ValueBuffers> PlanTrainBuffers(const Program& program, bool training) {
  const auto ops = static_cast<int>(program.ops.size());
  std::vector<ValueBuffers> values(program.values.size());
  const auto backward = [&](int i) { return 2 * ops + 1 - i; };
  values[0].codes = {0, 0};
  for (int i = ops - 1; i >= 0; --i) {  // consumers before producers
    const Op& op = program.ops[static_cast<size_t>(i)];
    ValueBuffers& out = values[static_cast<size_t>(op.output)];
    const bool linear = op.kind == OpKind::kLinear;
    const bool live = linear || out.wants_grad;
    const int end = training && live ? backward(i) : i + 1;
    const bool window = op.kind == OpKind::kConv || op.kind == OpKind::kPool;
    if (!linear) out.codes = {i + 1, std::max(out.codes.last, i + 1)};
    if (window || op.kind == OpKind::kGlobalPool) out.acc = {i + 1, op.batch_norm ? end : i + 1};
    if (training && !linear && op.kind != OpKind::kConcat) out.mask = {i + 1, end};
    if (training && live && !linear) out.grad.last = backward(i);
    for (const OpInput& in : op.inputs) {
      ValueBuffers& x = values[static_cast<size_t>(in.value)];
      const bool needs_codes = window || linear || in.relu;
      x.codes.last = std::max({x.codes.last, i + 1, needs_codes ? end : 0});
      if (!training || !live || in.value == 0) continue;
      // The first consumer seen here is the first to write in the backward pass.
      if (!x.wants_grad) x.grad.first = backward(i);
      x.wants_grad = true;
    }
  }
  return values;
}

}  // namespace ftt
