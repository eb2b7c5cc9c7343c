// What a batch norm does to gradients on the CPU backend.
#include <algorithm>

#include "core/error.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/norm_sums.h"
#include "kernels/quantize_math.h"

namespace ftt::cpu {
namespace {

NormCoefficients Pointers(const NormGradient::Lane& lane) {
  return {lane.p.data(), lane.q.data(), lane.r.data()};
}

}  // namespace

NormSummer::NormSummer(const Elementwise& ops, int lanes, const Shape& shape, const NormSums& of,
                       size_t tasks, AlignedBytes& memory)
    : ops_(ops),
      n_(shape.Elements()),
      channels_(static_cast<size_t>(shape.c)),
      period_(static_cast<size_t>(ChannelPeriod(shape.c))),
      of_(of),
      xscale_(period_ * static_cast<size_t>(lanes)),
      xshift_(xscale_.size()) {
  for (size_t i = 0; i < xscale_.size(); i += channels_) {
    const LaneNorm& norm = of.norms[i / period_];
    for (size_t c = 0; c < channels_; ++c) {
      xscale_[i + c] = norm.unit * norm.inv_std[c] * PowerOfTwo(of.acc.shift);
      xshift_[i + c] = -norm.mean[c] * norm.inv_std[c];
    }
  }
  memory.Resize(static_cast<int64_t>(tasks * period_ * 2 * sizeof(double)));
  partial_ = memory.As<double>();
}

void NormSummer::Add(size_t task, int lane, int64_t first_image, int images, const float* grad,
                     uint16_t* narrow) {
  const size_t at = static_cast<size_t>(lane) * period_;
  double* g = partial_ + task * 2 * period_;
  std::fill_n(g, 2 * period_, 0.0);
  for (int i = 0; i < images; ++i) {
    const int64_t image = first_image + i;
    WithRaw(ops_, of_.acc, image * n_, [&](const auto& passes, const auto* acc) {
      passes.norm_backward_sums(acc, n_, static_cast<int>(period_), xscale_.data() + at,
                                xshift_.data() + at, MaskRow(of_.mask, image, n_), grad + i * n_, g,
                                g + period_, narrow == nullptr ? nullptr : narrow + i * n_);
    });
  }
}

void NormSummer::Finish(const std::vector<int>& task_lanes, NormSums& to) const {
  to.grad.assign(xscale_.size() / period_ * channels_, 0.0);
  to.grad_xhat.assign(to.grad.size(), 0.0);
  for (size_t i = 0; i < task_lanes.size(); ++i) {
    const size_t base = static_cast<size_t>(task_lanes[i]) * channels_;
    const double* g = partial_ + i * 2 * period_;
    for (size_t first = 0; first < period_; first += channels_) {
      for (size_t c = 0; c < channels_; ++c) {
        to.grad[base + c] += g[first + c];
        to.grad_xhat[base + c] += g[period_ + first + c];
      }
    }
  }
}

std::vector<int> CpuBackend::LanesOf(const std::vector<Task>& tasks) {
  std::vector<int> lanes;
  for (const Task& t : tasks) lanes.push_back(t.lane);
  return lanes;
}

void CpuBackend::NormBackward(const BatchDims& b, const Shape& s, const RawMap& acc,
                              const LaneNorm* norms, const float* gamma, const uint8_t* mask,
                              const GradMap& gradient, float* grad_gamma, float* grad_beta,
                              NormGradient* deferred, const NormSums* sums) {
  if (deferred != nullptr) *deferred = {};
  FTT_CHECK(!gradient.narrow || (deferred != nullptr && sums != nullptr && !sums->grad.empty()),
            "cpu backend: a gradient in bfloat16 is left as it is, and its sums are there");
  float* grad = gradient.Floats();
  const bool batch_norm = !norms[0].mean.empty();
  if (!batch_norm && grad_beta == nullptr && deferred != nullptr) {
    deferred->mask = mask;
    return;
  }
  if (!batch_norm) {
    MaskBias(b, s, mask, grad, grad_beta);
    return;
  }
  const std::vector<Task> tasks = Cut(b, s.Elements());
  NormSums own{acc, norms, mask, {}, {}};
  if (sums == nullptr || sums->grad.empty()) {
    NormSummer summer(ops_, b.lanes, s, own, tasks.size(), sums_);
    ForTasks(tasks, nullptr, [&](size_t at, const Task& t, Worker&, FaultCounts*) {
      summer.Add(at, t.lane, t.at, t.images, grad + t.at * s.Elements(), nullptr);
    });
    summer.Finish(LanesOf(tasks), own);
    sums = &own;
  }
  const auto channels = static_cast<size_t>(s.c), wide = static_cast<size_t>(ChannelPeriod(s.c));
  const double count = static_cast<double>(b.images) * s.h * s.w;
  // A narrow gradient is masked already.
  NormGradient map{acc, gradient.narrow ? nullptr : mask,
                   std::vector<NormGradient::Lane>(static_cast<size_t>(b.lanes))};
  for (size_t lane = 0; lane < map.lanes.size(); ++lane) {
    const LaneNorm& norm = norms[lane];
    const double* sum_g = sums->grad.data() + lane * channels;
    const double* sum_gx = sums->grad_xhat.data() + lane * channels;
    NormGradient::Lane& to = map.lanes[lane];
    to.p.resize(wide);
    to.q.resize(wide);
    to.r.resize(wide);
    const double share = norm.frozen ? 0 : 1 / count;
    for (size_t c = 0; c < channels; ++c) {
      if (grad_beta != nullptr) grad_beta[c] += static_cast<float>(sum_g[c]);
      if (grad_gamma != nullptr) grad_gamma[c] += static_cast<float>(sum_gx[c]);
      const float scale = norm.inv_std[c] * (gamma == nullptr ? 1.0f : gamma[c]);
      const auto mean_g = static_cast<float>(sum_g[c] * share);
      const auto mean_gx = static_cast<float>(sum_gx[c] * share);
      const float q = -scale * mean_gx * (norm.unit * norm.inv_std[c]) * PowerOfTwo(acc.shift);
      const float r = -scale * (mean_g - mean_gx * (norm.mean[c] * norm.inv_std[c]));
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
  const int64_t n = s.Elements();
  ForTasks(tasks, nullptr, [&](size_t, const Task& t, Worker&, FaultCounts*) {
    for (int64_t image = t.at; image < t.at + t.images; ++image) {
      WithRaw(ops_, acc, image * n, [&](const auto& passes, const auto* from) {
        passes.norm_backward_apply(from, n, static_cast<int>(wide),
                                   Pointers(map.lanes[static_cast<size_t>(t.lane)]),
                                   MaskRow(mask, image, n), grad + image * n, grad + image * n);
      });
    }
  });
}

// Gradient of a task's raw outputs: in place, or through the map into the worker's scratch.
const float* CpuBackend::RawGradient(const Task& t, const Shape& s, const GradMap& gradient,
                                     const NormGradient* norm, Worker& w) const {
  const int64_t n = s.Elements();
  const float* grad = gradient.Floats();
  if (norm == nullptr || norm->Empty()) return grad + t.at * n;
  w.grad_y.Resize(t.images * n * 4);
  auto* out = w.grad_y.As<float>();
  for (int i = 0; i < t.images; ++i) {
    const int64_t at = (t.at + i) * n;
    const uint8_t* mask = MaskRow(norm->mask, t.at + i, n);
    if (norm->acc.data == nullptr) {
      ops_.pass_grad(grad + at, 1.0f, nullptr, false, mask, n, false, out + i * n);
      continue;
    }
    const NormGradient::Lane& lane = norm->lanes[static_cast<size_t>(t.lane)];
    WithRaw(ops_, norm->acc, at, [&](const auto& passes, const auto* acc) {
      const auto period = static_cast<int>(lane.p.size());
      if (gradient.narrow) {
        passes.narrow_apply(acc, n, period, Pointers(lane), mask, gradient.Narrow() + at,
                            out + i * n);
      } else {
        passes.norm_backward_apply(acc, n, period, Pointers(lane), mask, grad + at, out + i * n);
      }
    });
  }
  return out;
}

// The same as bfloat16.
const uint16_t* CpuBackend::RawGradientBf16(const Task& t, const Shape& s, const GradMap& gradient,
                                            const NormGradient* norm, Worker& w) const {
  const int64_t n = s.Elements();
  const float* grad = gradient.Floats();
  w.grad_y.Resize(t.images * n * 2);
  auto* out = w.grad_y.As<uint16_t>();
  const bool map = norm != nullptr && norm->acc.data != nullptr;
  for (int i = 0; i < t.images; ++i) {
    const int64_t at = (t.at + i) * n;
    const uint8_t* mask = norm == nullptr ? nullptr : MaskRow(norm->mask, t.at + i, n);
    if (!map) {
      ops_.floats_to_bf16(grad + at, mask, n, out + i * n);
      continue;
    }
    const NormGradient::Lane& lane = norm->lanes[static_cast<size_t>(t.lane)];
    WithRaw(ops_, norm->acc, at, [&](const auto& passes, const auto* acc) {
      const auto period = static_cast<int>(lane.p.size());
      if (gradient.narrow) {
        passes.narrow_bf16(acc, n, period, Pointers(lane), mask, gradient.Narrow() + at,
                           out + i * n);
      } else {
        passes.norm_backward_bf16(acc, n, period, Pointers(lane), mask, grad + at, out + i * n);
      }
    });
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

}  // namespace ftt::cpu
