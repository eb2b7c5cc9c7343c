// Gradient clipping, SGD with momentum (Nesterov or not), Adam, and learning-rate schedules.
#pragma once

#include <string>
#include <vector>

#include "engine/params.h"

namespace ftt {

class Backend;

struct OptimizerOptions {
  std::string kind = "sgd";  // sgd | adam
  float momentum = 0.9f;     // [0, 1)
  bool nesterov = false;
  float weight_decay = 1e-4f;  // L2, added to the gradient, >= 0
  float clip = 5.0f;           // largest L2 norm of the whole gradient; 0: off
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;  // adam
};

// Throws ftt::Error where a value is out of range.
void Validate(const OptimizerOptions& options);

// One update of the program's trained parameters from their gradient, in program order, which is
// scaled when clipped. Parameters that the program does not use stay as they are. Returns the
// gradient's norm before clipping. Throws ftt::Error where that is not finite. backend (nullable):
// its threads share the work; their number never changes a result.
double OptimizerStep(const OptimizerOptions& options, const Program& program, ParamStore& params,
                     std::vector<float>& gradient, float learning_rate, Backend* backend = nullptr);

// Adam divides its moments by these after `updates` updates, of which there is at least one.
struct AdamCorrections {
  float first = 1, second = 1;
};
AdamCorrections CorrectionsOf(const OptimizerOptions& options, int64_t updates);

// What the error of a step whose gradient is not finite says.
inline constexpr char kDivergedMessage[] =
    "training diverged: the gradient is not finite; lower the learning rate or switch clipping on";

struct Schedule {
  std::string kind = "cosine";  // constant | cosine | step
  float base = 0.05f;           // learning rate after warm-up
  float floor = 0.0f;           // cosine ends here
  std::vector<double> milestones = {
      0.4, 0.8};        // step: fractions of the run at which the rate is multiplied
  float factor = 0.1f;  // step: by this
  double warmup = 0.0;  // fraction of the run with a linear ramp from 0
};

// Learning rate of step `step` of `total`.
float LearningRate(const Schedule& schedule, int64_t step, int64_t total);

}  // namespace ftt
