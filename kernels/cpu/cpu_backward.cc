// Backward ops of the CPU backend, but for batch norm: norm_backward.cc.
#include <algorithm>
#include <cstring>
#include <optional>

#include "core/error.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/norm_sums.h"
#include "kernels/cpu/packed_lanes.h"
#include "kernels/quantize_math.h"

namespace ftt::cpu {

// Dense convolutions whose gradients the project's own kernels take; of 1x1 ones oneDNN computes
// the data gradient as fast.
bool CpuBackend::OwnGradients(const WindowShape& s) const {
  return s.conv.groups == 1 && precision_ == GradPrecision::kF32 && DenseGradientsAvailable();
}

bool CpuBackend::OwnDataGradient(const WindowShape& s) const {
  return OwnGradients(s) && s.conv.kernel > 1;
}

void CpuBackend::PackBackward(const WindowShape& s, WeightCodes& weights, Worker& w) {
  PackedLanes& packed = PackedLanes::Of(weights);
  const float unit = PowerOfTwo(weights.exponent);
  if (IsDepthwise(s)) {
    if (!packed.depthwise_backward.empty()) return;
    packed.depthwise_backward.resize(static_cast<size_t>(weights.copies));
    for (int copy = 0; copy < weights.copies; ++copy) {
      depthwise_.PackBackwardData(ToDepthwise(s, 1), weights.Lane(copy), unit,
                                  packed.depthwise_backward[static_cast<size_t>(copy)]);
    }
    return;
  }
  if (!packed.backward.empty() || !packed.dense_backward.empty()) return;
  if (OwnDataGradient(s)) {
    for (int copy = 0; copy < weights.copies; ++copy)
      packed.dense_backward.emplace_back(ToConv(s, 1), weights.Lane(copy), unit);
    return;
  }
  for (int copy = 0; copy < weights.copies; ++copy) {
    packed.backward.push_back(
        engine_.PackBackwardData(ToConv(s, 1), weights.Lane(copy), unit, precision_, w.conv));
  }
}

// Where a convolution's backward pass writes the gradient of the task's (gathered) input: to
// grad_x, the gradient of the task's input, if nothing is left to do to it, else the worker's
// scratch.
float* CpuBackend::InputGradient(const WindowShape& s, const Task& t, bool accumulate, Worker& w,
                                 float* grad_x) {
  if (!Gathers(s) && !accumulate && (!s.relu || s.relu_masked)) return grad_x;
  w.grad_x.Resize(static_cast<int64_t>(ToConv(s, t.images).InElements()) * 4);
  return w.grad_x.As<float>();
}

// Brings it from there to where it belongs.
void CpuBackend::PassInputGradient(const WindowShape& s, const Task& t, const int8_t* x,
                                   bool accumulate, const float* dense, float* grad_x) const {
  const int64_t n = s.in.Elements();
  const bool relu = s.relu && !s.relu_masked;
  if (!Gathers(s)) {
    if (dense == grad_x) return;
    ops_.pass_grad(dense, 1.0f, x + t.at * n, relu, nullptr, t.images * n, accumulate, grad_x);
    return;
  }
  const int64_t dense_n = int64_t{s.out.h} * s.out.w * s.in.c;
  for (int i = 0; i < t.images; ++i) {
    float* gx = grad_x + i * n;
    const int8_t* codes = x + (t.at + i) * n;
    if (!accumulate) std::memset(gx, 0, static_cast<size_t>(n) * sizeof(float));
    ForGatheredPixels(s, [&](int64_t from, int64_t to) {
      if (from < 0) return;
      ops_.pass_grad(dense + i * dense_n + to * s.in.c, 1.0f, codes + from * s.in.c, relu, nullptr,
                     s.in.c, true, gx + from * s.in.c);
    });
  }
}

void CpuBackend::DepthwiseBackwardTask(const WindowShape& s, const Task& t, const int8_t* x,
                                       const PackedLanes& packed, const float* gy, float* dense,
                                       float* partial_w, Worker& w) {
  const KernelTimer timer(w);
  const DepthwiseShape depthwise = ToDepthwise(s, t.images);
  if (partial_w != nullptr) {
    depthwise_.BackwardWeights(depthwise, x, s.relu, gy, partial_w, w.conv.Scratch());
  }
  if (dense != nullptr) {
    depthwise_.BackwardData(depthwise, gy, PackedLanes::OfLane(packed.depthwise_backward, t.lane),
                            dense, w.conv.Scratch());
  }
}

void CpuBackend::DenseWeightGradientTask(const WindowShape& s, const Task& t, const int8_t* x,
                                         const void* gy, float* partial_w, Worker& w) {
  const ConvShape shape = ToConv(s, t.images);
  if (Gathers(s)) x = static_cast<const int8_t*>(PrepareInput(s, x, t.images, w));
  if (OwnGradients(s)) {
    const KernelTimer timer(w);
    DenseWeightGradient(shape).Run(x, s.relu, t.images, static_cast<const float*>(gy), partial_w,
                                   w.dense);
    return;
  }
  const auto n = static_cast<int64_t>(shape.InElements());
  if (precision_ == GradPrecision::kBf16) {
    w.acc.Resize(n * 2);
    ops_.to_bf16(x, n, s.relu, w.acc.As<uint16_t>());
  } else {
    w.acc.Resize(n * 4);
    ops_.to_float(x, n, s.relu, w.acc.As<float>());
  }
  const KernelTimer timer(w);
  engine_.BackwardWeights(shape, w.acc.Data(), gy, precision_, partial_w, w.conv);
}

void CpuBackend::DenseDataGradientTask(const WindowShape& s, const Task& t,
                                       const PackedLanes& packed, const void* gy, float* dense,
                                       Worker& w) {
  const KernelTimer timer(w);
  if (OwnDataGradient(s)) {
    PackedLanes::OfLane(packed.dense_backward, t.lane)
        .Run(static_cast<const float*>(gy), t.images, dense, w.dense);
  } else {
    engine_.BackwardData(ToConv(s, t.images), gy, PackedLanes::OfLane(packed.backward, t.lane),
                         dense, w.conv);
  }
}

void CpuBackend::ConvBackwardTask(const WindowShape& s, const Task& t, const int8_t* x,
                                  const WeightCodes& weights, const GradMap& grad_y,
                                  const NormGradient* norm, float* grad_x, bool accumulate,
                                  float* partial_w, Worker& w) {
  const auto& packed = *static_cast<const PackedLanes*>(weights.packed.get());
  const int8_t* codes = x + t.at * s.in.Elements();
  float* dense = grad_x == nullptr ? nullptr : InputGradient(s, t, accumulate, w, grad_x);
  if (IsDepthwise(s)) {
    DepthwiseBackwardTask(s, t, codes, packed, RawGradient(t, s.out, grad_y, norm, w), dense,
                          partial_w, w);
  } else {
    const void* gy = precision_ == GradPrecision::kBf16
                         ? static_cast<const void*>(RawGradientBf16(t, s.out, grad_y, norm, w))
                         : RawGradient(t, s.out, grad_y, norm, w);
    if (partial_w != nullptr) DenseWeightGradientTask(s, t, codes, gy, partial_w, w);
    if (dense != nullptr) DenseDataGradientTask(s, t, packed, gy, dense, w);
  }
  if (dense != nullptr) PassInputGradient(s, t, x, accumulate, dense, grad_x);
}

// Sums the tasks' partial weight gradients in task order, lane by lane, and adds them to grad_w.
// Threads take pieces of the tensor.
void CpuBackend::ReduceWeightGradient(const WindowShape& s, const std::vector<Task>& tasks,
                                      int lanes, const int* x_exponent, const WeightCodes& weights,
                                      float* partial, int64_t stride, float* grad_w) {
  const ConvShape shape = ToConv(s, 1);
  std::optional<DenseWeightGradient> dense;
  if (!IsDepthwise(s) && OwnGradients(s)) dense.emplace(shape);
  const bool unpack = !dense && !IsDepthwise(s);  // oneDNN's order, which only oneDNN knows
  const auto sum = [&](int lane, int64_t first, int64_t last) {
    float* total = nullptr;
    for (size_t i = 0; i < tasks.size(); ++i) {
      if (tasks[i].lane != lane) continue;
      float* part = partial + static_cast<int64_t>(i) * stride;
      if (total == nullptr) {
        total = part;
        continue;
      }
      for (int64_t k = first; k < last; ++k) total[k] += part[k];
    }
    return total;
  };
  const auto add = [&](int lane, const float* total, int64_t first, int64_t last) {
    const float unit = PowerOfTwo(x_exponent[lane]);
    const uint8_t* keep = weights.Keep(lane);
    if (dense) return dense->AddTo(total, first, last, unit, keep, grad_w);
    for (int64_t k = first; k < last; ++k) {
      if (keep == nullptr || keep[k] != 0) grad_w[k] += total[k] * unit;
    }
  };
  const auto count = unpack ? stride : static_cast<int64_t>(shape.WeightElements());
  constexpr int64_t kPieceTerms = 1 << 15;
  const int64_t granule = dense ? dense->PieceUnit() : 16;
  const int64_t wanted = kPieceTerms / std::ssize(tasks);
  const int64_t piece = (wanted + granule - 1) / granule * granule;
  pool_.ParallelFor(static_cast<int>((count + piece - 1) / piece), [&](int at, int) {
    const int64_t first = at * piece, last = std::min(count, first + piece);
    for (int lane = 0; lane < lanes; ++lane) {
      const float* total = sum(lane, first, last);
      if (!unpack) add(lane, total, first, last);
    }
  });
  if (!unpack) return;
  std::vector<float> plain(shape.WeightElements());
  for (int lane = 0; lane < lanes; ++lane) {
    engine_.UnpackDiffWeights(shape, precision_, sum(lane, 0, 0), plain.data(), workers_[0].conv);
    add(lane, plain.data(), 0, std::ssize(plain));
  }
}

void CpuBackend::PoolBackwardTasks(const WindowShape& s, const std::vector<Task>& tasks,
                                   const int8_t* x, const GradMap& grad_y, const NormGradient* norm,
                                   float* grad_x, bool accumulate,
                                   std::optional<NormSummer>& summer) {
  ForTasks(tasks, nullptr, [&](size_t at, const Task& t, Worker& w, FaultCounts*) {
    const float* gy = RawGradient(t, s.out, grad_y, norm, w);
    for (int i = 0; i < t.images; ++i) {
      const int64_t first = (t.at + i) * s.in.Elements();
      float* gx = grad_x + first;
      if (!accumulate) std::memset(gx, 0, static_cast<size_t>(s.in.Elements()) * sizeof(float));
      PoolBackward(ops_, s, x + first, gy + i * s.out.Elements(), gx, w.x);
    }
    if (summer) {
      summer->Add(at, t.lane, t.at, t.images, grad_x + t.at * s.in.Elements(), nullptr);
    }
  });
}

void CpuBackend::ConvBackwardTasks(const BatchDims& b, const WindowShape& s,
                                   const std::vector<Task>& tasks, const int8_t* x,
                                   const int* x_exponent, WeightCodes& weights,
                                   const GradMap& grad_y, const NormGradient* norm,
                                   const GradMap& grad_x, bool accumulate, float* grad_w,
                                   std::optional<NormSummer>& summer) {
  PackedLanes::Of(weights);
  if (grad_x) PackBackward(s, weights, workers_[0]);
  const ConvShape dense = ToConv(s, 1);
  const auto stride = static_cast<int64_t>(IsDepthwise(s) || OwnGradients(s)
                                               ? dense.WeightElements()
                                               : engine_.DiffWeightElements(dense, precision_));
  const int64_t padded = (stride + 15) / 16 * 16;
  if (grad_w != nullptr) partial_.Resize(padded * static_cast<int64_t>(tasks.size()) * 4);
  auto* partial = partial_.As<float>();
  const int64_t n = s.in.Elements();
  ForTasks(tasks, nullptr, [&](size_t i, const Task& t, Worker& w, FaultCounts*) {
    if (grad_x.narrow) w.wide.Resize(t.images * n * 4);
    float* task_grad = !grad_x         ? nullptr
                       : grad_x.narrow ? w.wide.As<float>()
                                       : grad_x.Floats() + t.at * n;
    ConvBackwardTask(s, t, x, weights, grad_y, norm, task_grad, accumulate,
                     grad_w == nullptr ? nullptr : partial + static_cast<int64_t>(i) * padded, w);
    if (summer) {
      summer->Add(i, t.lane, t.at, t.images, task_grad,
                  grad_x.narrow ? grad_x.Narrow() + t.at * n : nullptr);
    }
  });
  if (grad_w != nullptr) {
    ReduceWeightGradient(s, tasks, b.lanes, x_exponent, weights, partial, padded, grad_w);
  }
}

void CpuBackend::WindowBackward(const BatchDims& b, const WindowShape& s, const int8_t* x,
                                const int* x_exponent, WeightCodes* weights, const GradMap& grad_y,
                                const NormGradient* norm, const GradMap& grad_x, bool accumulate,
                                float* grad_w, NormSums* sums) {
  FTT_CHECK(!grad_x.narrow || (sums != nullptr && !s.pool && !accumulate),
            "cpu backend: a gradient in bfloat16 is written at once, with the sums, or not at all");
  const std::vector<Task> tasks = Cut(b, std::max(s.in.Elements(), s.out.Elements()));
  std::optional<NormSummer> summer;
  if (sums != nullptr && grad_x) summer.emplace(ops_, b.lanes, s.in, *sums, tasks.size(), sums_);
  if (s.pool) {
    if (grad_x) {
      PoolBackwardTasks(s, tasks, x, grad_y, norm, grad_x.Floats(), accumulate, summer);
    }
  } else {
    ConvBackwardTasks(b, s, tasks, x, x_exponent, *weights, grad_y, norm, grad_x, accumulate,
                      grad_w, summer);
  }
  if (summer) summer->Finish(LanesOf(tasks), *sums);
}

void CpuBackend::SumBackward(const BatchDims& b, const Shape& s, const SumInput& in,
                             int channel_offset, const uint8_t* mask, const float* grad_y,
                             float* grad_x, bool accumulate) {
  const int64_t n = s.Elements();
  const int64_t pixels = int64_t{s.h} * s.w;
  ForTasks(Cut(b, n), nullptr, [&](size_t, const Task& t, Worker&, FaultCounts*) {
    for (int64_t image = t.at; image < t.at + t.images; ++image) {
      const float* g = grad_y + image * n;
      const int8_t* codes = in.codes + image * pixels * in.channels;
      float* gx = grad_x + image * pixels * in.channels;
      if (in.channels == s.c) {
        ops_.pass_grad(g, 1.0f, codes, in.relu,
                       mask == nullptr ? nullptr : mask + image * MaskBytes(n), n, accumulate, gx);
        continue;
      }
      // Concatenations carry no mask.
      if (!in.relu) {
        ops_.pass_slice(g + channel_offset, pixels, s.c, in.channels, accumulate, gx);
        continue;
      }
      for (int64_t p = 0; p < pixels; ++p) {
        ops_.pass_grad(g + p * s.c + channel_offset, 1.0f, codes + p * in.channels, in.relu,
                       nullptr, in.channels, accumulate, gx + p * in.channels);
      }
    }
  });
}

void CpuBackend::GlobalSumBackward(const BatchDims& b, const Shape& in, bool relu, const int8_t* x,
                                   const uint8_t* mask, const float* grad_y, float* grad_x,
                                   bool accumulate) {
  const float share = 1.0f / static_cast<float>(in.h * in.w);
  ForTasks(Cut(b, in.Elements()), nullptr, [&](size_t, const Task& t, Worker&, FaultCounts*) {
    for (int64_t image = t.at; image < t.at + t.images; ++image) {
      for (int64_t p = 0; p < int64_t{in.h} * in.w; ++p) {
        const int64_t at = image * in.Elements() + p * in.c;
        ops_.pass_grad(grad_y + image * in.c, share, x + at, relu,
                       mask == nullptr ? nullptr : mask + image * MaskBytes(in.c), in.c, accumulate,
                       grad_x + at);
      }
    }
  });
}

void CpuBackend::LinearBackward(const BatchDims& b, int in, int out, const int8_t* x,
                                const float* x_unit, const WeightCodes& weights,
                                const uint8_t* keep, float keep_scale, const float* grad_logits,
                                float* grad_x, float* grad_w, float* grad_bias) {
  const float w_unit = PowerOfTwo(weights.exponent) * keep_scale;
  const auto kept = [&](int image) {
    return keep == nullptr ? nullptr : keep + int64_t{image} * in;
  };
  ForTasks(Cut(b, int64_t{in} * out), nullptr, [&](size_t, const Task& t, Worker&, FaultCounts*) {
    for (int i = 0; i < t.images; ++i) {
      float* gx = grad_x + (t.at + i) * in;
      std::fill_n(gx, in, 0.0f);
      for (int o = 0; o < out; ++o) {
        const float g = grad_logits[(t.at + i) * out + o] * w_unit;
        const int8_t* row = weights.Lane(t.lane) + int64_t{o} * in;
        for (int k = 0; k < in; ++k) gx[k] += g * static_cast<float>(row[k]);
      }
      const uint8_t* mask = kept(t.first + i);
      for (int k = 0; mask != nullptr && k < in; ++k) gx[k] = mask[k] != 0 ? gx[k] : 0.0f;
    }
  });
  pool_.ParallelFor(out, [&](int o, int) {
    std::vector<float> row(static_cast<size_t>(in));
    for (int lane = 0; lane < b.lanes; ++lane) {
      std::fill(row.begin(), row.end(), 0.0f);
      for (int image = 0; image < b.images; ++image) {
        const int64_t at = int64_t{lane} * b.images + image;
        const float g = grad_logits[at * out + o] * keep_scale * x_unit[lane];
        grad_bias[o] += grad_logits[at * out + o];
        const uint8_t* mask = kept(image);
        for (int k = 0; k < in; ++k) {
          const float term = g * static_cast<float>(x[at * in + k]);
          row[static_cast<size_t>(k)] += mask == nullptr || mask[k] != 0 ? term : 0.0f;
        }
      }
      const uint8_t* pass = weights.Keep(lane);
      for (int k = 0; k < in; ++k) {
        const int64_t at = int64_t{o} * in + k;
        if (pass == nullptr || pass[at] != 0) grad_w[at] += row[static_cast<size_t>(k)];
      }
    }
  });
}

}  // namespace ftt::cpu
