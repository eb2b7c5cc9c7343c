// Kernels of head.h. All are tiny next to the rest of a step; they are written to be short.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/head.h"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

inline constexpr int kHeadThreads = 256;

// A warp computes one logit.
__global__ void __launch_bounds__(kHeadThreads) LinearKernel(LinearArguments a) {
  StartKernel();
  const int64_t warp = (int64_t{blockIdx.x} * kHeadThreads + threadIdx.x) / kWarpSize;
  const int thread = static_cast<int>(threadIdx.x) % kWarpSize;
  if (warp >= int64_t{a.lanes} * a.images * a.out) return;
  const int64_t row = warp / a.out;
  const int o = static_cast<int>(warp - row * a.out);
  const int lane = static_cast<int>(row / a.images), image = static_cast<int>(row % a.images);
  const int8_t* x = a.x + row * PaddedChannels(a.in);
  const int8_t* w = a.weights + (int64_t{a.one_weight ? 0 : lane} * a.out + o) * a.in;
  const uint8_t* keep = a.keep == nullptr ? nullptr : a.keep + int64_t{image} * a.in;
  int32_t acc = 0;
  for (int i = thread; i < a.in; i += kWarpSize) {
    if (keep == nullptr || keep[i] != 0) acc += w[i] * x[i];
  }
  for (int step = kWarpSize / 2; step > 0; step /= 2) acc += ShuffleXor(acc, step);
  if (thread == 0) a.logits[warp] = fmaf(static_cast<float>(acc), a.unit[lane], a.bias[o]);
}

// A thread computes one value of grad_x.
__global__ void __launch_bounds__(kHeadThreads) LinearGradXKernel(LinearBackwardArguments a) {
  StartKernel();
  const int stride = PaddedChannels(a.in);
  const int64_t at = int64_t{blockIdx.x} * kHeadThreads + threadIdx.x;
  if (at >= int64_t{a.lanes} * a.images * stride) return;
  const int64_t row = at / stride;
  const int i = static_cast<int>(at - row * stride), lane = static_cast<int>(row / a.images);
  const int64_t image = row - int64_t{lane} * a.images;
  float sum = 0;
  if (i < a.in && (a.keep == nullptr || a.keep[image * a.in + i] != 0)) {
    const float unit = PowerOfTwo(*a.weight_exponent);
    const int8_t* w = a.weights + int64_t{a.one_weight ? 0 : lane} * a.out * a.in + i;
    const float* grad = a.grad_logits + row * a.out;
    for (int o = 0; o < a.out; ++o)
      sum += grad[o] * a.keep_scale * static_cast<float>(w[int64_t{o} * a.in]) * unit;
  }
  a.grad_x[at] = static_cast<Bf16>(PackBf16(sum, 0.0f) & 0xFFFFu);
}

// A block takes 32 inputs of one class, each of its warps a share of the images; what they have is
// added up in order, lane by lane. The input behind the last is the bias.
__global__ void __launch_bounds__(kHeadThreads, 4)
    LinearGradWKernel(FTT_IN_PLACE LinearBackwardArguments a) {
  StartKernel();
  constexpr int kParts = kHeadThreads / kWarpSize;
  const int thread = static_cast<int>(threadIdx.x) % kWarpSize;
  const int part = static_cast<int>(threadIdx.x) / kWarpSize;
  const int i = static_cast<int>(blockIdx.x) * kWarpSize + thread;
  const int o = static_cast<int>(blockIdx.y);
  const bool bias = i == a.in, weight = i < a.in;
  const int64_t at = int64_t{o} * a.in + i;
  float* to = weight ? a.grad_w + at : a.grad_bias + o;
  const int share = (a.images + kParts - 1) / kParts, begin = part * share;
  const int end = begin + share < a.images ? begin + share : a.images;
  using Shared = float[kParts][kWarpSize];
  FTT_SHARED(Shared, sums);
  float total = part == 0 && i <= a.in ? *to : 0.0f;
  for (int lane = 0; lane < a.lanes; ++lane) {
    float sum = 0;
    for (int image = begin; image < end; ++image) {
      const int64_t row = int64_t{lane} * a.images + image;
      const float grad = a.grad_logits[row * a.out + o];
      if (bias) sum += grad;
      if (weight && (a.keep == nullptr || a.keep[int64_t{image} * a.in + i] != 0))
        sum += grad * a.keep_scale * static_cast<float>(a.x[row * PaddedChannels(a.in) + i]);
    }
    sums[part][thread] = sum;
    SyncThreads();
    if (part == 0) {
      for (int p = 1; p < kParts; ++p) sum += sums[p][thread];
      if (bias) total += sum;
      const int64_t copy = a.one_weight ? 0 : int64_t{lane} * a.out * a.in;
      if (weight && (a.weight_keep == nullptr || a.weight_keep[copy + at] != 0))
        total += sum * PowerOfTwo(a.x_exponent[lane]);
    }
    SyncThreads();
  }
  if (part == 0 && i <= a.in) *to = total;
}

struct ImageLoss {
  double loss;
  int correct;
};

__device__ inline ImageLoss LossOfImage(const float* z, int classes, int label, float share,
                                        float* grad) {
  int best = 0;
  for (int k = 1; k < classes; ++k) best = z[k] > z[best] ? k : best;
  const float top = z[best];
  double total = 0;
  for (int k = 0; k < classes; ++k) total += exp(static_cast<double>(z[k] - top));
  for (int k = 0; grad != nullptr && k < classes; ++k) {
    const double p = exp(static_cast<double>(z[k] - top)) / total;
    grad[k] = static_cast<float>(share * (p - (k == label ? 1.0 : 0.0)));
  }
  return {log(total) - static_cast<double>(z[label] - top), best == label ? 1 : 0};
}

// A block per lane, a thread per image; the images' losses are added up in order.
__global__ void __launch_bounds__(kHeadThreads) LossKernel(LossArguments a) {
  StartKernel();
  const int lane = static_cast<int>(blockIdx.x);
  using Shared = ImageLoss[kHeadThreads];
  FTT_SHARED(Shared, shared);
  ImageLoss mine{0, 0};
  for (int image = static_cast<int>(threadIdx.x); image < a.images; image += kHeadThreads) {
    const int64_t at = (int64_t{lane} * a.images + image) * a.classes;
    const ImageLoss loss = LossOfImage(a.logits + at, a.classes, a.labels[image],
                                       a.weight[lane] / static_cast<float>(a.images),
                                       a.grad == nullptr ? nullptr : a.grad + at);
    mine.loss += loss.loss;
    mine.correct += loss.correct;
  }
  shared[threadIdx.x] = mine;
  SyncThreads();
  if (threadIdx.x != 0) return;
  for (int t = 1; t < kHeadThreads && t < a.images; ++t) {
    mine.loss += shared[t].loss;
    mine.correct += shared[t].correct;
  }
  a.losses[lane] = {mine.loss / a.images, mine.correct};
}

}  // namespace ftt::cuda
