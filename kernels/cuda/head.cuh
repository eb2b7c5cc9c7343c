// Kernels of head.h. Both are tiny next to the rest of a step; they are written to be short.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/head.h"

namespace ftt::cuda {

inline constexpr int kHeadThreads = 256;

// A warp computes one logit.
__global__ void __launch_bounds__(kHeadThreads) LinearKernel(LinearArguments a) {
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
  for (int t = 1; t < kHeadThreads; ++t) {
    mine.loss += shared[t].loss;
    mine.correct += shared[t].correct;
  }
  a.losses[lane] = {mine.loss / a.images, mine.correct};
}

}  // namespace ftt::cuda
