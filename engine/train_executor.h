// Runs a program in train mode: batch statistics per lane, exponents from the batch, gradients of
// active parameters.
#pragma once

#include <memory>
#include <vector>

#include "engine/input_coding.h"
#include "engine/lanes.h"
#include "engine/params.h"
#include "kernels/backend.h"

namespace ftt {

struct TrainBatch {
  int images = 0;
  const uint8_t* pixels = nullptr;      // [images][h][w][c]
  const uint8_t* labels = nullptr;      // [images]
  const uint32_t* image_ids = nullptr;  // [images], index in the data set
  uint32_t step = 0;                    // key of dropout
};

struct LaneResult {
  double loss = 0;  // mean cross-entropy
  int correct = 0;  // top-1
  FaultCounts faults;
};

struct TrainExecutorOptions {
  int bits = 8;              // 4..8
  float bn_momentum = 0.1f;  // weight of a new batch in the running statistics, (0, 1]
  uint64_t seed = 0;         // dropout
};

class TrainExecutor {
 public:
  enum class Mode {
    kTrain,      // forward and backward; running statistics updated
    kForward,    // forward only, batch statistics: the controller's reward
    kCalibrate,  // forward only, running statistics; largest exponent per value remembered
  };

  TrainExecutor(Backend& backend, ParamStore& params, InputCoding coding,
                const TrainExecutorOptions& options);
  ~TrainExecutor();

  std::vector<LaneResult> Run(const Program& program, const TrainBatch& batch,
                              const std::vector<LaneSpec>& lanes, Mode mode);

  // After kTrain: gradient of sum over lanes of loss_weight * loss for all trained parameters of
  // the program that ran, in program order; parameter p starts at GradientOffset(p) (-1 for running
  // statistics).
  std::vector<float>& Gradient();
  int64_t GradientOffset(int param) const;
  // After kCalibrate runs of one program: exponent per value. Cleared by ResetCalibration.
  const std::vector<int>& CalibratedExponents() const;
  void ResetCalibration();
  // Bytes of the arena of the last run and the lower bound of its plan.
  int64_t ArenaBytes() const;
  int64_t ArenaLowerBound() const;
  // float logits of the last run, [lanes][images][classes].
  const std::vector<float>& Logits() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ftt
