// Backward ops of the reference backend. Gradients are straight-through: 1 inside the representable
// range, 0 where a value saturated.
#include <cstring>

#include "core/error.h"
#include "kernels/ref_backend.h"

namespace ftt {
namespace {

bool MaskBit(const uint8_t* mask, int64_t i) {
  return mask == nullptr || ((mask[i / 8] >> (i % 8)) & 1) != 0;
}

struct ChannelSums {
  std::vector<double> grad, grad_xhat;
};

// Sum of g and of g * xhat per channel of one lane; grad is masked in place.
ChannelSums MaskAndSum(const BatchDims& b, const Shape& s, int lane, const int32_t* acc,
                       const LaneNorm& norm, const uint8_t* mask, float* grad) {
  ChannelSums sums{std::vector<double>(static_cast<size_t>(s.c)),
                   std::vector<double>(static_cast<size_t>(s.c))};
  const int64_t n = s.Elements();
  for (int image = 0; image < b.images; ++image) {
    const int64_t at = int64_t{lane} * b.images + image;
    for (int64_t i = 0; i < n; ++i) {
      float& g = grad[at * n + i];
      if (mask != nullptr && !MaskBit(mask + at * MaskBytes(n), i)) g = 0;
      const auto c = static_cast<size_t>(i % s.c);
      sums.grad[c] += g;
      if (norm.mean.empty()) continue;
      const float xhat =
          (static_cast<float>(acc[at * n + i]) * norm.unit - norm.mean[c]) * norm.inv_std[c];
      sums.grad_xhat[c] += double{g} * xhat;
    }
  }
  return sums;
}

void ConvBackwardImage(const WindowShape& s, const int8_t* x, float x_unit, const int8_t* w,
                       const uint8_t* keep, float w_unit, const float* grad_y, float* grad_x,
                       float* grad_w) {
  const int in_per_group = s.in.c / s.conv.groups;
  for (int oy = 0; oy < s.out.h; ++oy) {
    for (int ox = 0; ox < s.out.w; ++ox) {
      for (int oc = 0; oc < s.out.c; ++oc) {
        const float g = grad_y[(int64_t{oy} * s.out.w + ox) * s.out.c + oc];
        const int first = oc / (s.out.c / s.conv.groups) * in_per_group;
        for (int tap = 0; tap < s.conv.kernel * s.conv.kernel; ++tap) {
          const int iy = InputIndex(s, oy, tap / s.conv.kernel);
          const int ix = InputIndex(s, ox, tap % s.conv.kernel);
          if (iy < 0 || iy >= s.in.h || ix < 0 || ix >= s.in.w) continue;
          const int64_t pixel = (int64_t{iy} * s.in.w + ix) * s.in.c + first;
          const int64_t row = (int64_t{oc} * s.conv.kernel * s.conv.kernel + tap) * in_per_group;
          for (int c = 0; c < in_per_group; ++c) {
            const bool active = !s.relu || x[pixel + c] > 0;
            if (!active) continue;
            if (grad_w != nullptr && (keep == nullptr || keep[row + c] != 0)) {
              grad_w[row + c] += g * static_cast<float>(x[pixel + c]) * x_unit;
            }
            if (grad_x != nullptr) grad_x[pixel + c] += g * static_cast<float>(w[row + c]) * w_unit;
          }
        }
      }
    }
  }
}

void PoolBackwardAt(const WindowShape& s, const int8_t* x, int oy, int ox, int c, float g,
                    float* grad_x) {
  int64_t best_at = -1;
  int best = -129, taps = 0;
  for (int pass = 0; pass < 2; ++pass) {
    for (int tap = 0; tap < s.conv.kernel * s.conv.kernel; ++tap) {
      const int iy = InputIndex(s, oy, tap / s.conv.kernel);
      const int ix = InputIndex(s, ox, tap % s.conv.kernel);
      if (iy < 0 || iy >= s.in.h || ix < 0 || ix >= s.in.w) continue;
      const int64_t at = (int64_t{iy} * s.in.w + ix) * s.in.c + c;
      if (pass == 0) {
        ++taps;
        if (x[at] > best) {
          best = x[at];
          best_at = at;
        }
      } else if (s.pool_kind == PoolKind::kAverage && (!s.relu || x[at] > 0)) {
        grad_x[at] += g / static_cast<float>(taps);
      }
    }
  }
  if (s.pool_kind == PoolKind::kMax && (!s.relu || best > 0)) grad_x[best_at] += g;
}

}  // namespace

void RefBackend::NormBackward(const BatchDims& b, const Shape& s, const RawMap& raw,
                              const LaneNorm* norms, const float* gamma, const uint8_t* mask,
                              const GradMap& gradient, float* grad_gamma, float* grad_beta,
                              NormGradient* deferred, const NormSums*) {
  float* grad = Floats(gradient);
  const int32_t* acc = Ints(raw);
  if (deferred != nullptr) *deferred = {};
  const int64_t n = s.Elements();
  const double count = static_cast<double>(b.images) * s.h * s.w;
  for (int lane = 0; lane < b.lanes; ++lane) {
    const LaneNorm& norm = norms[lane];
    const ChannelSums sums = MaskAndSum(b, s, lane, acc, norm, mask, grad);
    for (size_t c = 0; c < static_cast<size_t>(s.c); ++c) {
      if (grad_beta != nullptr) grad_beta[c] += static_cast<float>(sums.grad[c]);
      if (grad_gamma != nullptr) grad_gamma[c] += static_cast<float>(sums.grad_xhat[c]);
    }
    if (norm.mean.empty()) continue;
    for (int64_t i = 0; i < b.images * n; ++i) {
      const int64_t at = lane * b.images * n + i;
      const auto c = static_cast<size_t>(i % s.c);
      const float xhat = (static_cast<float>(acc[at]) * norm.unit - norm.mean[c]) * norm.inv_std[c];
      const float scale = norm.inv_std[c] * (gamma == nullptr ? 1.0f : gamma[c]);
      if (norm.frozen) {
        grad[at] *= scale;
        continue;
      }
      grad[at] = scale * (grad[at] - static_cast<float>(sums.grad[c] / count) -
                          xhat * static_cast<float>(sums.grad_xhat[c] / count));
    }
  }
}

void RefBackend::WindowBackward(const BatchDims& b, const WindowShape& s, const int8_t* x,
                                const int* x_exponent, WeightCodes* weights, const GradMap& from,
                                const NormGradient* norm, const GradMap& to, bool accumulate,
                                float* grad_w, NormSums*) {
  const float* grad_y = Floats(from);
  float* grad_x = Floats(to);
  FTT_CHECK(norm == nullptr || norm->Empty(), "ref backend: gradient map of another backend");
  const int64_t in = s.in.Elements(), out = s.out.Elements();
  if (grad_x != nullptr && !accumulate) {
    std::memset(grad_x, 0, sizeof(float) * static_cast<size_t>(b.lanes * b.images * in));
  }
  for (int lane = 0; lane < b.lanes; ++lane) {
    for (int image = 0; image < b.images; ++image) {
      const int64_t at = int64_t{lane} * b.images + image;
      float* gx = grad_x == nullptr ? nullptr : grad_x + at * in;
      if (!s.pool) {
        ConvBackwardImage(s, x + at * in, PowerOfTwo(x_exponent[lane]), weights->Lane(lane),
                          weights->Keep(lane), PowerOfTwo(weights->exponent), grad_y + at * out, gx,
                          grad_w);
        continue;
      }
      for (int64_t i = 0; gx != nullptr && i < out; ++i) {
        const auto pixel = static_cast<int>(i / s.out.c);
        PoolBackwardAt(s, x + at * in, pixel / s.out.w, pixel % s.out.w,
                       static_cast<int>(i % s.out.c), grad_y[at * out + i], gx);
      }
    }
  }
}

void RefBackend::SumBackward(const BatchDims& b, const Shape& s, const SumInput& input,
                             int channel_offset, const uint8_t* mask, const float* grad_y,
                             float* grad_x, bool accumulate) {
  const int64_t n = s.Elements();
  const int64_t pixels = int64_t{s.h} * s.w;
  for (int64_t at = 0; at < int64_t{b.lanes} * b.images; ++at) {
    const uint8_t* image_mask = mask == nullptr ? nullptr : mask + at * MaskBytes(n);
    for (int64_t p = 0; p < pixels; ++p) {
      for (int c = 0; c < input.channels; ++c) {
        const int64_t from = p * s.c + channel_offset + c;
        const int64_t to = (at * pixels + p) * input.channels + c;
        const bool pass = MaskBit(image_mask, from) && (!input.relu || input.codes[to] > 0);
        const float g = pass ? grad_y[at * n + from] : 0.0f;
        grad_x[to] = accumulate ? grad_x[to] + g : g;
      }
    }
  }
}

void RefBackend::GlobalSumBackward(const BatchDims& b, const Shape& in, bool relu, const int8_t* x,
                                   const uint8_t* mask, const float* grad_y, float* grad_x,
                                   bool accumulate) {
  const float share = 1.0f / static_cast<float>(in.h * in.w);
  for (int64_t at = 0; at < int64_t{b.lanes} * b.images; ++at) {
    for (int64_t i = 0; i < in.Elements(); ++i) {
      const int64_t c = i % in.c;
      const int64_t to = at * in.Elements() + i;
      const bool pass = MaskBit(mask == nullptr ? nullptr : mask + at * MaskBytes(in.c), c) &&
                        (!relu || x[to] > 0);
      const float g = pass ? grad_y[at * in.c + c] * share : 0.0f;
      grad_x[to] = accumulate ? grad_x[to] + g : g;
    }
  }
}

void RefBackend::LinearBackward(const BatchDims& b, int in, int out, const int8_t* x,
                                const float* x_unit, const WeightCodes& weights,
                                const uint8_t* keep, float keep_scale, const float* grad_logits,
                                float* grad_x, float* grad_w, float* grad_bias) {
  const float w_unit = PowerOfTwo(weights.exponent);
  for (int lane = 0; lane < b.lanes; ++lane) {
    for (int image = 0; image < b.images; ++image) {
      const int64_t at = int64_t{lane} * b.images + image;
      for (int i = 0; i < in; ++i) {
        const bool kept = keep == nullptr || keep[int64_t{image} * in + i] != 0;
        float gx = 0;
        for (int o = 0; kept && o < out; ++o) {
          const float g = grad_logits[at * out + o] * keep_scale;
          const int64_t w_at = int64_t{o} * in + i;
          gx += g * static_cast<float>(weights.Lane(lane)[w_at]) * w_unit;
          if (weights.Keep(lane) == nullptr || weights.Keep(lane)[w_at] != 0) {
            grad_w[w_at] += g * static_cast<float>(x[at * in + i]) * x_unit[lane];
          }
        }
        grad_x[at * in + i] = gx;
      }
      for (int o = 0; o < out; ++o) grad_bias[o] += grad_logits[at * out + o];
    }
  }
}

}  // namespace ftt
