// The device engine on emulated kernels: whole networks against the host.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/cuda/cuda_device.h"
#include "engine/cuda/layout.h"
#include "engine/cuda/strike_plan.h"
#include "engine/evaluate.h"
#include "kernels/cuda/runtime.h"
#include "tests/cuda_emulation/launches.h"
#include "tests/cuda_emulation/runtime.h"
#include "tests/engine/engine_util.h"

namespace ftt {
namespace {

using test::EveryOpNetwork;
using test::FreshModel;
using test::HostDevice;
using test::Noise;

constexpr Shape kInput{8, 8, 3};

InputCoding PlainCoding() { return {{0.5f, 0.5f, 0.5f}, {0.25f, 0.25f, 0.25f}, 8}; }

TEST(CudaDeployTest, EqualsRefForEveryFaultModelAndCountsTheSame) {
  const Program program = EveryOpNetwork(kInput);
  const ImageSet images = Noise(kInput, 5);
  const auto ref = HostDevice("ref");
  const auto device = MakeCudaDevice(0);
  const DeployModel model = FreshModel(*ref, program, images);
  for (const char* text : {"none", "mibb:1e-3", "mibb:1e-3,sites=conv,linear", "ibf-feature:1e-3",
                           "ibf-weight:1e-2+mibb:1e-4", "adsaf:0.08", "adsaf-bit:0.02",
                           "stuck-feature:1e-3", "gauss-weight:0.1", "lane-stuck:0.01"}) {
    SCOPED_TRACE(text);
    const FaultSpec spec = ParseFaultSpec(text);
    EvaluateOptions options;
    options.trials = 2;
    options.lanes = 2;
    options.batch = 3;
    EXPECT_GT(CheckDevices(*device, *ref, model, images, &spec, options), 0);
    if (spec.Empty()) continue;
    const EvaluateResult want = Evaluate(*ref, model, images, &spec, options);
    const EvaluateResult got = Evaluate(*device, model, images, &spec, options);
    ASSERT_EQ(got.trials.size(), want.trials.size());
    for (size_t t = 0; t < got.trials.size(); ++t) {
      const FaultCounts &g = got.trials[t].faults, &w = want.trials[t].faults;
      EXPECT_EQ(got.trials[t].correct, want.trials[t].correct);
      EXPECT_EQ(g.exposed, w.exposed);
      EXPECT_EQ(g.delivered, w.delivered);
      EXPECT_EQ(g.positive, w.positive);
      EXPECT_EQ(g.negative, w.negative);
      for (int bit = 0; bit < 8; ++bit) EXPECT_EQ(g.bit[bit], w.bit[bit]) << bit;
    }
    for (size_t v = 0; v < want.feature_counts.size(); ++v)
      EXPECT_EQ(got.feature_counts[v].delivered, want.feature_counts[v].delivered) << v;
  }
}

int64_t PairsOf(const Program& program) {
  const std::vector<int> partners = cuda::SeparablePartners(program);
  return (static_cast<int64_t>(partners.size()) -
          std::count(partners.begin(), partners.end(), -1)) /
         2;
}

// Op by op every value is compared, but nothing is fused; a run's logits depend on all of them.
TEST(CudaDeployTest, SeparableConvolutionsInOneKernelChangeNoBit) {
  struct Case {
    Program program;
    Shape input;
    int64_t pairs;
  };
  const Case cases[] = {{EveryOpNetwork(kInput), kInput, 6},
                        {EveryOpNetwork({11, 9, 3}), {11, 9, 3}, 6},
                        {BuildNetwork("mobilenet-v2", {8, 8, 3}, 10), {8, 8, 3}, 6}};
  const FaultSpec spec = ParseFaultSpec("mibb:3e-4+ibf-weight:1e-3");
  const FaultSpec bits = ParseFaultSpec("ibf-feature:1e-3");
  EXPECT_EQ(PairsOf(BuildNetwork("mobilenet-v2", {32, 32, 3}, 10)), 13) << "of 17";
  EXPECT_EQ(PairsOf(BuildNetwork("resnet-20", {32, 32, 3}, 10)), 0);
  const auto ref = HostDevice("ref"), device = MakeCudaDevice(0);
  for (const Case& c : cases) {
    SCOPED_TRACE(c.program.network);
    EXPECT_EQ(PairsOf(c.program), c.pairs);
    const ImageSet images = Noise(c.input, 3);
    const DeployModel model = FreshModel(*ref, c.program, images);
    std::vector<LaneSpec> lanes(3);
    for (size_t lane = 1; lane < lanes.size(); ++lane) {
      lanes[lane].faults = lane == 1 ? &spec : &bits;
      lanes[lane].seed = 5;
      lanes[lane].moment = {static_cast<uint32_t>(lane), false};
    }
    const std::vector<uint32_t> ids = {4, 5, 6};
    const auto want = ref->NewDeployExecutor(model), got = device->NewDeployExecutor(model);
    want->SetLanes(lanes);
    got->SetLanes(lanes);
    const int64_t before = emulation::LaunchesOf("Separable");
    EXPECT_EQ(want->Run(images.Image(0), ids.data(), 3), got->Run(images.Image(0), ids.data(), 3));
    EXPECT_EQ(emulation::LaunchesOf("Separable") - before, c.pairs);
    for (int lane = 0; lane < 3; ++lane) {
      EXPECT_EQ(want->Lanes().TotalCounts(lane).delivered,
                got->Lanes().TotalCounts(lane).delivered);
    }
  }
}

// Most faults are drawn in a stream of their own, which a device may put off until an op waits.
TEST(CudaDeployTest, FaultsDrawnLateAreTheSame) {
  const Program program = EveryOpNetwork(kInput);
  const ImageSet images = Noise(kInput, 8);
  const auto ref = HostDevice("ref"), device = MakeCudaDevice(0);
  const DeployModel model = FreshModel(*ref, program, images);
  const FaultSpec spec = ParseFaultSpec("mibb:3e-3,sampler=sparse");
  std::vector<LaneSpec> lanes(3);
  for (size_t lane = 1; lane < lanes.size(); ++lane) {
    lanes[lane].faults = &spec;
    lanes[lane].seed = 5;
    lanes[lane].moment = {static_cast<uint32_t>(lane), false};
  }
  const std::vector<uint32_t> ids = {4, 5, 6, 7, 8, 9, 10, 11};
  const auto want = ref->NewDeployExecutor(model);
  want->SetLanes(lanes);
  const std::vector<float> logits = want->Run(images.Image(0), ids.data(), 8);
  for (const bool late : {false, true}) {
    emulation::SetLateStreams(late);
    const auto got = device->NewDeployExecutor(model);
    got->SetLanes(lanes);
    // Launched, recorded, replayed.
    for (int run = 0; run < 3; ++run) {
      const int64_t before = emulation::LaunchesOf("DrawStrikes");
      EXPECT_EQ(logits, got->Run(images.Image(0), ids.data(), 8)) << late << run;
      EXPECT_EQ(emulation::LaunchesOf("DrawStrikes") - before, 2) << "no second part";
    }
    for (int lane = 0; lane < 3; ++lane) {
      EXPECT_EQ(3 * want->Lanes().TotalCounts(lane).delivered,
                got->Lanes().TotalCounts(lane).delivered);
    }
    emulation::SetLateStreams(false);
  }
}

// Sites beyond the limit have no list: the kernels that write their codes draw their faults.
TEST(CudaStrikePlanTest, ListsEndWhereTheLimitIs) {
  const FaultSpec spec = ParseFaultSpec("mibb:1e-3");
  cuda::StrikePlan plan;
  std::vector<SiteFaults> faults;
  for (int value = 1; value <= 2; ++value) {
    const FaultSite site{value, "site", SiteKind::kConv, 100, 32, 32, 16, 32 * 32 * 16};
    faults.push_back(PlanSite(spec, site, 8, 1));
    plan.AddSite(value, site, {&faults.back()}, nullptr);
  }
  const int64_t both = plan.Bytes(1, 1);
  const auto most = static_cast<int>(cuda::kMostStrikeBytes / both);
  uint32_t word = 0;
  plan.Place(&word, 1, most);
  EXPECT_EQ(plan.Bytes(1, most), both * most);
  EXPECT_NE(plan.List(1).words, nullptr);
  EXPECT_NE(plan.List(2).words, nullptr);
  EXPECT_EQ(plan.List(3).words, nullptr);
  plan.Place(&word, 1, most + 1);
  EXPECT_EQ(plan.Bytes(1, most + 1), both / 2 * (most + 1));
  EXPECT_EQ(plan.List(1).words, &word);
  EXPECT_EQ(plan.List(2).words, nullptr);
}

struct StepOutcome {
  std::vector<LaneResult> lanes;
  std::vector<float> gradient;
  ParamStore params{4};
};

std::unique_ptr<StepOutcome> OneStep(Device& device, const char* faults, bool exact,
                                     float dropout = 0, bool frozen = false,
                                     int64_t partial_bytes = TrainExecutorOptions{}.partial_bytes,
                                     bool sums_rectify = false) {
  Program program = EveryOpNetwork(kInput);
  program.dropout = dropout;
  if (sums_rectify) {
    for (Op& op : program.ops)
      for (OpInput& in : op.inputs) in.relu = in.relu || op.kind == OpKind::kAdd;
  }
  TrainExecutorOptions options;
  options.exact_raw = exact;
  options.partial_bytes = partial_bytes;
  const ImageSet images = Noise(kInput, 4);
  const std::vector<uint32_t> ids = {7, 8, 9, 10};
  const FaultSpec spec = ParseFaultSpec(faults);
  auto out = std::make_unique<StepOutcome>();
  const auto executor = device.NewTrainExecutor(out->params, PlainCoding(), options);
  LaneSpec clean, faulty;
  clean.loss_weight = 0.3f;
  faulty.loss_weight = 0.7f;
  faulty.faults = &spec;
  faulty.moment = {3, true};
  TrainBatch batch{4, images.pixels.data(), images.labels.data(), ids.data(), 3};
  batch.frozen_norm = frozen;
  out->lanes = executor->Run(program, batch, {clean, faulty}, TrainMode::kTrain);
  out->gradient = executor->Gradient();
  executor->Synchronize();
  return out;
}

double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(a[i] - b[i], 2);
    norm += std::pow(b[i], 2);
  }
  return std::sqrt(difference / norm);
}

