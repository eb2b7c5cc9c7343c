// Runs a program in train mode: batch statistics per lane, exponents from the batch, gradients of
// active parameters.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "data/augment.h"
#include "engine/input_coding.h"
#include "engine/lanes.h"
#include "engine/params.h"
#include "kernels/backend.h"

namespace ftt {

struct TrainBatch {
  int images = 0;
  const uint8_t* pixels = nullptr;      // [images][h][w][c]; null: see `source`
  const uint8_t* labels = nullptr;      // [images]
  const uint32_t* image_ids = nullptr;  // [images], index in the data set
  uint32_t step = 0;                    // key of dropout
  // Without pixels: the images `image_ids` of this set, as MakeBatch gives them. A GPU keeps the
  // set in its memory, so it must stay as it is while the executor lives.
  const ImageSet* source = nullptr;
  const AugmentOptions* augment = nullptr;  // null: as they are
  uint64_t augment_seed = 0;
  uint32_t epoch = 0;
  // In kTrain: batch norm uses the running statistics, as in deploy mode, and leaves them alone.
  bool frozen_norm = false;
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
  // Every Step runs the same program. A GPU then replays a step as one graph instead of launching
  // its kernels one by one, and takes no more memory than that program needs.
  bool fixed_program = false;
  // Raw outputs of convolutions are kept as int32, never in half precision. For tests.
  bool exact_raw = false;
  // On a GPU, room for partial sums of weight gradients before they are added up; less takes more
  // launches and changes no bit.
  int64_t partial_bytes = int64_t{32} << 20;
};

enum class TrainMode {
  kTrain,      // forward and backward; running statistics updated
  kForward,    // forward only, batch statistics: the controller's reward
  kCalibrate,  // forward only, running statistics; largest exponent per value remembered
};

struct OptimizerOptions;

class TrainExecutor {
 public:
  virtual ~TrainExecutor() = default;

  // One result per lane. The parameters stay as they are, but for running statistics.
  // meanwhile: called at most once, where the host would only wait for a device; of the executor it
  // may call nothing but Prepare.
  using Meanwhile = std::function<void()>;
  virtual std::vector<LaneResult> Run(const Program& program, const TrainBatch& batch,
                                      const std::vector<LaneSpec>& lanes, TrainMode mode,
                                      const Meanwhile& meanwhile = nullptr) = 0;
  // After Run in kTrain: gradient of sum over lanes of loss_weight * loss for all trained
  // parameters of the program, one after another in program order.
  virtual std::vector<float> Gradient() = 0;

  // Works out what a Step of this program on so many images will need. Saves time if that comes
  // next and finds `program`, unchanged, at the same address; has no other effect.
  virtual void Prepare(const Program& /*program*/, const std::vector<LaneSpec>& /*lanes*/,
                       int /*images*/) {}

  // A training step: Run in kTrain, then the optimizer's update. It may return before it is done.
  // Its results come out of NextResult in the order of the steps; wait: until there is one, unless
  // all steps' results have been taken. Throws ftt::Error where training diverged.
  virtual void Step(const Program& program, const TrainBatch& batch,
                    const std::vector<LaneSpec>& lanes, const OptimizerOptions& optimizer,
                    float learning_rate) = 0;
  virtual std::optional<std::vector<LaneResult>> NextResult(bool wait) = 0;
  // Brings the parameter store up to date with all steps.
  virtual void Synchronize() = 0;

  // After kCalibrate runs of one program: exponent per value. Cleared by ResetCalibration.
  virtual const std::vector<int>& CalibratedExponents() const = 0;
  virtual void ResetCalibration() = 0;
  // Bytes of the arena of the last run and the lower bound of its plan.
  virtual int64_t ArenaBytes() const = 0;
  virtual int64_t ArenaLowerBound() const = 0;
  // float logits of the last Run, [lanes][images][classes].
  virtual const std::vector<float>& Logits() = 0;
};

// On the host. backend and params must outlive it.
std::unique_ptr<TrainExecutor> MakeTrainExecutor(Backend& backend, ParamStore& params,
                                                 const InputCoding& coding,
                                                 const TrainExecutorOptions& options);

}  // namespace ftt
