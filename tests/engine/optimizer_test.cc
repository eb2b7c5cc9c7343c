// Updates against their definition, element by element, on any number of threads.
#include "engine/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "core/error.h"
#include "core/philox.h"
#include "kernels/backend.h"

namespace ftt {
namespace {

// Longer than what a thread takes at a time, and shorter; running statistics take no part.
Program SomeParameters() {
  Program program;
  program.params = {{"conv", ParamKind::kConvWeight, {40, 3, 3, 113}},
                    {"mean", ParamKind::kRunningMean, {40}},
                    {"gamma", ParamKind::kGamma, {40}},
                    {"fc", ParamKind::kLinearWeight, {10, 13}}};
  return program;
}

std::vector<float> SomeGradient(const Program& program, uint32_t step) {
  PhiloxSequence draws(5, Stream::kShapes, step);
  std::vector<float> gradient;
  for (const ParamInfo& info : program.params) {
    for (int64_t i = 0; info.Trained() && i < info.Elements(); ++i)
      gradient.push_back(draws.Uniform() - 0.4f);
  }
  return gradient;
}

double NormOf(const std::vector<float>& v) {
  double squares = 0;
  for (const float x : v) squares += double{x} * x;
  return std::sqrt(squares);
}

// One parameter element's state and its update.
struct Element {
  float value = 0, moment = 0, second = 0;

  void Update(const OptimizerOptions& o, float gradient, float rate, int updates) {
    const float g = gradient + o.weight_decay * value;
    if (o.kind == "sgd") {
      moment = o.momentum * moment + g;
      value -= rate * (o.nesterov ? g + o.momentum * moment : moment);
      return;
    }
    const AdamCorrections by = CorrectionsOf(o, updates);
    moment = o.beta1 * moment + (1.0f - o.beta1) * g;
    second = o.beta2 * second + (1.0f - o.beta2) * g * g;
    value -= rate * (moment / by.first) / (std::sqrt(second / by.second) + o.epsilon);
  }
};

struct Case {
  const char* name;
  OptimizerOptions options;
};

std::vector<Case> Cases() {
  std::vector<Case> cases(4);
  cases[0] = {"sgd", {}};
  cases[1] = {"nesterov", {}};
  cases[1].options.nesterov = true;
  cases[2] = {"unclipped", {}};
  cases[2].options.clip = 0;
  cases[3] = {"adam", {}};
  cases[3].options.kind = "adam";
  return cases;
}

class Optimizer : public testing::TestWithParam<Case> {};

TEST_P(Optimizer, FollowsTheDefinition) {
  constexpr float kRate = 0.05f;
  const OptimizerOptions& o = GetParam().options;
  const Program program = SomeParameters();
  ParamStore params(3);
  std::vector<Element> want;
  for (const ParamInfo& info : program.params) {
    for (const float v : params.Get(info).value) {
      if (info.Trained()) want.push_back({v});
    }
  }
  const std::vector<float> statistics = params.Get(program.params[1]).value;
  for (int step = 1; step <= 3; ++step) {
    std::vector<float> gradient = SomeGradient(program, static_cast<uint32_t>(step));
    const double norm = NormOf(gradient);
    const float scale = o.clip > 0 ? static_cast<float>(o.clip / norm) : 1.0f;
    for (size_t i = 0; i < want.size(); ++i) want[i].Update(o, gradient[i] * scale, kRate, step);
    EXPECT_NEAR(OptimizerStep(o, program, params, gradient, kRate), norm, 1e-9 * norm);
  }
  size_t at = 0;
  for (const ParamInfo& info : program.params) {
    for (const float v : params.Get(info).value) {
      if (!info.Trained()) continue;
      ASSERT_NEAR(v, want[at].value, 1e-6f + 1e-5f * std::fabs(want[at].value)) << info.name;
      ++at;
    }
  }
  EXPECT_EQ(params.Get(program.params[1]).value, statistics);
}

TEST_P(Optimizer, IsTheSameOnAnyNumberOfThreads) {
  const Program program = SomeParameters();
  std::vector<std::vector<float>> results;
  for (const int threads : {0, 1, 2, 5}) {
    const auto backend = threads == 0 ? nullptr : MakeCpuBackend(threads);
    ParamStore params(3);
    std::vector<float> norms;
    for (uint32_t step = 0; step < 3; ++step) {
      std::vector<float> gradient = SomeGradient(program, step);
      norms.push_back(static_cast<float>(
          OptimizerStep(GetParam().options, program, params, gradient, 0.05f, backend.get())));
    }
    results.push_back(norms);
    for (const ParamInfo& info : program.params) {
      const std::vector<float>& v = params.Get(info).value;
      results.back().insert(results.back().end(), v.begin(), v.end());
    }
  }
  for (size_t i = 1; i < results.size(); ++i) EXPECT_EQ(results[i], results[0]);
}

INSTANTIATE_TEST_SUITE_P(All, Optimizer, testing::ValuesIn(Cases()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(OptimizerStep, StopsAtAGradientThatIsNotFiniteAndChangesNothing) {
  const Program program = SomeParameters();
  ParamStore params(3), untouched(3);
  std::vector<float> gradient = SomeGradient(program, 0);
  gradient[20000] = INFINITY;
  EXPECT_THROW(OptimizerStep({}, program, params, gradient, 0.05f), Error);
  for (const ParamInfo& info : program.params)
    EXPECT_EQ(params.Get(info).value, untouched.Get(info).value);
}

}  // namespace
}  // namespace ftt