void ExpectEqualFaults(const FaultCounts& got, const FaultCounts& want) {
  EXPECT_EQ(got.exposed, want.exposed);
  EXPECT_EQ(got.delivered, want.delivered);
  EXPECT_EQ(got.positive, want.positive);
}

// With exact raw outputs only the rounding of gradients to bfloat16 is left.
TEST(CudaTrainTest, AStepAgreesWithRef) {
  const auto ref = HostDevice("ref");
  const auto device = MakeCudaDevice(0);
  for (const char* faults : {"none", "mibb:1e-3", "adsaf:0.05", "mibb:1e-3+adsaf:0.05"}) {
    SCOPED_TRACE(faults);
    const auto want = OneStep(*ref, faults, true), got = OneStep(*device, faults, true);
    for (size_t lane = 0; lane < 2; ++lane) {
      EXPECT_NEAR(got->lanes[lane].loss, want->lanes[lane].loss, 1e-5 * want->lanes[lane].loss);
      EXPECT_EQ(got->lanes[lane].correct, want->lanes[lane].correct);
      ExpectEqualFaults(got->lanes[lane].faults, want->lanes[lane].faults);
    }
    EXPECT_LT(Distance(got->gradient, want->gradient), 0.01);
    for (const auto& [name, param] : want->params.All()) {
      if (param.info.Trained()) continue;
      EXPECT_LT(Distance(got->params.All().at(name).value, param.value), 1e-5) << name;
    }
  }
}

