#include "engine/evaluate.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/error.h"
#include "engine/loss.h"

namespace ftt {
namespace {

constexpr int kTop = 5;

void AppendTop(const float* logits, int classes, int top, std::vector<int>& out) {
  std::vector<int> order(static_cast<size_t>(classes));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  out.insert(out.end(), order.begin(), order.begin() + top);
}

int64_t CheckedImages(const ImageSet& images, const DeployModel& model, int batch, int64_t limit) {
  const Shape& input = model.program.InputShape();
  FTT_CHECK(input == (Shape{images.height, images.width, images.channels}),
            "network {} takes {}x{}x{} images, the data set has {}x{}x{}",
            model.program.ShortName(), input.h, input.w, input.c, images.height, images.width,
            images.channels);
  FTT_CHECK(batch >= 1, "evaluation needs a batch of at least 1");
  const int64_t count = limit > 0 ? std::min(limit, images.Size()) : images.Size();
  FTT_CHECK(count > 0, "evaluation: the data set has no images");
  return count;
}

std::vector<LaneSpec> TrialLanes(const FaultSpec* faults, const EvaluateOptions& o, int first,
                                 int lanes) {
  std::vector<LaneSpec> specs(static_cast<size_t>(lanes));
  for (int lane = 0; lane < lanes; ++lane) {
    LaneSpec& spec = specs[static_cast<size_t>(lane)];
    spec.faults = faults;
    spec.replay = o.replay;
    spec.sites = o.sites;
    spec.max_rate = o.max_rate;
    spec.seed = o.seed;
    spec.moment.trial = static_cast<uint32_t>(first + lane);
  }
  return specs;
}

// body(first image, images, ids); returns false to stop.
template <typename Body>
void ForBatches(int64_t count, int batch, const Body& body) {
  std::vector<uint32_t> ids;
  for (int64_t first = 0; first < count; first += batch) {
    const auto n = static_cast<int>(std::min<int64_t>(batch, count - first));
    ids.resize(static_cast<size_t>(n));
    std::iota(ids.begin(), ids.end(), static_cast<uint32_t>(first));
    if (!body(first, n, ids.data())) return;
  }
}

void Record(const EvaluateOptions& o, const Prediction& prediction) {
  if (o.predictions != nullptr) o.predictions->push_back(prediction);
}

void AddCounts(LanePlan& lanes, EvaluateResult& result) {
  const size_t values = lanes.Sites().features.size(), ops = lanes.Sites().weights.size();
  result.feature_counts.resize(values);
  result.weight_counts.resize(ops);
  for (int lane = 0; lane < lanes.Lanes(); ++lane) {
    for (size_t v = 0; v < values; ++v)
      result.feature_counts[v].Merge(lanes.FeatureCounts(lane, static_cast<int>(v)));
    for (size_t i = 0; i < ops; ++i) result.weight_counts[i].Merge(lanes.WeightCounts(lane, i));
  }
}

}  // namespace

Evaluator::Evaluator(Device& device, const DeployModel& model, const ImageSet& images, int batch,
                     int64_t limit)
    : model_(model),
      set_(images),
      batch_(batch),
      images_(CheckedImages(images, model, batch, limit)),
      top_(std::min(kTop, model.program.classes)),
      executor_(device.NewDeployExecutor(model)) {}

void Evaluator::ForEachBatch(const std::function<bool(int64_t, int, const float*)>& body) {
  ForBatches(images_, batch_, [&](int64_t first, int n, const uint32_t* ids) {
    return body(first, n, executor_->Run(set_.Image(first), ids, n).data());
  });
}

const GoldenRun& Evaluator::Golden(const Progress& progress) {
  if (!golden_.logits.empty()) return golden_;
  const int classes = model_.program.classes;
  executor_->SetLanes({LaneSpec{}});
  ForEachBatch([&](int64_t first, int n, const float* logits) {
    golden_.logits.insert(golden_.logits.end(), logits, logits + int64_t{n} * classes);
    for (int i = 0; i < n; ++i) {
      AppendTop(logits + int64_t{i} * classes, classes, top_, golden_.top);
      const int predicted = golden_.top[static_cast<size_t>((first + i) * top_)];
      golden_.correct += predicted == set_.labels[static_cast<size_t>(first + i)] ? 1 : 0;
    }
    if (progress) progress(n);
    return true;
  });
  return golden_;
}

// Returns the predicted class.
int Evaluator::Judge(const float* logits, int64_t image, TrialResult& trial) const {
  const int classes = model_.program.classes;
  const auto row = static_cast<size_t>(classes) * sizeof(float);
  const int predicted = ArgMax(logits, classes);
  const int* top = golden_.top.data() + image * top_;
  trial.correct += predicted == set_.labels[static_cast<size_t>(image)] ? 1 : 0;
  trial.changed += predicted != top[0] ? 1 : 0;
  trial.outside_top5 += std::find(top, top + top_, predicted) == top + top_ ? 1 : 0;
  trial.masked += std::memcmp(logits, golden_.logits.data() + image * classes, row) == 0 ? 1 : 0;
  const bool finite =
      std::all_of(logits, logits + classes, [](float v) { return std::isfinite(v); });
  trial.not_finite += finite ? 0 : 1;
  return predicted;
}

std::vector<TrialResult> Evaluator::RunTrials(const FaultSpec* faults,
                                              const EvaluateOptions& options,
                                              FaultRecorder* recorder, const Progress& progress,
                                              const std::function<bool()>& stop) {
  Golden();
  const int lanes = options.trials, classes = model_.program.classes;
  executor_->SetLanes(TrialLanes(faults, options, options.first_trial, lanes), recorder);
  std::vector<TrialResult> results(static_cast<size_t>(lanes));
  for (int lane = 0; lane < lanes; ++lane)
    results[static_cast<size_t>(lane)].trial = options.first_trial + lane;
  bool stopped = false;
  ForEachBatch([&](int64_t first, int n, const float* logits) {
    for (int lane = 0; lane < lanes; ++lane) {
      for (int i = 0; i < n; ++i) {
        TrialResult& trial = results[static_cast<size_t>(lane)];
        const int predicted = Judge(logits + (int64_t{lane} * n + i) * classes, first + i, trial);
        Record(options,
               {trial.trial, first + i, set_.labels[static_cast<size_t>(first + i)], predicted});
      }
    }
    if (progress) progress(int64_t{n} * lanes);
    stopped = stop && stop();
    return !stopped;
  });
  if (stopped) return {};
  for (int lane = 0; lane < lanes; ++lane)
    results[static_cast<size_t>(lane)].faults = executor_->Lanes().TotalCounts(lane);
  return results;
}

EvaluateResult Evaluate(Device& device, const DeployModel& model, const ImageSet& images,
                        const FaultSpec* faults, const EvaluateOptions& options,
                        FaultRecorder* recorder,
                        const std::function<void(int64_t, int64_t)>& progress) {
  FTT_CHECK(options.lanes >= 1, "evaluation needs at least one lane");
  DeviceWork work;
  work.what = fmt::format("evaluation of {}", model.program.ShortName());
  work.deployments.push_back(
      {model.program, model.bits, options.batch, options.lanes, faults, options.sites});
  device.CheckMemory(work);
  Evaluator evaluator(device, model, images, options.batch, options.limit);
  EvaluateResult result;
  result.images = evaluator.Images();
  const int64_t total = result.images * (1 + options.trials);
  int64_t done = 0;
  const auto advance = [&](int64_t n) {
    done += n;
    if (progress) progress(done, total);
  };
  const GoldenRun& golden = evaluator.Golden(advance);
  result.golden_correct = golden.correct;
  const auto top = static_cast<int64_t>(golden.top.size()) / result.images;
  for (int64_t i = 0; i < result.images; ++i) {
    Record(options, {kGoldenTrial, i, images.labels[static_cast<size_t>(i)],
                     golden.top[static_cast<size_t>(i * top)]});
  }
  if (faults == nullptr && options.replay == nullptr) return result;
  for (int trial = 0; trial < options.trials; trial += options.lanes) {
    EvaluateOptions some = options;
    some.first_trial = options.first_trial + trial;
    some.trials = std::min(options.lanes, options.trials - trial);
    for (TrialResult& t : evaluator.RunTrials(faults, some, recorder, advance))
      result.trials.push_back(std::move(t));
    AddCounts(evaluator.Lanes(), result);
  }
  return result;
}

int64_t CheckDevices(Device& a, Device& b, const DeployModel& model, const ImageSet& images,
                     const FaultSpec* faults, const EvaluateOptions& options) {
  FTT_CHECK(options.lanes >= 1, "evaluation needs at least one lane");
  const int64_t count = CheckedImages(images, model, options.batch, options.limit);
  const auto first_owner = a.NewDeployExecutor(model), second_owner = b.NewDeployExecutor(model);
  DeployExecutor &first_executor = *first_owner, &second_executor = *second_owner;
  int64_t compared = 0;
  const int trials = std::max(options.trials, 1);
  for (int trial = 0; trial < trials; trial += options.lanes) {
    const std::vector<LaneSpec> lanes = TrialLanes(faults, options, options.first_trial + trial,
                                                   std::min(options.lanes, trials - trial));
    first_executor.SetLanes(lanes);
    second_executor.SetLanes(lanes);
    ForBatches(count, options.batch, [&](int64_t first, int n, const uint32_t* ids) {
      const uint8_t* pixels = images.Image(first);
      first_executor.Begin(pixels, ids, n);
      second_executor.Begin(pixels, ids, n);
      for (size_t i = 0; i < model.program.ops.size(); ++i) {
        const Op& op = model.program.ops[i];
        first_executor.RunOp(i);
        second_executor.RunOp(i);
        const auto where = [&](int64_t at, int64_t per_image) {
          return fmt::format("op {} (network {}), lane {}, image {}, element {}", op.name,
                             model.program.ShortName(), at / (per_image * n),
                             first + at / per_image % n, at % per_image);
        };
        if (op.kind == OpKind::kLinear) {
          const std::vector<float>&x = first_executor.Logits(), &y = second_executor.Logits();
          for (size_t k = 0; k < x.size(); ++k, ++compared) {
            FTT_CHECK(std::memcmp(&x[k], &y[k], sizeof(float)) == 0,
                      "backends {} and {} differ: {}: {} against {}", a.Name(), b.Name(),
                      where(static_cast<int64_t>(k), model.program.classes), x[k], y[k]);
          }
          continue;
        }
        const int8_t *x = first_executor.Codes(op.output), *y = second_executor.Codes(op.output);
        const int64_t count = first_executor.CodeCount(op.output);
        compared += count;
        if (std::memcmp(x, y, static_cast<size_t>(count)) == 0) continue;
        const int64_t at = std::mismatch(x, x + count, y).first - x;
        Fail("backends {} and {} differ: {}: {} against {}", a.Name(), b.Name(),
             where(at, model.program.values[static_cast<size_t>(op.output)].Elements()), x[at],
             y[at]);
      }
      return true;
    });
  }
  return compared;
}

}  // namespace ftt
