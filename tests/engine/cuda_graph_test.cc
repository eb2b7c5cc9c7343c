// Graphs of the device engine: recorded once and replayed, they do what launching kernel by kernel
// does, bit for bit, though everything that may differ between two steps does.
#include <gtest/gtest.h>

#include "engine/cuda/cuda_device.h"
#include "engine/evaluate.h"
#include "engine/optimizer.h"
#include "kernels/cuda/runtime.h"
#include "tests/cuda_emulation/block.h"
#include "tests/engine/engine_util.h"

namespace ftt {
namespace {

using test::EveryOpNetwork;
using test::FreshModel;
using test::HostDevice;
using test::Noise;

constexpr Shape kInput{8, 8, 3};

InputCoding PlainCoding() { return {{0.5f, 0.5f, 0.5f}, {0.25f, 0.25f, 0.25f}, 8}; }

// Every kind of op, and small, because the emulation is slow.
Program SmallNetwork() {
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

void AppendParams(const ParamStore& params, Trained& out) {
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
  void Forward(TrainExecutor& executor, const Program& program, int images) {
    Draw(0, images);
    executor.Run(program, Batch(0, images), Lanes(0), TrainMode::kForward);
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

Trained Train(bool graphs, const char* faults, const OptimizerOptions& optimizer) {
  const auto device = MakeCudaDevice(0, {graphs});
  const Program program = SmallNetwork();
  ParamStore params(4);
  TrainExecutorOptions options;
  options.seed = 11;
  options.fixed_program = true;
  const auto executor = device->NewTrainExecutor(params, PlainCoding(), options);
  StepMaker steps(faults);
  Trained out;
  const int64_t before = cuda::Counts().graph_launches;
  for (uint32_t step = 0; step < 14; ++step) {
    const int images = step == 4 || step == 9 ? 2 : 3;  // the last batch of an epoch
    if (step == 6) steps.Forward(*executor, program, 5);
    steps.Step(*executor, program, optimizer, step, images, step >= 10);
  }
  out.graph_launches = cuda::Counts().graph_launches - before;
  while (const auto results = executor->NextResult(true)) {
    for (const LaneResult& r : *results) {
      out.numbers.push_back(static_cast<float>(r.loss));
      out.counts.push_back(r.correct);
      out.counts.push_back(static_cast<int64_t>(r.faults.delivered));
      out.counts.push_back(static_cast<int64_t>(r.faults.exposed));
    }
  }
  executor->Synchronize();
  AppendParams(params, out);
  return out;
}

TEST(CudaGraphTest, TrainingEqualsLaunchingKernelByKernel) {
  for (const char* kind : {"sgd", "adam"}) {
    for (const char* faults : {"mibb:1e-2+adsaf:0.05", "ibf-feature:1e-2+gauss-weight:0.1"}) {
      SCOPED_TRACE(fmt::format("{} {}", kind, faults));
      OptimizerOptions optimizer;
      optimizer.kind = kind;
      optimizer.clip = 1;
      const Trained graphs = Train(true, faults, optimizer);
      const Trained direct = Train(false, faults, optimizer);
      EXPECT_EQ(graphs.numbers, direct.numbers);
      EXPECT_EQ(graphs.counts, direct.counts);
      EXPECT_EQ(direct.graph_launches, 0);
      // All but the first of full batches, of full batches where the statistics are frozen, and,
      // where the larger run in between moved memory, once more.
      EXPECT_GE(graphs.graph_launches, 7);
      EXPECT_LE(graphs.graph_launches, 11);
    }
  }
}

TEST(CudaGraphTest, ProgramsThatChangeAreLaunchedKernelByKernel) {
  const auto device = MakeCudaDevice(0);
  const Program program = SmallNetwork();
  ParamStore params(4);
  const auto executor = device->NewTrainExecutor(params, PlainCoding(), {});
  StepMaker steps("mibb:1e-3");
  const int64_t before = cuda::Counts().graph_launches;
  for (uint32_t step = 0; step < 4; ++step) steps.Step(*executor, program, {}, step, 2, false);
  EXPECT_EQ(cuda::Counts().graph_launches, before);
}

// Steps that went before neither allocate nor wait, and read back once each.
TEST(CudaGraphTest, AStepIsOneGraphAndOneCopyBack) {
  for (const bool fixed : {false, true}) {
    for (const char* kind : {"sgd", "adam"}) {
      const auto device = MakeCudaDevice(0);
      const Program program = SmallNetwork();
      ParamStore params(4);
      TrainExecutorOptions options;
      options.fixed_program = fixed;
      const auto executor = device->NewTrainExecutor(params, PlainCoding(), options);
      OptimizerOptions optimizer;
      optimizer.kind = kind;
      StepMaker steps("mibb:1e-3");
      cuda::RuntimeCounts before;
      for (uint32_t step = 0; step < 12; ++step) {
        if (step == 9) before = cuda::Counts();  // each slot of the staging ring has been used
        steps.Step(*executor, program, optimizer, step, 2, false);
        executor->NextResult(false);
      }
      const cuda::RuntimeCounts after = cuda::Counts();
      EXPECT_EQ(after.allocations, before.allocations);
      EXPECT_EQ(after.synchronisations, before.synchronisations);
      EXPECT_EQ(after.copies_to_host, before.copies_to_host + 3);
      EXPECT_EQ(after.graph_launches, before.graph_launches + (fixed ? 3 : 0));
    }
  }
}

void ExpectSame(const EvaluateResult& got, const EvaluateResult& want) {
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

TEST(CudaGraphTest, DeployedTrialsEqualTheReference) {
  const Program program = EveryOpNetwork(kInput);
  const ImageSet images = Noise(kInput, 7);
  const auto ref = HostDevice("ref");
  const auto graphs = MakeCudaDevice(0), direct = MakeCudaDevice(0, {false});
  const DeployModel model = FreshModel(*ref, program, images);
  for (const char* text : {"lane-stuck:0.01", "ibf-weight:1e-2+mibb:1e-3"}) {
    SCOPED_TRACE(text);
    const FaultSpec spec = ParseFaultSpec(text);
    EvaluateOptions options;
    options.trials = 6;
    options.lanes = 2;
    options.batch = 3;
    const EvaluateResult want = Evaluate(*ref, model, images, &spec, options);
    const int64_t before = cuda::Counts().graph_launches;
    ExpectSame(Evaluate(*graphs, model, images, &spec, options), want);
    // Batches of 3, 3 and 1, once without faults and in three rounds; each shape's first is direct.
    const int64_t launches = cuda::Counts().graph_launches - before;
    EXPECT_GE(launches, 5);
    EXPECT_LE(launches, 8);
    const int64_t then = cuda::Counts().graph_launches;
    ExpectSame(Evaluate(*direct, model, images, &spec, options), want);
    EXPECT_EQ(cuda::Counts().graph_launches, then);
  }
}

// What no fault has touched is computed once for all lanes.
TEST(CudaDeployTest, LanesShareTheOpsBeforeTheFirstFault) {
  const Program program = EveryOpNetwork(kInput);
  const ImageSet images = Noise(kInput, 5);
  const auto ref = HostDevice("ref");
  const auto device = MakeCudaDevice(0);
  const DeployModel model = FreshModel(*ref, program, images);
  const FaultSpec spec = ParseFaultSpec("ibf-feature:5e-3+ibf-weight:1e-2");
  EvaluateOptions options;
  options.trials = 4;
  options.lanes = 4;
  options.batch = 5;
  const auto blocks = [&](const SiteFilter* sites) {
    options.sites = sites;
    Evaluator evaluator(*device, model, images, options.batch, 0);
    evaluator.Golden();
    const int64_t before = emulation::BlocksRun();
    evaluator.RunTrials(&spec, options);
    return emulation::BlocksRun() - before;
  };
  const int64_t everywhere = blocks(nullptr);
  int64_t last = everywhere;
  for (const size_t first : {program.ops.size() / 3, program.ops.size() - 6}) {
    SCOPED_TRACE(program.ops[first].name);
    SiteFilter late;
    for (size_t v = 0; v < program.values.size(); ++v) late.features.push_back(v > first);
    for (size_t i = 0; i < program.ops.size(); ++i) late.weights.push_back(i >= first);
    const int64_t now = blocks(&late);
    EXPECT_LT(now, last);
    last = now;
    const EvaluateResult want = Evaluate(*ref, model, images, &spec, options);
    EXPECT_GT(want.trials[0].faults.delivered, 0u);
    ExpectSame(Evaluate(*device, model, images, &spec, options), want);
    EXPECT_GT(CheckDevices(*device, *ref, model, images, &spec, options), 0);
  }
  EXPECT_LT(last, everywhere / 2);
}

// The device's gradient given to the host's Adam and to the device's.
TEST(CudaTrainTest, AdamUpdatesAsTheHostDoes) {
  const Program program = SmallNetwork();
  const ImageSet images = Noise(kInput, 4);
  const std::vector<uint32_t> ids = {0, 1, 2, 3};
  const TrainBatch batch{4, images.pixels.data(), images.labels.data(), ids.data(), 0};
  const auto device = MakeCudaDevice(0);
  OptimizerOptions adam;
  adam.kind = "adam";
  adam.weight_decay = 1e-3f;
  ParamStore host(4), params(4);
  const auto executor = device->NewTrainExecutor(params, PlainCoding(), {});
  for (int step = 0; step < 3; ++step) {
    const auto twin = device->NewTrainExecutor(host, PlainCoding(), {});
    twin->Run(program, batch, {LaneSpec{}}, TrainMode::kTrain);
    twin->Synchronize();
    std::vector<float> gradient = twin->Gradient();
    OptimizerStep(adam, program, host, gradient, 0.01f);
    executor->Step(program, batch, {LaneSpec{}}, adam, 0.01f);
  }
  executor->Synchronize();
  for (const auto& [name, p] : host.All()) {
    const Param& got = params.All().at(name);
    EXPECT_EQ(got.value, p.value) << name;
    EXPECT_EQ(got.momentum, p.momentum) << name;
    EXPECT_EQ(got.second_moment, p.second_moment) << name;
    EXPECT_EQ(got.updates, p.updates) << name;
  }
}

// An executor that takes over parameters with their state goes on with the same bits.
TEST(CudaTrainTest, AdamGoesOnWhereItStopped) {
  const Program program = SmallNetwork();
  const auto device = MakeCudaDevice(0);
  OptimizerOptions adam;
  adam.kind = "adam";
  std::vector<Trained> outcomes;
  for (const bool stops : {false, true}) {
    ParamStore params(4);
    StepMaker steps("mibb:1e-3");
    auto executor = device->NewTrainExecutor(params, PlainCoding(), {});
    for (uint32_t step = 0; step < 5; ++step) {
      if (stops && step == 3) {
        executor->Synchronize();
        executor = device->NewTrainExecutor(params, PlainCoding(), {});
      }
      steps.Step(*executor, program, adam, step, 2, false);
    }
    executor->Synchronize();
    AppendParams(params, outcomes.emplace_back());
  }
  EXPECT_EQ(outcomes[0].numbers, outcomes[1].numbers);
  EXPECT_EQ(outcomes[0].counts, outcomes[1].counts);
}

// Images that lie on the device and are augmented there, and those of MakeBatch.
TEST(CudaTrainTest, ImagesOfTheDeviceEqualThoseOfTheHost) {
  const Program program = SmallNetwork();
  const ImageSet set = Noise(kInput, 9);
  const std::vector<uint32_t> ids = {8, 0, 3, 3};
  std::vector<uint8_t> labels;
  for (const uint32_t id : ids) labels.push_back(set.labels[id]);
  AugmentOptions augment, black;
  augment.cutout = 3;
  augment.cutout_fill = {200, 9, 90};
  black.crop_border = "black";
  const auto device = MakeCudaDevice(0);
  const FaultSpec spec = ParseFaultSpec("mibb:1e-3");
  LaneSpec faulty;
  faulty.faults = &spec;
  const std::vector<std::vector<LaneSpec>> lanes = {{LaneSpec{}}, {LaneSpec{}, faulty}};
  std::vector<std::vector<float>> seen;
  for (const AugmentOptions* how :
       {static_cast<const AugmentOptions*>(nullptr), static_cast<const AugmentOptions*>(&augment),
        static_cast<const AugmentOptions*>(&black)}) {
    for (const std::vector<LaneSpec>& l : lanes) {
      std::vector<uint8_t> pixels(ids.size() * static_cast<size_t>(set.ImageBytes()));
      MakeBatch(set, ids.data(), 4, how, 7, 2, pixels.data());
      TrainBatch host{4, pixels.data(), labels.data(), ids.data(), 5};
      TrainBatch resident = host;
      resident.pixels = nullptr;
      resident.source = &set;
      resident.augment = how;
      resident.augment_seed = 7;
      resident.epoch = 2;
      std::vector<Trained> outcomes;
      for (const TrainBatch* batch : {&host, &resident}) {
        ParamStore params(4);
        const auto executor = device->NewTrainExecutor(params, PlainCoding(), {});
        executor->Step(program, *batch, l, {}, 0.1f);
        executor->Synchronize();
        AppendParams(params, outcomes.emplace_back());
        const std::vector<float>& logits = executor->Logits();
        outcomes.back().numbers.insert(outcomes.back().numbers.end(), logits.begin(), logits.end());
      }
      EXPECT_EQ(outcomes[0].numbers, outcomes[1].numbers);
      seen.push_back(outcomes[0].numbers);
    }
  }
  EXPECT_NE(seen[0], seen[2]);
  EXPECT_NE(seen[2], seen[4]);
}

}  // namespace
}  // namespace ftt