// A device may put off the stream of the weight gradients as long as nothing waits for it; what
// they read must live until then.
TEST(CudaTrainTest, LateWeightGradientsChangeNoBit) {
  for (const char* faults : {"none", "mibb:1e-3+adsaf:0.05"}) {
    const auto device = MakeCudaDevice(0);
    const auto want = OneStep(*device, faults, false);
    emulation::SetLateStreams(true);
    const auto got = OneStep(*device, faults, false);
    emulation::SetLateStreams(false);
    EXPECT_EQ(want->gradient, got->gradient) << faults;
  }
}

// Such inputs share no gradient: their masks do not hold the ReLU.
TEST(CudaTrainTest, SumsThatReadThroughAReluAgreeWithRef) {
  constexpr int64_t kRoom = TrainExecutorOptions{}.partial_bytes;
  const auto want = OneStep(*HostDevice("ref"), "none", true, 0, false, kRoom, true);
  const auto got = OneStep(*MakeCudaDevice(0), "none", true, 0, false, kRoom, true);
  EXPECT_LT(Distance(got->gradient, want->gradient), 0.01);
  EXPECT_GT(Distance(OneStep(*HostDevice("ref"), "none", true)->gradient, want->gradient), 0.1);
}

// Each op's partial sums are added up before the next op's take their place.
TEST(CudaTrainTest, LittleRoomForPartialSumsChangesNoBit) {
  const auto device = MakeCudaDevice(0);
  const auto want = OneStep(*device, "mibb:1e-3", false);
  for (const bool late : {false, true}) {
    emulation::SetLateStreams(late);
    const auto got = OneStep(*device, "mibb:1e-3", false, 0, false, 0);
    emulation::SetLateStreams(false);
    EXPECT_EQ(want->gradient, got->gradient);
  }
}

