// What a run takes on the device: how close its plan is to the bound, and that a run that does not
// fit says so before it starts.
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "engine/cuda/cuda_device.h"
#include "engine/cuda/deploy_layout.h"
#include "engine/cuda/layout.h"
#include "engine/cuda/memory_check.h"
#include "engine/cuda/train_layout.h"
#include "engine/evaluate.h"
#include "engine/train_run.h"
#include "search/search_run.h"
#include "tests/cuda_emulation/runtime.h"
#include "tests/data/temp_dir.h"
#include "tests/engine/engine_util.h"

namespace ftt {
namespace {

using cuda::MemoryNeeds;
using cuda::MemoryPart;
using cuda::TotalBytes;
using test::EveryOpNetwork;
using test::FreshModel;
using test::HostDevice;
using test::Noise;

// The emulated device with `free` bytes left, until the end of the test.
class Machine {
 public:
  ~Machine() { emulation::SetDeviceMemory(emulation::kUsualDeviceMemory); }
  void SetFree(int64_t free) { emulation::SetDeviceMemory(emulation::DeviceMemoryInUse() + free); }
};

int64_t WithoutCode(const std::vector<MemoryPart>& parts) {
  int64_t bytes = 0;
  for (const MemoryPart& p : parts) bytes += p.name == "code" ? 0 : p.bytes;
  return bytes;
}

// What the body throws, "" without.
template <typename F>
std::string ErrorOf(const F& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(MemoryPlanTest, PlansAreWithinATenthOfTheLiveSet) {
  constexpr Shape kCifar{32, 32, 3};
  CellNetOptions cells;
  cells.init_channels = 16;
  for (const Program& program :
       {BuildNetwork("resnet-20", kCifar, 10), BuildNetwork("mobilenet-v2", kCifar, 10),
        BuildNetwork("w-ftt-net", kCifar, 10),
        BuildCellNetwork(ParseGenotype(test::kEveryOp), cells, kCifar, 10)}) {
    SCOPED_TRACE(program.network);
    cuda::TrainShape shape;
    shape.lanes = 2;
    shape.images = 64;
    shape.faulty_weights.assign(program.ops.size(), 0);
    const MemoryPlan train = cuda::PlanTraining(program, shape).values;
    const MemoryPlan deploy = cuda::PlanDeployment(program, 8, 64).values;
    for (const MemoryPlan* plan : {&train, &deploy}) {
      const double ratio =
          static_cast<double>(plan->total) / static_cast<double>(plan->lower_bound);
      EXPECT_GE(ratio, 1.0);
      EXPECT_LE(ratio, 1.10);
      fmt::print("{:.60} {}: {:.1f} MiB, {:.3f} of the bound\n", program.network,
                 plan == &train ? "training" : "deployed",
                 static_cast<double>(plan->total) / (1 << 20), ratio);
    }
  }
}

TEST(MemoryPlanTest, PartialSumsOfWeightGradientsLieBesideEachOther) {
  for (const char* name : {"resnet-20", "mobilenet-v2"}) {
    SCOPED_TRACE(name);
    const Program program = BuildNetwork(name, {32, 32, 3}, 10);
    cuda::TrainShape shape;
    shape.lanes = 4;
    shape.images = 128;
    shape.faulty_weights.assign(program.ops.size(), 0);
    const cuda::TrainLayout layout = cuda::PlanTraining(program, shape);
    // In the order of the backward pass; the last op of a launch ends within the kind's part, and
    // that of the dense convolutions lies behind that of the others.
    int64_t used = -1;
    int launches = 0;
    for (const bool depthwise : {true, false}) {
      const int64_t before = used;
      int64_t start = -1, last = -1;
      for (size_t i = program.ops.size(); i-- > 0;) {
        if (!layout.HasWeightPartials(program, i)) continue;
        if (cuda::IsDepthwise(program.ops[i]) != depthwise) continue;
        const cuda::OpBuffers& b = layout.ops[i];
        launches += last == -1 || b.restarts_partials ? 1 : 0;
        if (last == -1) start = b.weight_partials;
        if (b.restarts_partials) {
          EXPECT_GT(last, -1);
          EXPECT_EQ(start, b.weight_partials);
        } else {
          EXPECT_GT(b.weight_partials, last);
        }
        EXPECT_GT(b.weight_partials, before);
        last = b.weight_partials;
        used = std::max(used, last);
      }
    }
    EXPECT_LT(used, layout.weight_partials);
    EXPECT_LE(layout.weight_partials, int64_t{64} << 20);
    fmt::print("{}: {:.1f} MiB of partial sums, {} launches\n", name,
               static_cast<double>(layout.weight_partials) / (1 << 20), launches);
  }
}

DeviceWork WorkOf(const Program& program, const ImageSet& images, const FaultSpec& faults,
                  int batch, bool fixed) {
  DeviceWork work;
  work.what = "training";
  TrainingWork& t = work.training.emplace();
  t.programs = {program};
  t.options.fixed_program = fixed;
  t.batch = batch;
  t.lanes = TrainingLanes(faults, 0.5, 1, 0);
  t.adam = true;
  t.images = &images;
  return work;
}

TEST(CudaMemoryTest, TrainingTakesWhatWasSaid) {
  const Program program = BuildNetwork("tiny-cnn", {8, 8, 3}, 10);
  const ImageSet images = Noise({8, 8, 3}, 9);
  const std::vector<uint32_t> ids = {0, 1, 2, 3};
  const auto device = MakeCudaDevice(0);
  const InputCoding coding({0.5f, 0.5f, 0.5f}, {0.25f, 0.25f, 0.25f}, 8);
  OptimizerOptions adam;
  adam.kind = "adam";
  for (const bool fixed : {true, false}) {
    for (const char* faults : {"mibb:1e-3", "adsaf:0.05+ibf-feature:1e-3"}) {
      const FaultSpec spec = ParseFaultSpec(faults);
      const DeviceWork work = WorkOf(program, images, spec, 4, fixed);
      const int64_t said = WithoutCode(MemoryNeeds(work));
      const int64_t before = emulation::DeviceMemoryInUse();
      ParamStore params(4);
      const auto executor = device->NewTrainExecutor(params, coding, work.training->options);
      for (uint32_t step = 0; step < 3; ++step) {
        const TrainBatch batch{.images = 4,
                               .labels = images.labels.data(),
                               .image_ids = ids.data(),
                               .step = step,
                               .source = &images};
        executor->Step(program, batch, TrainingLanes(spec, 0.5, 1, step), adam, 0.1f);
      }
      const int64_t used = emulation::DeviceMemoryInUse() - before;
      EXPECT_LE(used, said);
      EXPECT_GE(static_cast<double>(used), 0.98 * static_cast<double>(said));
    }
  }
}

TEST(CudaMemoryTest, EvaluationTakesWhatWasSaid) {
  const Program program = EveryOpNetwork({8, 8, 3});
  const ImageSet images = Noise({8, 8, 3}, 5);
  const auto device = MakeCudaDevice(0);
  const DeployModel model = FreshModel(*HostDevice("ref"), program, images);
  for (const char* faults : {"mibb:1e-3", "ibf-weight:1e-2"}) {
    const FaultSpec spec = ParseFaultSpec(faults);
    DeviceWork work;
    work.deployments.push_back({program, 8, 5, 3, &spec, nullptr});
    const int64_t said = WithoutCode(MemoryNeeds(work));
    const int64_t before = emulation::DeviceMemoryInUse();
    Evaluator evaluator(*device, model, images, 5, 0);
    EvaluateOptions options;
    options.trials = 3;
    evaluator.RunTrials(&spec, options);
    const int64_t used = emulation::DeviceMemoryInUse() - before;
    EXPECT_LE(used, said);
    EXPECT_GE(static_cast<double>(used), 0.95 * static_cast<double>(said));
  }
}

TEST(CudaMemoryTest, TooLittleMemoryIsOneMessageThatHelps) {
  const Program program = BuildNetwork("resnet-20", {32, 32, 3}, 10);
  const ImageSet images = Noise({32, 32, 3}, 400);
  const FaultSpec spec = ParseFaultSpec("mibb:1e-4");
  const auto device = MakeCudaDevice(0);
  Machine machine;
  const DeviceWork whole = WorkOf(program, images, spec, 64, true);
  const int64_t needed = TotalBytes(MemoryNeeds(whole));
  machine.SetFree(needed);
  EXPECT_NO_THROW(device->CheckMemory(whole));
  machine.SetFree(needed - 1);
  const std::string text = ErrorOf([&] { device->CheckMemory(whole); });
  const DeviceWork half = WorkOf(program, images, spec, 32, true);
  const int64_t half_needed = TotalBytes(MemoryNeeds(half));
  const auto mib = [](int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  for (const std::string& part :
       {fmt::format("training needs {:.1f} MiB", mib(needed)),
        fmt::format("{:.1f} MiB are free", mib(needed - 1)), std::string("values "),
        std::string("parameters "), std::string("data set 1.2"),
        fmt::format("--batch 32 needs {:.1f} MiB", mib(half_needed))}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  EXPECT_NO_THROW(device->CheckMemory(half));
  machine.SetFree(1 << 20);
  EXPECT_NE(ErrorOf([&] { device->CheckMemory(whole); }).find("smaller network"),
            std::string::npos);
}

TEST(CudaMemoryTest, AnEvaluationIsToldHowManyLanesFit) {
  const Program program = BuildNetwork("resnet-20", {32, 32, 3}, 10);
  const FaultSpec spec = ParseFaultSpec("ibf-weight:1e-4");
  const auto device = MakeCudaDevice(0);
  Machine machine;
  DeviceWork work;
  work.what = "sweep";
  work.deployments.push_back({program, 8, 256, 16, &spec, nullptr});
  const int64_t needed = TotalBytes(MemoryNeeds(work));
  machine.SetFree(needed - 1);
  const std::string text = ErrorOf([&] { device->CheckMemory(work); });
  EXPECT_NE(text.find("--lanes 8 needs"), std::string::npos) << text;
  EXPECT_NE(text.find("--batch 128 needs"), std::string::npos) << text;
  work.deployments[0].lanes = 8;
  EXPECT_NO_THROW(device->CheckMemory(work));
}

// Before anything is written.
TEST(CudaMemoryTest, RunsThatDoNotFitDoNotStart) {
  const Dataset data = LoadDataset("shapes:64,20");
  const Shape input{data.train.height, data.train.width, data.train.channels};
  const TempDir folder;
  const auto device = MakeCudaDevice(0);
  Machine machine;
  machine.SetFree(8 << 20);
  TrainRunConfig train;
  train.out = folder / "train";
  train.network = ResolveNetwork("tiny-cnn", {}, input, data.classes);
  train.train.batch = 8;
  const std::string text = ErrorOf([&] { RunTraining(*device, data, train, {}); });
  EXPECT_EQ(text.find("training of tiny-cnn needs"), 0u) << text;
  EXPECT_FALSE(PathExists(train.out));
  SearchRunConfig search;
  search.out = folder / "search";
  search.search.space = PresetSpace("mibb");
  search.search.batch = 8;
  search.search.network.cells = 2;
  EXPECT_EQ(ErrorOf([&] { RunSearch(*device, data, search, {}); }).find("search needs"), 0u);
  EXPECT_FALSE(PathExists(search.out));
  const auto host = HostDevice("ref");
  const DeployModel model =
      FreshModel(*host, BuildNetwork("tiny-cnn", input, data.classes), data.test);
  EXPECT_EQ(ErrorOf([&] {
              Evaluate(*device, model, data.test, nullptr, {});
            }).find("evaluation of tiny-cnn needs"),
            0u);
}

}  // namespace
}  // namespace ftt
