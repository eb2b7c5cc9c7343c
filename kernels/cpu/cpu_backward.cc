// Backward ops of the CPU backend.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/packed_lanes.h"
#include "kernels/quantize_math.h"

namespace ftt::cpu {
namespace {

NormCoefficients Pointers(const NormGradient::Lane& lane) {
  return {lane.p.data(), lane.q.data(), lane.r.data()};
}

// The share of a task's images of a mask with rows of MaskBytes(n), or null.
const uint8_t* MaskRow(const uint8_t* mask, int64_t image, int64_t n) {
  return mask == nullptr ? nullptr : mask + image * MaskBytes(n);
}

}  // namespace

void CpuBackend::NormBackward(const BatchDims& b, const Shape& s, const int32_t* acc,
                              const LaneNorm* norms, const float* gamma, const uint8_t* mask,
                              float* grad, float* grad_gamma, float* grad_beta,
                              NormGradient* deferred) {
  if (deferred != nullptr) *deferred = {};
  const int64_t n = s.Elements();
  const int period = ChannelPeriod(s.c);
  const bool batch_norm = !norms[0].mean.empty();
  if (!batch_norm && grad_beta == nullptr && deferred != nullptr) {
    deferred->mask = mask;
    return;
  }
  if (!batch_norm) {
    MaskBias(b, s, mask, grad, grad_beta);
    return;
  }
  // Per lane, over the period: xhat = acc * xscale + xshift.
  const auto wide = static_cast<size_t>(period), channels = static_cast<size_t>(s.c);
  std::vector<float> xscale(wide * static_cast<size_t>(b.lanes)), xshift(xscale.size());
  for (size_t i = 0; i < xscale.size(); i += channels) {
    const LaneNorm& norm = norms[i / wide];
    for (size_t c = 0; c < channels; ++c) {
      xscale[i + c] = norm.unit * norm.inv_std[c];
      xshift[i + c] = -norm.mean[c] * norm.inv_std[c];
    }
  }
  const std::vector<Task> tasks = Cut(b, n);
  sums_.Resize(std::ssize(tasks) * period * 2 * 8);  // of a task: g, g * xhat
  auto* const partial = sums_.As<double>();
  ForTasks(tasks, nullptr, [&](size_t at, const Task& t, Worker&, FaultCounts*) {
    const size_t lane = static_cast<size_t>(t.lane) * wide;
    double* g = partial + at * 2 * wide;
    std::fill_n(g, 2 * wide, 0.0);
    for (int i = 0; i < t.images; ++i) {
      const int64_t image = t.at + i;
      ops_.norm_backward_sums(acc + image * n, n, period, xscale.data() + lane,
                              xshift.data() + lane, MaskRow(mask, image, n), grad + image * n, g,
                              g + wide);
    }
  });
  std::vector<double> sum_g(channels * static_cast<size_t>(b.lanes)), sum_gx(sum_g.size());
  for (size_t i = 0; i < tasks.size(); ++i) {
    const size_t base = static_cast<size_t>(tasks[i].lane) * channels;
    const double* g = partial + i * 2 * wide;
    for (size_t first = 0; first < wide; first += channels) {
      for (size_t c = 0; c < channels; ++c) {
        sum_g[base + c] += g[first + c];
        sum_gx[base + c] += g[wide + first + c];
      }
    }
  }
  const double count = static_cast<double>(b.images) * s.h * s.w;
  NormGradient map{acc, mask, std::vector<NormGradient::Lane>(static_cast<size_t>(b.lanes))};
  for (size_t lane = 0; lane < map.lanes.size(); ++lane) {
    NormGradient::Lane& to = map.lanes[lane];
    for (size_t c = 0; c < channels; ++c) {
      if (grad_beta != nullptr) grad_beta[c] += static_cast<float>(sum_g[lane * channels + c]);
      if (grad_gamma != nullptr) grad_gamma[c] += static_cast<float>(sum_gx[lane * channels + c]);
    }
    to.p.resize(wide);
    to.q.resize(wide);
    to.r.resize(wide);
    const double share = norms[lane].frozen ? 0 : 1 / count;
    for (size_t c = 0; c < channels; ++c) {
      const float scale = norms[lane].inv_std[c] * (gamma == nullptr ? 1.0f : gamma[c]);
      const auto mean_g = static_cast<float>(sum_g[lane * channels + c] * share);
      const auto mean_gx = static_cast<float>(sum_gx[lane * channels + c] * share);
      const float q = -scale * mean_gx * xscale[lane * wide + c];
      const float r = -scale * (mean_g + mean_gx * xshift[lane * wide + c]);
      for (size_t j = c; j < wide; j += channels) {
        to.p[j] = scale;
        to.q[j] = q;
        to.r[j] = r;
      }
    }
  }
  if (deferred != nullptr) {
    *deferred = std::move(map);
    return;
  }
  ForTasks(tasks, nullptr, [&](size_t, const Task& t, Worker&, FaultCounts*) {
    for (int64_t image = t.at; image < t.at + t.images; ++image) {
      ops_.norm_backward_apply(acc + image * n, n, period,
                               Pointers(map.lanes[static_cast<size_t>(t.lane)]),
                               MaskRow(mask, image, n), grad + image * n, grad + image * n);
    }
  });
}

// Gradient of a task's raw outputs: in place, or through the map into the worker's scratch.
const float* CpuBackend::RawGradient(const Task& t, const Shape& s, const float* grad,
                                     const NormGradient* norm, Worker& w) const {
  const int64_t n = s.Elements();
  if (norm == nullptr || norm->Empty()) return grad + t.at * n;
  w.grad_y.Resize(t.images * n * 4);
  auto* out = w.grad_y.As<float>();
  for (int i = 0; i < t.images; ++i) {
    const int64_t at = (t.at + i) * n;
    const uint8_t* mask = MaskRow(norm->mask, t.at + i, n);
    if (norm->acc == nullptr) {
      ops_.pass_grad(grad + at, 1.0f, nullptr, false, mask, n, false, out + i * n);
      continue;
    }
    const NormGradient::Lane& lane = norm->lanes[static_cast<size_t>(t.lane)];
    ops_.norm_backward_apply(norm->acc + at, n, static_cast<int>(lane.p.size()), Pointers(lane),
                             mask, grad + at, out + i * n);
  }
  return out;
}

// The same as bfloat16.
const uint16_t* CpuBackend::RawGradientBf16(const Task& t, const Shape& s, const float* grad,
                                            const NormGradient* norm, Worker& w) const {
  const int64_t n = s.Elements();
  w.grad_y.Resize(t.images * n * 2);
  auto* out = w.grad_y.As<uint16_t>();
  const bool map = norm != nullptr && norm->acc != nullptr;
  for (int i = 0; i < t.images; ++i) {
    const int64_t at = (t.at + i) * n;
    const uint8_t* mask = norm == nullptr ? nullptr : MaskRow(norm->mask, t.at + i, n);
    if (!map) {
      ops_.floats_to_bf16(grad + at, mask, n, out + i * n);
      continue;
    }
    const NormGradient::Lane& lane = norm->lanes[static_cast<size_t>(t.lane)];
    ops_.norm_backward_bf16(norm->acc + at, n, static_cast<int>(lane.p.size()), Pointers(lane),
                            mask, grad + at, out + i * n);
  }
  return out;
}

// Without batch norm: masks the gradient in place and sums it into the bias gradient (nullable).
void CpuBackend::MaskBias(const BatchDims& b, const Shape& s, const uint8_t* mask, float* grad,
                          float* grad_bias) {
  const int64_t n = s.Elements();
  const std::vector<Task> tasks = Cut(b, n);
  const auto channels = static_cast<size_t>(s.c);
  std::vector<std::vector<double>> partial(grad_bias == nullptr ? 0 : tasks.size(),
                                           std::vector<double>(channels));
  ForTasks(tasks, nullptr, [&](size_t at, const Task& t, Worker&, FaultCounts*) {
    for (int64_t image = t.at; image < t.at + t.images; ++image) {
      float* g = grad + image * n;
      if (mask != nullptr)
        ops_.pass_grad(g, 1.0f, nullptr, false, mask + image * MaskBytes(n), n, false, g);
      if (grad_bias == nullptr) continue;
      for (int64_t i = 0; i < n; i += s.c) {
        for (size_t c = 0; c < channels; ++c) partial[at][c] += g[i + static_cast<int64_t>(c)];
      }
    }
  });
  for (const std::vector<double>& p : partial) {
    for (size_t c = 0; c < channels; ++c) grad_bias[c] += static_cast<float>(p[c]);
  }
}

void CpuBackend::PackBackward(const WindowShape& s, WeightCodes& weights, Worker& w) {
  PackedLanes& packed = PackedLanes::Of(weights);
  if (IsDepthwise(s)) {
    if (!packed.depthwise_backward.empty()) return;
    packed.depthwise_backward.resize(static_cast<size_t>(weights.copies));
    for (int copy = 0; copy < weights.copies; ++copy) {
      depthwise_.PackBackwardData(ToDepthwise(s, 1), weights.Lane(copy),
                                  packed.depthwise_backward[static_cast<size_t>(copy)]);
    }
    return;
  }
  if (!packed.backward.empty()) return;
  for (int copy = 0; copy < weights.copies; ++copy) {
    packed.backward.push_back(
        engine_.PackBackwardData(ToConv(s, 1), weights.Lane(copy), precision_, w.conv));
  }
}

// Gradient of the task's images with respect to the input, from that of the dense (gathered) input
// in w.grad_x.
void CpuBackend::PassInputGradient(const WindowShape& s, const Task& t, const int8_t* x, float unit,
                                   bool accumulate, const Worker& w, float* grad_x) const {
  const int64_t n = s.in.Elements();
  const auto* dense = w.grad_x.As<float>();
  if (!Gathers(s)) {
    ops_.pass_grad(dense, unit, x + t.at * n, s.relu, nullptr, t.images * n, accumulate,
                   grad_x + t.at * n);
    return;
  }
  const int64_t dense_n = int64_t{s.out.h} * s.out.w * s.in.c;
  for (int i = 0; i < t.images; ++i) {
    float* gx = grad_x + (t.at + i) * n;
    const int8_t* codes = x + (t.at + i) * n;
    if (!accumulate) std::memset(gx, 0, static_cast<size_t>(n) * sizeof(float));
    ForGatheredPixels(s, [&](int64_t from, int64_t to) {
      if (from < 0) return;
      ops_.pass_grad(dense + i * dense_n + to * s.in.c, unit, codes + from * s.in.c, s.relu,
                     nullptr, s.in.c, true, gx + from * s.in.c);
    });
  }
}

void CpuBackend::ConvBackwardTask(const WindowShape& s, const Task& t, const int8_t* x,
                                  const WeightCodes& weights, const float* grad_y,
                                  const NormGradient* norm, float* grad_x, bool accumulate,
                                  float* partial_w, Worker& w) {
  const ConvShape shape = ToConv(s, t.images);
  const auto& packed = *static_cast<const PackedLanes*>(weights.packed.get());
  if (IsDepthwise(s)) {
    const DepthwiseShape depthwise = ToDepthwise(s, t.images);
    const float* gy = RawGradient(t, s.out, grad_y, norm, w);
    if (partial_w != nullptr) {
      const KernelTimer timer(w);
      depthwise_.BackwardWeights(depthwise, x + t.at * s.in.Elements(), s.relu, gy, partial_w,
                                 w.conv.Scratch());
    }
    if (grad_x == nullptr) return;
    w.grad_x.Resize(t.images * s.in.Elements() * 4);
    {
      const KernelTimer timer(w);
      depthwise_.BackwardData(depthwise, gy, PackedLanes::OfLane(packed.depthwise_backward, t.lane),
                              w.grad_x.As<float>(), w.conv.Scratch());
    }
    PassInputGradient(s, t, x, PowerOfTwo(weights.exponent), accumulate, w, grad_x);
    return;
  }
  const bool bf16 = precision_ == GradPrecision::kBf16;
  const void* gy = bf16 ? static_cast<const void*>(RawGradientBf16(t, s.out, grad_y, norm, w))
                        : RawGradient(t, s.out, grad_y, norm, w);
  if (partial_w != nullptr) {
    const auto n = static_cast<int64_t>(shape.InElements());
    const int8_t* codes = x + t.at * s.in.Elements();
    if (Gathers(s)) codes = static_cast<const int8_t*>(PrepareInput(s, codes, t.images, w));
    w.acc.Resize(n * (bf16 ? 2 : 4));
    if (bf16) {
      ops_.to_bf16(codes, n, s.relu, w.acc.As<uint16_t>());
    } else {
      ops_.to_float(codes, n, s.relu, w.acc.As<float>());
    }
    const KernelTimer timer(w);
    engine_.BackwardWeights(shape, w.acc.Data(), gy, precision_, partial_w, w.conv);
  }
  if (grad_x == nullptr) return;
  w.grad_x.Resize(static_cast<int64_t>(shape.InElements()) * 4);
  {
    const KernelTimer timer(w);
    engine_.BackwardData(shape, gy, PackedLanes::OfLane(packed.backward, t.lane),
                         w.grad_x.As<float>(), w.conv);
  }
  PassInputGradient(s, t, x, PowerOfTwo(weights.exponent), accumulate, w, grad_x);
}

// Sums the partial weight gradients of one lane in task order and adds them to grad_w.
void CpuBackend::ReduceWeightGradient(const WindowShape& s, const std::vector<Task>& tasks,
                                      int lane, float unit, const uint8_t* keep, float* partial,
                                      int64_t stride, float* grad_w) {
  std::vector<float*> parts;
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (tasks[i].lane == lane) parts.push_back(partial + static_cast<int64_t>(i) * stride);
  }
  float* total = parts.front();
  constexpr int64_t kPiece = 8192;
  pool_.ParallelFor(static_cast<int>((stride + kPiece - 1) / kPiece), [&](int piece, int) {
    const int64_t first = piece * kPiece, last = std::min(stride, first + kPiece);
    for (size_t i = 1; i < parts.size(); ++i) {
      const float* part = parts[i];
      for (int64_t k = first; k < last; ++k) total[k] += part[k];
    }
  });
  const ConvShape shape = ToConv(s, 1);
  std::vector<float> plain(shape.WeightElements());
  if (IsDepthwise(s)) {
    std::copy_n(total, plain.size(), plain.data());
  } else {
    engine_.UnpackDiffWeights(shape, precision_, total, plain.data(), workers_[0].conv);
  }
  for (size_t k = 0; k < plain.size(); ++k) {
    if (keep == nullptr || keep[k] != 0) grad_w[k] += plain[k] * unit;
  }
}

