// The engine end to end on small networks: learning, exactness of deploy mode, resume.
#include <gtest/gtest.h>

#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "core/signals.h"
#include "engine/checkpoint.h"
#include "engine/evaluate.h"
#include "engine/networks/networks.h"
#include "engine/run_dir.h"
#include "engine/train_plan.h"
#include "engine/train_run.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/engine/engine_util.h"
#include "tests/kernels/parity_util.h"

namespace ftt {
namespace {

using test::EveryOpNetwork;
using test::FreshModel;
using test::HostDevice;
using test::Noise;
using test::RelativeError;

Dataset SmallShapes() {
  static const Dataset data = LoadDataset("shapes:640,100");
  return data;
}

NetworkSpec TinySpec(const Dataset& data, const std::string& name = "tiny-cnn") {
  return ResolveNetwork(name, {}, {data.train.height, data.train.width, data.train.channels},
                        data.classes);
}

TrainConfig TinyTraining() {
  TrainConfig c;
  c.epochs = 2;
  c.batch = 32;
  c.schedule.base = 0.1f;
  c.faults = ParseFaultSpec("mibb:1e-3");
  c.calibration_images = 64;
  return c;
}

TEST(TrainTest, LossFallsAlongTheGradient) {
  const auto device = HostDevice("cpu");
  const Program program = EveryOpNetwork();
  const ImageSet images = Noise(program.InputShape(), 32);
  ParamStore params(4);
  const auto executor = device->NewTrainExecutor(
      params, InputCoding({0.5f, 0.5f, 0.5f}, {0.25f, 0.25f, 0.25f}, 8), {});
  std::vector<uint32_t> ids(32);
  const TrainBatch batch{32, images.pixels.data(), images.labels.data(), ids.data(), 0};
  double first = 0, last = 0;
  for (int step = 0; step < 25; ++step) {
    executor->Step(program, batch, {LaneSpec{}}, {}, 0.02f);
    (step == 0 ? first : last) = executor->NextResult(true)->front().loss;
  }
  EXPECT_LT(last, 0.7 * first);  // one batch, learnt by heart
}

struct StepOutcome {
  std::vector<LaneResult> lanes;  // clean, faulty
  std::vector<float> gradient;
};

StepOutcome OneStep(Device& device, const Program& program, const char* faults) {
  const ImageSet images = Noise(program.InputShape(), 4);
  const std::vector<uint32_t> ids = {7, 8, 9, 10};
  const FaultSpec spec = ParseFaultSpec(faults);
  ParamStore params(4);
  const auto executor = device.NewTrainExecutor(
      params, InputCoding({0.5f, 0.5f, 0.5f}, {0.25f, 0.25f, 0.25f}, 8), {});
  const TrainBatch batch{4, images.pixels.data(), images.labels.data(), ids.data(), 3};
  LaneSpec faulty;
  faulty.faults = &spec;
  faulty.moment = {3, true};
  StepOutcome out;
  out.lanes = executor->Run(program, batch, {LaneSpec{}, faulty}, TrainMode::kTrain);
  out.gradient = executor->Gradient();
  return out;
}

TEST(TrainTest, RefAndCpuAgreeOnAStep) {
  std::vector<StepOutcome> steps;
  for (const char* name : {"ref", "cpu-f32", "cpu"}) {
    steps.push_back(OneStep(*HostDevice(name), EveryOpNetwork(), "mibb:1e-3+adsaf:0.05"));
    EXPECT_GT(steps.back().lanes[1].faults.delivered, 0u);
    EXPECT_EQ(steps.back().lanes[0].faults.delivered, 0u);
  }
  const double loss = steps[0].lanes[1].loss;
  for (size_t i : {1u, 2u}) {
    EXPECT_NEAR(loss, steps[i].lanes[1].loss, 0.02 * loss);
    // in half precision a few codes round the other way, which echoes through this tiny network
    EXPECT_LT(RelativeError(steps[0].gradient, steps[i].gradient), i == 1 ? 0.001 : 0.2);
  }
}

// A sum's inputs share its gradient and batch norm's sums are taken where a gradient is written;
// without either, with many saturated codes, the step is the same but for the order of float sums.
TEST(TrainTest, SharedGradientsAndCollectedSumsChangeNothing) {
  class Plain final : public cpu::CpuBackend {
   public:
    Plain() : CpuBackend(2, /*full_precision=*/true) {}
    bool LeavesGradients() const override { return false; }
    void WindowBackward(const BatchDims& b, const WindowShape& s, const int8_t* x, const int* e,
                        WeightCodes* w, const GradMap& gy, const NormGradient* n, const GradMap& gx,
                        bool a, float* gw, NormSums*) override {
      CpuBackend::WindowBackward(b, s, x, e, w, gy, n, gx, a, gw, nullptr);
    }
  };
  // The sums of the second are only read through a ReLU, which then is in the mask that is shared.
  for (const Program& program :
       {EveryOpNetwork(), ResolveNetwork("resnet-20", {}, {16, 16, 3}, 10).Build()}) {
    const std::vector<int> shared = SharedGradients(program);
    size_t sharing = 0;
    for (size_t v = 0; v < shared.size(); ++v) sharing += shared[v] != static_cast<int>(v) ? 1 : 0;
    EXPECT_GE(sharing, 9u) << program.network;
    const auto plain = MakeHostDevice(std::make_unique<Plain>());
    const std::vector<float> want = OneStep(*plain, program, "mibb:1e-2").gradient;
    const std::vector<float> got = OneStep(*HostDevice("cpu-f32"), program, "mibb:1e-2").gradient;
    EXPECT_NE(want, std::vector<float>(want.size()));
    EXPECT_LT(RelativeError(want, got), 1e-4) << program.network;
  }
}

// Gradients between a convolution and the batch norm before it lie in bfloat16, which alone changes
// little.
TEST(TrainTest, NarrowGradientsChangeLittle) {
  class Wide : public cpu::CpuBackend {
   public:
    Wide() : CpuBackend(2, /*full_precision=*/false) {}
    bool NarrowsGradients() const override { return false; }
  };
  const Program program = ResolveNetwork("mobilenet-v2", {}, {8, 8, 3}, 10).Build();
  const std::vector<char> narrow = NarrowGradients(program);
  std::vector<int> readings(narrow.size());
  size_t made = 0, kept = 0;
  for (const Op& op : program.ops) {
    for (const OpInput& in : op.inputs) ++readings[static_cast<size_t>(in.value)];
  }
  for (const Op& op : program.ops) {
    const auto v = static_cast<size_t>(op.output);
    made += op.kind == OpKind::kConv ? 1 : 0;
    kept += narrow[v] != 0 ? 1 : 0;
    EXPECT_TRUE(narrow[v] == 0 || (op.batch_norm && readings[v] == 1)) << v;
  }
  EXPECT_GE(kept, made * 6 / 10);  // all but those that a sum reads
  EXPECT_EQ(narrow[0], 0);
  const auto wide = MakeHostDevice(std::make_unique<Wide>());
  const std::vector<float> want = OneStep(*wide, program, "mibb:1e-3").gradient;
  const std::vector<float> got = OneStep(*HostDevice("cpu"), program, "mibb:1e-3").gradient;
  // Processors that multiply bfloat16 round such a gradient once more, behind its map.
  EXPECT_LT(RelativeError(want, got), 0.02);
  if (cpu::CpuBackend(1, false).NarrowsGradients()) {
    EXPECT_NE(want, got);
  }
}

TEST(DeployTest, CpuEqualsRefForEveryFaultModelWhateverTheBatchLanesAndThreads) {
  const Program program = EveryOpNetwork();
  const ImageSet images = Noise(program.InputShape(), 9);
  const auto ref = HostDevice("ref");
  const DeployModel model = FreshModel(*ref, program, images);
  for (const char* text : {"none", "mibb:1e-3", "mibb:1e-3,sites=conv,linear", "ibf-feature:1e-3",
                           "ibf-weight:1e-2", "adsaf:0.08", "adsaf-bit:0.02", "stuck-feature:1e-3",
                           "gauss-weight:0.1", "lane-stuck:0.01"}) {
    SCOPED_TRACE(text);
    const FaultSpec spec = ParseFaultSpec(text);
    EvaluateOptions options;
    options.trials = 3;
    options.batch = 9;
    const EvaluateResult want = Evaluate(*ref, model, images, &spec, options);
    for (const int threads : {1, 3}) {
      const auto cpu = HostDevice("cpu", threads);
      EXPECT_GT(CheckDevices(*cpu, *ref, model, images, &spec, options), 0);
      for (const int batch : {1, 7, 64}) {
        for (const int lanes : {1, 2, 3}) {
          options.batch = batch;
          options.lanes = lanes;
          const EvaluateResult got = Evaluate(*cpu, model, images, &spec, options);
          EXPECT_EQ(got.golden_correct, want.golden_correct);
          ASSERT_EQ(got.trials.size(), want.trials.size());
          for (size_t t = 0; t < got.trials.size(); ++t) {
            EXPECT_EQ(got.trials[t].correct, want.trials[t].correct) << batch << " " << lanes;
            EXPECT_EQ(got.trials[t].changed, want.trials[t].changed) << batch << " " << lanes;
            EXPECT_EQ(got.trials[t].faults.delivered, want.trials[t].faults.delivered)
                << batch << " " << lanes;
          }
        }
      }
      options.batch = 9;
      options.lanes = 1;
    }
  }
}

TEST(DeployTest, CheckFindsADifference) {
  const Program program = EveryOpNetwork();
  const ImageSet images = Noise(program.InputShape(), 2);
  const auto ref = HostDevice("ref");
  const DeployModel model = FreshModel(*ref, program, images);
  class Wrong : public Backend {
   public:
    Wrong() : inner_(MakeRefBackend()) {}
    std::string_view Name() const override { return "wrong"; }
    void Accumulate(const BatchDims& b, const WindowShape& s, const int8_t* x, WeightCodes* w,
                    const RawMap& a, ChannelStats* t) override {
      inner_->Accumulate(b, s, x, w, a, t);
    }
    void Quantize(const BatchDims& b, const Shape& s, int bits, const RawMap& a, const LaneNorm* n,
                  const LaneFaults* f, int8_t* c, uint8_t* m, bool r) override {
      inner_->Quantize(b, s, bits, a, n, f, c, m, r);
    }
    void Inject(const BatchDims& b, const Shape& s, const LaneFaults* f, int8_t* c) override {
      inner_->Inject(b, s, f, c);
    }
    void AccumulateQuantize(const BatchDims& b, const WindowShape& s, int bits, const int8_t* x,
                            WeightCodes* w, const LaneNorm& n, const LaneFaults* f,
                            int8_t* c) override {
      inner_->AccumulateQuantize(b, s, bits, x, w, n, f, c);
      if (++calls_ == 4) c[5] = static_cast<int8_t>(c[5] ^ 1);
    }
    void Add(const BatchDims& b, const Shape& s, int bits, const std::vector<SumInput>& i, bool d,
             int* e, const LaneFaults* f, int8_t* c, uint8_t* m, bool r) override {
      inner_->Add(b, s, bits, i, d, e, f, c, m, r);
    }
    void Concat(const BatchDims& b, const Shape& s, int bits, const std::vector<SumInput>& i,
                const int* e, const LaneFaults* f, int8_t* c) override {
      inner_->Concat(b, s, bits, i, e, f, c);
    }
    void GlobalSum(const BatchDims& b, const Shape& s, bool r, const int8_t* x,
                   int32_t* a) override {
      inner_->GlobalSum(b, s, r, x, a);
    }
    void Linear(const BatchDims& b, int in, int out, const int8_t* x, const WeightCodes& w,
                const float* u, const float* bias, const uint8_t* k, float* l) override {
      inner_->Linear(b, in, out, x, w, u, bias, k, l);
    }
    void NormBackward(const BatchDims&, const Shape&, const RawMap&, const LaneNorm*, const float*,
                      const uint8_t*, const GradMap&, float*, float*, NormGradient*,
                      const NormSums*) override {}
    void WindowBackward(const BatchDims&, const WindowShape&, const int8_t*, const int*,
                        WeightCodes*, const GradMap&, const NormGradient*, const GradMap&, bool,
                        float*, NormSums*) override {}
    void SumBackward(const BatchDims&, const Shape&, const SumInput&, int, const uint8_t*,
                     const float*, float*, bool) override {}
    void GlobalSumBackward(const BatchDims&, const Shape&, bool, const int8_t*, const uint8_t*,
                           const float*, float*, bool) override {}
    void LinearBackward(const BatchDims&, int, int, const int8_t*, const float*, const WeightCodes&,
                        const uint8_t*, float, const float*, float*, float*, float*) override {}

   private:
    std::unique_ptr<Backend> inner_;
    int calls_ = 0;
  };
  const auto wrong = MakeHostDevice(std::make_unique<Wrong>());
  try {
    CheckDevices(*wrong, *ref, model, images, nullptr, {});
    FAIL() << "the difference was not found";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("element 5"), std::string::npos) << e.what();
  }
}

class RunTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::temp_directory_path() / ("ftt_run_" + std::to_string(::getpid()));
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  TrainRunConfig Config(const std::string& name) {
    TrainRunConfig c;
    c.out = (root_ / name).string();
    c.config_text = "epochs = 2\n";
    c.network = TinySpec(data_);
    c.train = TinyTraining();
    c.evaluate.trials = 1;
    c.evaluate.limit = 50;
    c.eval_faults = c.train.faults;
    return c;
  }
  std::string State(const TrainRunConfig& c) { return ReadFile(FindStateFile(c.out)); }

