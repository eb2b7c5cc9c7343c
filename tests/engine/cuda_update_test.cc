// What goes into a step of the device engine and what comes out: images of a set on the device,
// Adam; lanes of a deployed network that share ops.
#include <gtest/gtest.h>

#include "engine/cuda/cuda_device.h"
#include "tests/cuda_emulation/block.h"
#include "tests/engine/cuda_steps.h"

namespace ftt::test {
namespace {

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

// What was prepared - the step that comes, another one of its program, or another program - saves
// time or is dropped.
TEST(CudaTrainTest, PreparedStepsTrainAlike) {
  ProgramBuilder builder("other", kInput, 10);
  const int map = builder.Conv("first", 0, 8, {});
  builder.Linear("last", builder.GlobalPool("mean", {map, true}));
  const Program programs[] = {SmallNetwork(), std::move(builder).Finish()};
  const auto device = MakeCudaDevice(0);
  enum { kNothing, kThis, kOtherFaults, kOtherImages, kOtherProgram };
  std::vector<Trained> outcomes;
  for (const int prepared : {kNothing, kThis, kOtherFaults, kOtherImages, kOtherProgram}) {
    ParamStore params(4);
    StepMaker steps("mibb:1e-2+adsaf:0.05");
    const auto executor = device->NewTrainExecutor(params, PlainCoding(), {});
    for (uint32_t step = 0; step < 4; ++step) {
      const Program &program = programs[step % 2], &other = programs[1 - step % 2];
      int calls = 0;
      steps.Forward(*executor, other, 3, [&] {
        ++calls;
        if (prepared == kThis) steps.Prepare(*executor, program, step, 2);
        if (prepared == kOtherFaults) steps.Prepare(*executor, program, step + 1, 2);
        if (prepared == kOtherImages) steps.Prepare(*executor, program, step, 1);
        if (prepared == kOtherProgram) steps.Prepare(*executor, other, step, 2);
      });
      EXPECT_EQ(calls, 1);
      steps.Step(*executor, program, {}, step, 2, false);
    }
    executor->Synchronize();
    AppendParams(params, outcomes.emplace_back());
    EXPECT_EQ(outcomes.back().numbers, outcomes.front().numbers) << prepared;
  }
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

}  // namespace
}  // namespace ftt::test
