// The end of a network: classifier and softmax cross-entropy.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

struct LinearArguments {
  int lanes = 1, images = 1, in = 1, out = 1;
  const int8_t* x = nullptr;        // [lanes][images][padded in]
  const int8_t* weights = nullptr;  // [lanes or 1][out][in], faults already applied
  bool one_weight = false;
  const float* unit = nullptr;    // [lanes]: real value of one accumulator step
  const float* bias = nullptr;    // [out]
  const uint8_t* keep = nullptr;  // dropout: [images][in], 1 keeps; null without dropout
  float* logits = nullptr;        // out: [lanes][images][out]
};
// logits = fma(float(sum_i w[o][i] * x[i]), unit, bias[o]).
void Linear(const LinearArguments& arguments, DeviceStream stream);

struct LaneLoss {
  double mean = 0;  // cross-entropy, nats
  int correct = 0;  // top-1; ties go to the lowest class
};

struct LossArguments {
  int lanes = 1, images = 1, classes = 1;
  const float* logits = nullptr;    // [lanes][images][classes]
  const uint8_t* labels = nullptr;  // [images]
  const float* weight = nullptr;    // [lanes]: of the lane's loss in the gradient
  float* grad = nullptr;            // out, nullable: weight / images * (softmax - one_hot)
  LaneLoss* losses = nullptr;       // out: [lanes]
};
void SoftmaxCrossEntropy(const LossArguments& arguments, DeviceStream stream);

}  // namespace ftt::cuda
