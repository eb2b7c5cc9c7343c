// Softmax cross-entropy on float logits.
#pragma once

#include <cstdint>

namespace ftt {

struct LossResult {
  double mean = 0;  // cross-entropy, nats
  int correct = 0;  // top-1; ties go to the lowest class
};

// Index of the largest of n logits; the lowest index wins ties.
int ArgMax(const float* logits, int n);

// logits, grad: [images][classes]; grad = weight / images * (softmax - one_hot), null when not
// wanted.
LossResult SoftmaxCrossEntropy(int images, int classes, const float* logits, const uint8_t* labels,
                               float weight, float* grad);

}  // namespace ftt