  std::filesystem::path root_;
  Dataset data_ = SmallShapes();
  std::unique_ptr<Device> device_ = HostDevice("cpu");
};

TEST_F(RunTest, SameSeedSameBytesAndResumeAfterASignalToo) {
  const TrainRunConfig first = Config("first"), second = Config("second");
  ASSERT_TRUE(RunTraining(*device_, data_, first, {}).finished);
  // stopped in the middle of the second epoch, then continued
  TrainObserver stopper;
  stopper.step = [](int epoch, int64_t done, int64_t, const EpochSums&, double) {
    if (epoch == 2 && done == 7) std::raise(SIGTERM);
  };
  const TrainRunResult stopped = RunTraining(*device_, data_, second, stopper);
  EXPECT_FALSE(stopped.finished);
  EXPECT_EQ(stopped.step, 27);
  ClearStopRequest();
  TrainRunConfig again = second;
  again.resume = true;
  ASSERT_TRUE(RunTraining(*device_, data_, again, {}).finished);
  EXPECT_EQ(State(first), State(second));
  EXPECT_EQ(ReadFile(first.out + "/result.json"), ReadFile(second.out + "/result.json"));
}

TEST_F(RunTest, BadRunsChangeNothing) {
  const TrainRunConfig config = Config("run");
  ASSERT_TRUE(RunTraining(*device_, data_, config, {}).finished);
  const std::string before = State(config);
  EXPECT_THROW(RunTraining(*device_, data_, config, {}), Error);  // holds another run
  TrainRunConfig other = config;
  other.resume = true;
  other.config_text = "epochs = 3\n";
  EXPECT_THROW(RunTraining(*device_, data_, other, {}), Error);  // another configuration
  EXPECT_EQ(before, State(config));
  // a damaged checkpoint
  std::string bytes = before;
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  AtomicWriteFile(FindStateFile(config.out), bytes);
  EXPECT_THROW(LoadTrained(config.out), Error);
  TrainRunConfig damaged = config;
  damaged.resume = true;
  EXPECT_THROW(RunTraining(*device_, data_, damaged, {}), Error);
  EXPECT_EQ(bytes, State(config));
}

