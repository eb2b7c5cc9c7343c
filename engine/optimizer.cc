#include "engine/optimizer.h"

#include <cmath>

#include "core/error.h"

namespace ftt {
namespace {

constexpr double kPi = 3.14159265358979323846;

void SgdUpdate(const OptimizerOptions& o, Param& p, const float* gradient, float rate) {
  if (p.momentum.empty()) p.momentum.assign(p.value.size(), 0.0f);
  float* value = p.value.data();
  float* velocity = p.momentum.data();
  for (size_t i = 0; i < p.value.size(); ++i) {
    const float g = gradient[i] + o.weight_decay * value[i];
    velocity[i] = o.momentum * velocity[i] + g;
    value[i] -= rate * (o.nesterov ? g + o.momentum * velocity[i] : velocity[i]);
  }
}

void AdamUpdate(const OptimizerOptions& o, Param& p, const float* gradient, float rate) {
  if (p.momentum.empty()) p.momentum.assign(p.value.size(), 0.0f);
  if (p.second_moment.empty()) p.second_moment.assign(p.value.size(), 0.0f);
  ++p.updates;
  const AdamCorrections corrections = CorrectionsOf(o, p.updates);
  for (size_t i = 0; i < p.value.size(); ++i) {
    const float g = gradient[i] + o.weight_decay * p.value[i];
    p.momentum[i] = o.beta1 * p.momentum[i] + (1.0f - o.beta1) * g;
    p.second_moment[i] = o.beta2 * p.second_moment[i] + (1.0f - o.beta2) * g * g;
    p.value[i] -= rate * (p.momentum[i] / corrections.first) /
                  (std::sqrt(p.second_moment[i] / corrections.second) + o.epsilon);
  }
}

}  // namespace

AdamCorrections CorrectionsOf(const OptimizerOptions& o, int64_t updates) {
  const auto t = static_cast<double>(updates);
  return {static_cast<float>(1.0 - std::pow(o.beta1, t)),
          static_cast<float>(1.0 - std::pow(o.beta2, t))};
}

void Validate(const OptimizerOptions& o) {
  FTT_CHECK(o.kind == "sgd" || o.kind == "adam", "optimizer '{}' is unknown; use sgd or adam",
            o.kind);
  FTT_CHECK(o.momentum >= 0 && o.momentum < 1, "momentum {} is outside [0, 1)", o.momentum);
  FTT_CHECK(o.weight_decay >= 0, "weight decay {} is negative", o.weight_decay);
  FTT_CHECK(o.clip >= 0, "gradient clip {} is negative; 0 switches it off", o.clip);
}

double OptimizerStep(const OptimizerOptions& options, const Program& program, ParamStore& params,
                     std::vector<float>& gradient, float learning_rate) {
  double squares = 0;
  for (const float g : gradient) squares += double{g} * g;
  const double norm = std::sqrt(squares);
  FTT_CHECK(std::isfinite(norm), kDivergedMessage);
  if (options.clip > 0 && norm > options.clip) {
    const auto scale = static_cast<float>(options.clip / norm);
    for (float& g : gradient) g *= scale;
  }
  const float* part = gradient.data();
  for (const ParamInfo& info : program.params) {
    if (!info.Trained()) continue;
    Param& p = params.Get(info);
    if (options.kind == "adam") {
      AdamUpdate(options, p, part, learning_rate);
    } else {
      SgdUpdate(options, p, part, learning_rate);
    }
    part += info.Elements();
  }
  return norm;
}

float LearningRate(const Schedule& s, int64_t step, int64_t total) {
  const double position = total > 0 ? static_cast<double>(step) / static_cast<double>(total) : 0.0;
  if (position < s.warmup)
    return static_cast<float>(s.base * (position * static_cast<double>(total) + 1) /
                              (s.warmup * static_cast<double>(total) + 1));
  if (s.kind == "constant") return s.base;
  if (s.kind == "cosine") {
    const double through = (position - s.warmup) / (1.0 - s.warmup);
    return static_cast<float>(s.floor + (s.base - s.floor) * 0.5 * (1.0 + std::cos(kPi * through)));
  }
  FTT_CHECK(s.kind == "step", "schedule '{}' is unknown; use constant, cosine or step", s.kind);
  double rate = s.base;
  for (const double milestone : s.milestones) rate *= position >= milestone ? s.factor : 1.0;
  return static_cast<float>(rate);
}

}  // namespace ftt
