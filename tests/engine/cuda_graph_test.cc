// Graphs of the device engine: recorded once and replayed, they do what launching kernel by kernel
// does, bit for bit, though everything that may differ between two steps does.
#include <gtest/gtest.h>

#include "engine/cuda/cuda_device.h"
#include "kernels/cuda/runtime.h"
#include "tests/engine/cuda_steps.h"

namespace ftt::test {
namespace {

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

}  // namespace
}  // namespace ftt::test
