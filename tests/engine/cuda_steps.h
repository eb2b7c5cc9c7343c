// Training steps on the emulated device, each with other images, faults and rates, and what comes
// of them.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/evaluate.h"
#include "engine/optimizer.h"
#include "tests/engine/engine_util.h"

namespace ftt::test {

inline constexpr Shape kInput{8, 8, 3};

inline InputCoding PlainCoding() { return {{0.5f, 0.5f, 0.5f}, {0.25f, 0.25f, 0.25f}, 8}; }

// Every kind of op, and small, because the emulation is slow.
inline Program SmallNetwork() {
  Program program = BuildNetwork("tiny-cnn", kInput, 10);
  program.dropout = 0.3f;
  return program;
}

// A run's parameters, their optimizer state, and what its steps said.
struct Trained {
  std::vector<float> numbers;
  std::vector<int64_t> counts;
  int64_t graph_launches = 0;
};

inline void AppendParams(const ParamStore& params, Trained& out) {
  for (const auto& [name, p] : params.All()) {
    for (const std::vector<float>* v : {&p.value, &p.momentum, &p.second_moment})
      out.numbers.insert(out.numbers.end(), v->begin(), v->end());
    out.counts.push_back(p.updates);
  }
}

class StepMaker {
 public:
  explicit StepMaker(const char* faults) : spec_(ParseFaultSpec(faults)), set_(Noise(kInput, 23)) {
    augment_.cutout = 3;
    augment_.cutout_fill = {9, 8, 7};
  }

  // Images, labels, moves, rate, trial and dropout are all other ones at every step.
  void Step(TrainExecutor& executor, const Program& program, const OptimizerOptions& optimizer,
            uint32_t step, int images, bool frozen) {
    Draw(step, images);
    TrainBatch batch = Batch(step, images);
    batch.frozen_norm = frozen;
    executor.Step(program, batch, Lanes(step), optimizer, 0.05f / static_cast<float>(1 + step));
  }
  // In between, on more images than any step: makes buffers grow.
  void Forward(TrainExecutor& executor, const Program& program, int images,
               const TrainExecutor::Meanwhile& meanwhile = nullptr) {
    Draw(0, images);
    executor.Run(program, Batch(0, images), Lanes(0), TrainMode::kForward, meanwhile);
  }
  // For that Step.
  void Prepare(TrainExecutor& executor, const Program& program, uint32_t step, int images) const {
    executor.Prepare(program, Lanes(step), images);
  }

 private:
  void Draw(uint32_t step, int images) {
    ids_.clear();
    labels_.clear();
    for (int i = 0; i < images; ++i) {
      ids_.push_back((7 * step + 5 * static_cast<uint32_t>(i)) % 23);
      labels_.push_back(set_.labels[ids_.back()]);
    }
  }
  TrainBatch Batch(uint32_t step, int images) const {
    return {.images = images,
            .labels = labels_.data(),
            .image_ids = ids_.data(),
            .step = step,
            .source = &set_,
            .augment = &augment_,
            .augment_seed = 3,
            .epoch = step / 4};
  }
  std::vector<LaneSpec> Lanes(uint32_t step) const {
    LaneSpec clean, faulty;
    clean.loss_weight = 0.3f;
    faulty.loss_weight = 0.7f;
    faulty.faults = &spec_;
    faulty.seed = 5 + step / 3;
    faulty.moment = {step, true};
    return {clean, faulty};
  }

  FaultSpec spec_;
  ImageSet set_;
  AugmentOptions augment_;
  std::vector<uint32_t> ids_;
  std::vector<uint8_t> labels_;
};

inline void ExpectSame(const EvaluateResult& got, const EvaluateResult& want) {
  EXPECT_EQ(got.golden_correct, want.golden_correct);
  ASSERT_EQ(got.trials.size(), want.trials.size());
  for (size_t t = 0; t < got.trials.size(); ++t) {
    EXPECT_EQ(got.trials[t].correct, want.trials[t].correct);
    EXPECT_EQ(got.trials[t].changed, want.trials[t].changed);
    EXPECT_EQ(got.trials[t].masked, want.trials[t].masked);
    EXPECT_EQ(got.trials[t].faults.delivered, want.trials[t].faults.delivered);
    EXPECT_EQ(got.trials[t].faults.exposed, want.trials[t].faults.exposed);
  }
}

}  // namespace ftt::test
