// Accuracy of a deployed network on a data set, clean and under faults.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "data/dataset.h"
#include "engine/device.h"

namespace ftt {

// What the network said about an image.
struct Prediction {
  int trial = 0;  // kGoldenTrial: without faults
  int64_t image = 0;
  int label = 0, predicted = 0;
};
inline constexpr int kGoldenTrial = -1;

struct EvaluateOptions {
  int batch = 64;  // images per call, >= 1; results do not depend on it
  int lanes = 1;   // trials that run side by side, >= 1; results do not depend on it
  int trials = 0;  // fault seeds, each over all images; 0: clean run only
  int first_trial = 0;
  uint64_t seed = 1;
  int64_t limit = 0;                               // first images only; 0: all
  const ReplayPlan* replay = nullptr;              // applied instead of sampled faults
  const SiteFilter* sites = nullptr;               // where faults may strike; null: everywhere
  double max_rate = 0;                             // of a sweep, see PlanSite
  std::vector<Prediction>* predictions = nullptr;  // gets every image of every trial, in no order
};

struct TrialResult {
  int trial = 0;
  int64_t correct = 0;       // against labels
  int64_t changed = 0;       // SDC-1: top-1 differs from the golden run
  int64_t outside_top5 = 0;  // SDC-5: top-1 is not among the golden run's first five
  int64_t masked = 0;        // all logits are the golden run's, bit for bit
  int64_t not_finite = 0;    // DUE: a logit is NaN or infinite
  FaultCounts faults;
};

// The fault-free run.
struct GoldenRun {
  int64_t correct = 0;
  std::vector<float> logits;  // [images][classes]
  std::vector<int> top;       // [images][5 or fewer]: classes in order of their logits
};

// Runs a network over the first images of a set, first without faults, then trial by trial. device,
// model and images must outlive it.
class Evaluator {
 public:
  using Progress = std::function<void(int64_t images)>;

  // Throws ftt::Error where the images do not fit the network.
  Evaluator(Device& device, const DeployModel& model, const ImageSet& images, int batch,
            int64_t limit);

  int64_t Images() const { return images_; }
  // Computed at the first call. progress (nullable): called with the images done since its last
  // call.
  const GoldenRun& Golden(const Progress& progress = nullptr);
  // Trials options.first_trial .. + options.trials - 1, side by side on as many lanes. Its lanes,
  // batch and limit are not used. Returns early, with nothing, when `stop` (nullable) says so
  // between two batches.
  std::vector<TrialResult> RunTrials(const FaultSpec* faults, const EvaluateOptions& options,
                                     FaultRecorder* recorder = nullptr,
                                     const Progress& progress = nullptr,
                                     const std::function<bool()>& stop = nullptr);
  // Of the last trials, for audits.
  LanePlan& Lanes() { return executor_->Lanes(); }

 private:
  // body(first image, images, logits)
  void ForEachBatch(const std::function<bool(int64_t, int, const float*)>& body);
  int Judge(const float* logits, int64_t image, TrialResult& trial) const;

  const DeployModel& model_;
  const ImageSet& set_;
  int batch_;
  int64_t images_ = 0;
  int top_ = 0;
  std::unique_ptr<DeployExecutor> executor_;
  GoldenRun golden_;
};

struct EvaluateResult {
  int64_t images = 0;
  int64_t golden_correct = 0;
  std::vector<TrialResult> trials;
  // Audit by site, summed over trials: features by value number, then weights by op.
  std::vector<FaultCounts> feature_counts, weight_counts;
  double CleanAccuracy() const {
    return static_cast<double>(golden_correct) / static_cast<double>(images);
  }
};

// Golden run, then trials of `faults` (null: none). progress (nullable): called with images done
// and images in all.
EvaluateResult Evaluate(Device& device, const DeployModel& model, const ImageSet& images,
                        const FaultSpec* faults, const EvaluateOptions& options,
                        FaultRecorder* recorder = nullptr,
                        const std::function<void(int64_t, int64_t)>& progress = nullptr);

// Runs a network on two devices op by op over the images and throws ftt::Error at the first value,
// or logit, in which they differ, naming op, lane, image and element. Returns the number of values
// compared.
int64_t CheckDevices(Device& a, Device& b, const DeployModel& model, const ImageSet& images,
                     const FaultSpec* faults, const EvaluateOptions& options);

}  // namespace ftt