void CpuBackend::WindowBackward(const BatchDims& b, const WindowShape& s, const int8_t* x,
                                const int* x_exponent, WeightCodes* weights, const float* grad_y,
                                const NormGradient* norm, float* grad_x, bool accumulate,
                                float* grad_w) {
  const std::vector<Task> tasks = Cut(b, std::max(s.in.Elements(), s.out.Elements()));
  if (s.pool) {
    if (grad_x == nullptr) return;
    ForTasks(tasks, nullptr, [&](size_t, const Task& t, Worker& w, FaultCounts*) {
      const float* gy = RawGradient(t, s.out, grad_y, norm, w);
      for (int i = 0; i < t.images; ++i) {
        const int64_t at = (t.at + i) * s.in.Elements();
        float* gx = grad_x + at;
        if (!accumulate) std::memset(gx, 0, static_cast<size_t>(s.in.Elements()) * sizeof(float));
        PoolBackward(ops_, s, x + at, gy + i * s.out.Elements(), gx, w.x);
      }
    });
    return;
  }
  PackedLanes::Of(*weights);
  if (grad_x != nullptr) PackBackward(s, *weights, workers_[0]);
  const ConvShape dense = ToConv(s, 1);
  const auto stride = static_cast<int64_t>(
      IsDepthwise(s) ? dense.WeightElements() : engine_.DiffWeightElements(dense, precision_));
  const int64_t padded = (stride + 15) / 16 * 16;
  if (grad_w != nullptr) partial_.Resize(padded * static_cast<int64_t>(tasks.size()) * 4);
  auto* partial = partial_.As<float>();
  ForTasks(tasks, nullptr, [&](size_t i, const Task& t, Worker& w, FaultCounts*) {
    ConvBackwardTask(s, t, x, *weights, grad_y, norm, grad_x, accumulate,
                     grad_w == nullptr ? nullptr : partial + static_cast<int64_t>(i) * padded, w);
  });
  for (int lane = 0; grad_w != nullptr && lane < b.lanes; ++lane) {
    ReduceWeightGradient(s, tasks, lane, PowerOfTwo(x_exponent[lane]), weights->Keep(lane), partial,
                         padded, grad_w);
  }
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
      for (int64_t p = 0; p < pixels; ++p) {  // concatenations carry no mask
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
