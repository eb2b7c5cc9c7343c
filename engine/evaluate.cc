#include "engine/evaluate.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/error.h"
#include "engine/loss.h"

namespace ftt {
namespace {

constexpr int kTop = 5;

// Golden predictions: the first classes of each image in order of their logits.
struct Golden {
  int top = 0;
  std::vector<int> classes;  // [images][top]
};

void AppendTop(const float* logits, int classes, Golden& golden) {
  std::vector<int> order(static_cast<size_t>(classes));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  golden.classes.insert(golden.classes.end(), order.begin(), order.begin() + golden.top);
}

struct Batches {
  const ImageSet& images;
  int64_t count;
  int batch;
  // body(first image, images, pixels, ids)
  template <typename Body>
  void ForEach(const Body& body) const {
    std::vector<uint32_t> ids;
    for (int64_t first = 0; first < count; first += batch) {
      const auto n = static_cast<int>(std::min<int64_t>(batch, count - first));
      ids.resize(static_cast<size_t>(n));
      std::iota(ids.begin(), ids.end(), static_cast<uint32_t>(first));
      body(first, n, images.Image(first), ids.data());
    }
  }
};

Batches MakeBatches(const ImageSet& images, const DeployModel& model,
                    const EvaluateOptions& options) {
  const Shape& input = model.program.InputShape();
  FTT_CHECK(input == (Shape{images.height, images.width, images.channels}),
            "network {} takes {}x{}x{} images, the data set has {}x{}x{}", model.program.network,
            input.h, input.w, input.c, images.height, images.width, images.channels);
  FTT_CHECK(options.batch >= 1 && options.lanes >= 1,
            "evaluation needs a batch and a number of lanes of at least 1");
  const int64_t count = options.limit > 0 ? std::min(options.limit, images.Size()) : images.Size();
  FTT_CHECK(count > 0, "evaluation: the data set has no images");
  return {images, count, options.batch};
}

std::vector<LaneSpec> TrialLanes(const FaultSpec* faults, const EvaluateOptions& o, int first,
                                 int lanes) {
  std::vector<LaneSpec> specs(static_cast<size_t>(lanes));
  for (int lane = 0; lane < lanes; ++lane) {
    LaneSpec& spec = specs[static_cast<size_t>(lane)];
    spec.faults = faults;
    spec.replay = o.replay;
    spec.seed = o.seed;
    spec.moment.trial = static_cast<uint32_t>(o.first_trial + first + lane);
  }
  return specs;
}

void Record(const EvaluateOptions& o, const Prediction& prediction) {
  if (o.predictions != nullptr) o.predictions->push_back(prediction);
}

// Returns the predicted class.
int Judge(const float* logits, int classes, uint8_t label, const Golden& golden, int64_t image,
          TrialResult& trial) {
  const int predicted = ArgMax(logits, classes);
  const int* top = golden.classes.data() + image * golden.top;
  trial.correct += predicted == label ? 1 : 0;
  trial.changed += predicted != top[0] ? 1 : 0;
  trial.outside_top5 += std::find(top, top + golden.top, predicted) == top + golden.top ? 1 : 0;
  return predicted;
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

EvaluateResult Evaluate(Device& device, const DeployModel& model, const ImageSet& images,
                        const FaultSpec* faults, const EvaluateOptions& options,
                        FaultRecorder* recorder,
                        const std::function<void(int64_t, int64_t)>& progress) {
  const Batches batches = MakeBatches(images, model, options);
  const int classes = model.program.classes;
  const std::unique_ptr<DeployExecutor> owner = device.NewDeployExecutor(model);
  DeployExecutor& executor = *owner;
  EvaluateResult result;
  result.images = batches.count;
  Golden golden{std::min(kTop, classes), {}};
  const int64_t total = batches.count * (1 + options.trials);
  int64_t done = 0;
  const auto advance = [&](int64_t n) {
    done += n;
    if (progress) progress(done, total);
  };
  batches.ForEach([&](int64_t first, int n, const uint8_t* pixels, const uint32_t* ids) {
    const float* logits = executor.Run(pixels, ids, n).data();
    for (int i = 0; i < n; ++i) {
      AppendTop(logits + int64_t{i} * classes, classes, golden);
      const int predicted = golden.classes[static_cast<size_t>((first + i) * golden.top)];
      const int label = images.labels[static_cast<size_t>(first + i)];
      result.golden_correct += predicted == label ? 1 : 0;
      Record(options, {kGoldenTrial, first + i, label, predicted});
    }
    advance(n);
  });
  for (int trial = 0; (faults != nullptr || options.replay != nullptr) && trial < options.trials;
       trial += options.lanes) {
    const int lanes = std::min(options.lanes, options.trials - trial);
    executor.SetLanes(TrialLanes(faults, options, trial, lanes), recorder);
    const size_t base = result.trials.size();
    for (int lane = 0; lane < lanes; ++lane) {
      result.trials.push_back({});
      result.trials.back().trial = options.first_trial + trial + lane;
    }
    batches.ForEach([&](int64_t first, int n, const uint8_t* pixels, const uint32_t* ids) {
      const float* logits = executor.Run(pixels, ids, n).data();
      for (int lane = 0; lane < lanes; ++lane) {
        for (int i = 0; i < n; ++i) {
          const uint8_t label = images.labels[static_cast<size_t>(first + i)];
          TrialResult& judged = result.trials[base + static_cast<size_t>(lane)];
          const int predicted = Judge(logits + (int64_t{lane} * n + i) * classes, classes, label,
                                      golden, first + i, judged);
          Record(options, {judged.trial, first + i, label, predicted});
        }
      }
      advance(int64_t{n} * lanes);
    });
    for (int lane = 0; lane < lanes; ++lane) {
      result.trials[base + static_cast<size_t>(lane)].faults = executor.Lanes().TotalCounts(lane);
    }
    AddCounts(executor.Lanes(), result);
  }
  return result;
}

int64_t CheckDevices(Device& a, Device& b, const DeployModel& model, const ImageSet& images,
                     const FaultSpec* faults, const EvaluateOptions& options) {
  const Batches batches = MakeBatches(images, model, options);
  const auto first_owner = a.NewDeployExecutor(model), second_owner = b.NewDeployExecutor(model);
  DeployExecutor &first_executor = *first_owner, &second_executor = *second_owner;
  int64_t compared = 0;
  const int trials = std::max(options.trials, 1);
  for (int trial = 0; trial < trials; trial += options.lanes) {
    const std::vector<LaneSpec> lanes =
        TrialLanes(faults, options, trial, std::min(options.lanes, trials - trial));
    first_executor.SetLanes(lanes);
    second_executor.SetLanes(lanes);
    batches.ForEach([&](int64_t first, int n, const uint8_t* pixels, const uint32_t* ids) {
      first_executor.Begin(pixels, ids, n);
      second_executor.Begin(pixels, ids, n);
      for (size_t i = 0; i < model.program.ops.size(); ++i) {
        const Op& op = model.program.ops[i];
        first_executor.RunOp(i);
        second_executor.RunOp(i);
        const auto where = [&](int64_t at, int64_t per_image) {
          return fmt::format("op {} (network {}), lane {}, image {}, element {}", op.name,
                             model.program.network, at / (per_image * n),
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
    });
  }
  return compared;
}

}  // namespace ftt