// In half precision a few codes round the other way, which echoes through this tiny network.
TEST(CudaTrainTest, AStepWithHalfPrecisionStoresStaysClose) {
  const auto want = OneStep(*HostDevice("ref"), "mibb:1e-3", false);
  const auto got = OneStep(*MakeCudaDevice(0), "mibb:1e-3", false);
  for (size_t lane = 0; lane < 2; ++lane) {
    EXPECT_NEAR(got->lanes[lane].loss, want->lanes[lane].loss, 0.02 * want->lanes[lane].loss);
    ExpectEqualFaults(got->lanes[lane].faults, want->lanes[lane].faults);
  }
  EXPECT_LT(Distance(got->gradient, want->gradient), 0.2);
}

TEST(CudaTrainTest, FrozenStatisticsAgreeWithRefAndStayAsTheyAre) {
  const auto want = OneStep(*HostDevice("ref"), "mibb:1e-3", true, 0, true);
  const auto got = OneStep(*MakeCudaDevice(0), "mibb:1e-3", true, 0, true);
  const auto batch = OneStep(*HostDevice("ref"), "mibb:1e-3", true);
  for (size_t lane = 0; lane < 2; ++lane)
    EXPECT_NEAR(got->lanes[lane].loss, want->lanes[lane].loss, 1e-5 * want->lanes[lane].loss);
  EXPECT_LT(Distance(got->gradient, want->gradient), 0.01);
  EXPECT_GT(Distance(batch->gradient, want->gradient), 0.1);
  for (const auto* outcome : {&want, &got}) {
    for (const auto& [name, param] : (*outcome)->params.All()) {
      if (param.info.kind != ParamKind::kRunningVar) continue;
      for (const float v : param.value) EXPECT_EQ(v, 1.0f) << name;
    }
  }
}

TEST(CudaTrainTest, DropoutDropsTheSameFeatures) {
  const auto want = OneStep(*HostDevice("ref"), "none", true, 0.5f);
  const auto got = OneStep(*MakeCudaDevice(0), "none", true, 0.5f);
  EXPECT_NEAR(got->lanes[0].loss, want->lanes[0].loss, 1e-5 * want->lanes[0].loss);
  EXPECT_LT(Distance(got->gradient, want->gradient), 0.01);
}

TEST(CudaTrainTest, CalibrationAgreesWithRef) {
  const Program program = EveryOpNetwork(kInput);
  const ImageSet images = Noise(kInput, 6);
  std::vector<std::vector<int>> exponents;
  const auto ref = HostDevice("ref"), device = MakeCudaDevice(0);
  for (Device* d : {ref.get(), device.get()}) {
    ParamStore params(4);
    const auto executor = d->NewTrainExecutor(params, PlainCoding(), {});
    exponents.push_back(Calibrate(*executor, program, images, 6, 3));
  }
  ASSERT_EQ(exponents[0].size(), exponents[1].size());
  int different = 0;
  for (size_t v = 0; v < exponents[0].size(); ++v) {
    EXPECT_LE(std::abs(exponents[0][v] - exponents[1][v]), 1) << v;
    different += exponents[0][v] != exponents[1][v] ? 1 : 0;
  }
  EXPECT_LE(different, 1);  // a maximum next to a power of two may fall on either side
}

TEST(CudaTrainTest, StepsLearnTheSameBitsTwiceAndMakeTheHostWaitForNothing) {
  const Program program = EveryOpNetwork(kInput);
  const ImageSet images = Noise(kInput, 8);
  std::vector<uint32_t> ids(8);
  const TrainBatch batch{8, images.pixels.data(), images.labels.data(), ids.data(), 0};
  const auto device = MakeCudaDevice(0);
  std::vector<float> values[2];
  for (std::vector<float>& value : values) {
    ParamStore params(4);
    TrainExecutorOptions options;
    options.fixed_program = &value != values;  // as a graph
    const auto executor = device->NewTrainExecutor(params, PlainCoding(), options);
    double first = 0, last = 0;
    cuda::RuntimeCounts before;
    constexpr int kSteps = 12;
    int taken = 0;
    for (int step = 0; step < kSteps; ++step) {
      if (step == 9) before = cuda::Counts();  // each slot of the staging ring has been used
      executor->Step(program, batch, {LaneSpec{}}, {}, 0.05f);
    }
    EXPECT_EQ(cuda::Counts().allocations, before.allocations);
    EXPECT_EQ(cuda::Counts().synchronisations, before.synchronisations);
    while (const auto result = executor->NextResult(true)) {
      (taken == 0 ? first : last) = result->front().loss;
      ++taken;
    }
    EXPECT_EQ(taken, kSteps);
    EXPECT_LT(last, 0.9 * first);
    executor->Synchronize();
    for (const auto& [name, p] : params.All())
      value.insert(value.end(), p.value.begin(), p.value.end());
  }
  EXPECT_EQ(values[0], values[1]);
}

}  // namespace
}  // namespace ftt