TEST_F(RunTest, PretrainedParametersAreWhereItStarts) {
  const TrainRunConfig plain = Config("plain");
  const TrainRunResult trained = RunTraining(*device_, data_, plain, {});
  ASSERT_TRUE(trained.finished);
  TrainRunConfig still = Config("still");  // a rate at which nothing moves, statistics frozen
  still.pretrained = plain.out;
  still.train.schedule.base = 1e-12f;
  still.train.freeze_bn = 1;
  const TrainRunResult same = RunTraining(*device_, data_, still, {});
  EXPECT_EQ(same.evaluation.CleanAccuracy(), trained.evaluation.CleanAccuracy());
  EXPECT_EQ(LoadTrained(still.out).model.exponents, LoadTrained(plain.out).model.exponents);

  ParamStore params(1);
  ReadPretrained(plain.out, plain.network.Build(), params);
  for (const auto& [name, p] : params.All()) EXPECT_TRUE(p.momentum.empty()) << name;

  TrainRunConfig tuned = Config("tuned"), killed = Config("killed");
  tuned.pretrained = killed.pretrained = plain.out;
  ASSERT_TRUE(RunTraining(*device_, data_, tuned, {}).finished);
  EXPECT_NE(State(tuned), State(plain));
  TrainObserver stopper;
  stopper.step = [](int, int64_t done, int64_t, const EpochSums&, double) {
    if (done == 7) std::raise(SIGTERM);
  };
  EXPECT_FALSE(RunTraining(*device_, data_, killed, stopper).finished);
  ClearStopRequest();
  std::filesystem::rename(plain.out, root_ / "elsewhere");  // not needed any more
  killed.resume = true;
  ASSERT_TRUE(RunTraining(*device_, data_, killed, {}).finished);
  EXPECT_EQ(State(killed), State(tuned));
}

