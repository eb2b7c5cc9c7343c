// The end of a network: classifier, softmax cross-entropy, the classifier's backward pass.
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

struct LinearBackwardArguments {
  int lanes = 1, images = 1, in = 1, out = 1;
  const int8_t* x = nullptr;             // [lanes][images][padded in]
  const int* x_exponent = nullptr;       // [lanes]
  const int8_t* weights = nullptr;       // [lanes or 1][out][in], faults already applied
  const uint8_t* weight_keep = nullptr;  // like weights, 0 where no gradient passes; nullable
  bool one_weight = false;               // one copy of both
  const int* weight_exponent = nullptr;  // one, in device memory
  const uint8_t* keep = nullptr;         // dropout: [images][in], 1 keeps; null without dropout
  float keep_scale = 1;                  // of what dropout keeps
  const float* grad_logits = nullptr;    // [lanes][images][out]
  Bf16* grad_x = nullptr;                // out: [lanes][images][padded in], pads 0
  float* grad_w = nullptr;               // [out][in], added to, lanes in order
  float* grad_bias = nullptr;            // [out], added to, lanes in order
};
// Gradients of Linear with respect to real values, in float32.
void LinearBackward(const LinearBackwardArguments& arguments, DeviceStream stream);

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
