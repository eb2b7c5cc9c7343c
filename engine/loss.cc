#include "engine/loss.h"

#include <cmath>

namespace ftt {

int ArgMax(const float* logits, int n) {
  int best = 0;
  for (int i = 1; i < n; ++i) best = logits[i] > logits[best] ? i : best;
  return best;
}

LossResult SoftmaxCrossEntropy(int images, int classes, const float* logits, const uint8_t* labels,
                               float weight, float* grad) {
  LossResult result;
  for (int image = 0; image < images; ++image) {
    const float* z = logits + int64_t{image} * classes;
    const int best = ArgMax(z, classes);
    const float top = z[best];
    double total = 0;
    for (int k = 0; k < classes; ++k) total += std::exp(static_cast<double>(z[k] - top));
    result.mean += std::log(total) - static_cast<double>(z[labels[image]] - top);
    result.correct += best == labels[image] ? 1 : 0;
    for (int k = 0; grad != nullptr && k < classes; ++k) {
      const double p = std::exp(static_cast<double>(z[k] - top)) / total;
      const double target = k == labels[image] ? 1.0 : 0.0;
      grad[int64_t{image} * classes + k] = static_cast<float>(weight / images * (p - target));
    }
  }
  result.mean /= images;
  return result;
}

}  // namespace ftt