TEST_F(RunTest, PretrainedMustBeTheSameNetwork) {
  const TrainRunConfig plain = Config("plain");
  ASSERT_TRUE(RunTraining(*device_, data_, plain, {}).finished);
  TrainRunConfig other = Config("other");
  other.network = TinySpec(data_, "resnet-20");
  for (const std::string& from : {plain.out, (root_ / "nowhere").string()}) {
    other.pretrained = from;
    EXPECT_THROW(RunTraining(*device_, data_, other, {}), Error);
    EXPECT_FALSE(std::filesystem::exists(other.out));
  }
}

TEST_F(RunTest, ReplayOfAFaultListGivesTheSamePredictions) {
  const TrainRunConfig config = Config("run");
  ASSERT_TRUE(RunTraining(*device_, data_, config, {}).finished);
  const TrainedNetwork net = LoadTrained(config.out);
  const FaultSpec spec = ParseFaultSpec("mibb:1e-3+adsaf:0.05");
  EvaluateOptions options;
  options.trials = 2;
  options.limit = 40;
  FaultRecorder recorder;
  const EvaluateResult want = Evaluate(*device_, net.model, data_.test, &spec, options, &recorder);
  const ReplayPlan replay(recorder.TakeSorted());
  options.replay = &replay;
  const EvaluateResult got = Evaluate(*device_, net.model, data_.test, nullptr, options);
  ASSERT_EQ(got.trials.size(), 2u);
  for (size_t t = 0; t < 2; ++t) {
    EXPECT_EQ(got.trials[t].correct, want.trials[t].correct);
    EXPECT_EQ(got.trials[t].changed, want.trials[t].changed);
  }
}

}  // namespace
}  // namespace ftt
