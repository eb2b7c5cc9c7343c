#include "engine/bench.h"

#include <algorithm>
#include <numeric>

#include "core/clock.h"
#include "core/error.h"
#include "core/philox.h"
#include "engine/evaluate.h"
#include "kernels/cpu/primitive_time.h"

namespace ftt {
namespace {

double Median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<int64_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

ImageSet RandomImages(const Shape& shape, int classes, int count, uint64_t seed) {
  ImageSet images;
  images.height = shape.h;
  images.width = shape.w;
  images.channels = shape.c;
  PhiloxSequence draws(seed, Stream::kShapes, 99);
  images.pixels.resize(static_cast<size_t>(count * shape.Elements()));
  for (uint8_t& p : images.pixels) p = static_cast<uint8_t>(draws.Next());
  for (int i = 0; i < count; ++i) images.labels.push_back(static_cast<uint8_t>(i % classes));
  return images;
}

InputCoding PlainCoding(const Shape& shape) {
  const auto channels = static_cast<size_t>(shape.c);
  return {std::vector<float>(channels, 0.5f), std::vector<float>(channels, 0.25f), 8};
}

struct Pairs {
  std::vector<double> clean, faulty, ratio, kernel_ratio, primitive_ratio;
};

// Alternates two bodies; kernel time is taken over the clean ones, and what primitives() says
// before each pair where there are kernel times.
template <typename Clean, typename Faulty, typename Primitives>
Pairs TimePairs(Device& device, int repeats, const Clean& clean, const Faulty& faulty,
                const Primitives& primitives) {
  Pairs pairs;
  clean();
  faulty();
  for (int i = 0; i < repeats; ++i) {
    const double alone = device.ConvolutionSeconds() > 0 ? primitives() : 0.0;
    const double kernels = device.ConvolutionSeconds(), start = MonotonicSeconds();
    clean();
    const double middle = MonotonicSeconds(), spent = device.ConvolutionSeconds() - kernels;
    faulty();
    const double end = MonotonicSeconds();
    pairs.clean.push_back(middle - start);
    pairs.faulty.push_back(end - middle);
    pairs.ratio.push_back((end - middle) / (middle - start));
    pairs.kernel_ratio.push_back(spent > 0 ? (middle - start) * device.Threads() / spent : 0.0);
    pairs.primitive_ratio.push_back(alone > 0 ? (middle - start) * device.Threads() / alone : 0.0);
  }
  return pairs;
}

// Seconds of a thread inside oneDNN's primitives for the program's convolutions.
double PrimitiveSeconds(cpu::PrimitiveTimer& timer, const Program& program, int images,
                        bool training) {
  timer.StartRound();
  double seconds = 0;
  for (const Op& op : program.ops) {
    if (op.kind != OpKind::kConv) continue;
    const WindowShape window = WindowOf(program, op);
    seconds += timer.Forward(window, images);
    if (!training) continue;
    seconds += timer.WeightGradient(window, images);
    if (op.inputs[0].value != 0) seconds += timer.DataGradient(window, images);
  }
  return seconds;
}

BenchRow MakeRow(const Program& program, const char* what, const Pairs& pairs, double images) {
  BenchRow row;
  row.network = program.network;
  row.what = what;
  row.clean_ms = 1e3 * Median(pairs.clean);
  row.faulty_ms = 1e3 * Median(pairs.faulty);
  row.fault_ratio = Median(pairs.ratio);
  row.kernel_ratio = Median(pairs.kernel_ratio);
  row.primitive_ratio = Median(pairs.primitive_ratio);
  row.images_per_second = images / Median(pairs.clean);
  return row;
}

std::vector<uint32_t> Ids(int count) {
  std::vector<uint32_t> ids(static_cast<size_t>(count));
  std::iota(ids.begin(), ids.end(), 0u);
  return ids;
}

// A freshly initialised network, frozen, and random images; the device agrees with the reference on
// two of them.
struct FrozenNetwork {
  ImageSet images;
  DeployModel model;
  int64_t compared = 0;
};

FrozenNetwork FreezeAndCheck(Device& device, const Program& program, const FaultSpec& faults,
                             int images, uint64_t seed) {
  const InputCoding coding = PlainCoding(program.InputShape());
  ParamStore params(seed);
  const auto executor = device.NewTrainExecutor(params, coding, {});
  FrozenNetwork net;
  net.images = RandomImages(program.InputShape(), program.classes, images, seed);
  const int calibrated = std::min(images, 64);
  net.model = Freeze(program, params, coding,
                     Calibrate(*executor, program, net.images, calibrated, calibrated), 8);
  EvaluateOptions check;
  check.batch = 2;
  check.limit = 2;
  const auto ref = MakeHostDevice(MakeRefBackend());
  net.compared = CheckDevices(device, *ref, net.model, net.images, &faults, check);
  return net;
}

// On a GPU, which counts nothing by itself.
template <typename Body>
void Trace(const BenchOptions& o, const Body& clean, double wall_seconds, BenchRow& row) {
  if (!o.trace) return;
  const KernelWork work = o.trace(clean);
  row.kernels = work.kernels;
  row.kernel_ratio = work.seconds > 0 ? wall_seconds / work.seconds : 0.0;
}

bool SameOutcome(const TrialResult& a, const TrialResult& b) {
  return a.trial == b.trial && a.correct == b.correct && a.changed == b.changed &&
         a.masked == b.masked && a.faults.delivered == b.faults.delivered;
}

}  // namespace

BenchRow BenchDeploy(Device& device, const Program& program, const FaultSpec& faults,
                     const BenchOptions& o) {
  FTT_CHECK(o.batch >= 1 && o.repeats >= 1, "bench: batch and repeats must be at least 1");
  const FrozenNetwork net = FreezeAndCheck(device, program, faults, o.batch, o.seed);
  const std::vector<uint32_t> ids = Ids(o.batch);
  const auto clean = device.NewDeployExecutor(net.model);
  const auto faulty = device.NewDeployExecutor(net.model);
  LaneSpec lane;
  lane.faults = &faults;
  lane.seed = o.seed;
  faulty->SetLanes({lane});
  const auto run_clean = [&] { clean->Run(net.images.pixels.data(), ids.data(), o.batch); };
  cpu::PrimitiveTimer timer(device.Threads());
  const Pairs pairs = TimePairs(
      device, o.repeats, run_clean,
      [&] { faulty->Run(net.images.pixels.data(), ids.data(), o.batch); },
      [&] { return PrimitiveSeconds(timer, program, o.batch, false); });
  BenchRow row = MakeRow(program, "deploy forward", pairs, o.batch);
  row.parity_values = net.compared;
  Trace(o, run_clean, Median(pairs.clean), row);
  return row;
}

BenchRow BenchTrainStep(Device& device, const Program& program, const FaultSpec& faults,
                        const BenchOptions& o) {
  FTT_CHECK(o.batch >= 1 && o.lanes >= 1 && o.repeats >= 1 && o.steps >= 1,
            "bench: batch, lanes, repeats and steps must be at least 1");
  const ImageSet images = RandomImages(program.InputShape(), program.classes, o.batch, o.seed);
  const std::vector<uint32_t> ids = Ids(o.batch);
  ParamStore params(o.seed);
  const auto executor =
      device.NewTrainExecutor(params, PlainCoding(program.InputShape()), {.fixed_program = true});
  const std::vector<LaneSpec> clean_lanes(static_cast<size_t>(o.lanes));
  std::vector<LaneSpec> faulty_lanes = clean_lanes;
  faulty_lanes.back().faults = &faults;
  faulty_lanes.back().seed = o.seed;
  uint32_t step = 0;
  OptimizerOptions optimizer;
  const auto run = [&](std::vector<LaneSpec> lanes) {
    for (int i = 0; i < o.steps; ++i, ++step) {
      lanes.back().moment = {step, true};
      const TrainBatch batch{o.batch, images.pixels.data(), images.labels.data(), ids.data(), step};
      executor->Step(program, batch, lanes, optimizer, 0.01f);
    }
    while (executor->NextResult(true)) {
    }
  };
  cpu::PrimitiveTimer timer(device.Threads());
  const Pairs pairs = TimePairs(
      device, o.repeats, [&] { run(clean_lanes); }, [&] { run(faulty_lanes); },
      [&] { return o.steps * o.lanes * PrimitiveSeconds(timer, program, o.batch, true); });
  BenchRow row =
      MakeRow(program, "training step", pairs, static_cast<double>(o.batch) * o.lanes * o.steps);
  row.clean_ms /= o.steps;
  row.faulty_ms /= o.steps;
  Trace(
      o, [&] { run(clean_lanes); }, Median(pairs.clean), row);
  row.kernels /= o.steps;
  row.arena_mib = static_cast<double>(executor->ArenaBytes()) / (1 << 20);
  row.arena_over_bound = static_cast<double>(executor->ArenaBytes()) /
                         static_cast<double>(std::max<int64_t>(executor->ArenaLowerBound(), 1));
  return row;
}

SweepBenchRow BenchSweep(Device& device, const Program& program, const FaultSpec& faults,
                         const SweepBenchOptions& o) {
  FTT_CHECK(o.batch >= 1 && o.images >= 2 && o.trials >= 1 && o.lanes >= 1 && o.repeats >= 1,
            "bench sweep: batch, trials, lanes and repeats must be at least 1, images at least 2");
  FTT_CHECK(!faults.Empty(), "bench sweep: trials need faults; give them with --fault");
  const FrozenNetwork net =
      FreezeAndCheck(device, program, faults, static_cast<int>(o.images), o.seed);
  Evaluator evaluator(device, net.model, net.images, o.batch, 0);
  EvaluateOptions options;
  options.seed = o.seed;
  // Trials first .. first + trials - 1 of `spec`, that many lanes at a time.
  const auto run = [&](const FaultSpec* spec, int trials, int lanes) {
    std::vector<TrialResult> results;
    for (int first = 0; first < trials; first += lanes) {
      options.first_trial = first;
      options.trials = std::min(lanes, trials - first);
      for (TrialResult& t : evaluator.RunTrials(spec, options)) results.push_back(std::move(t));
    }
    return results;
  };
  const std::vector<TrialResult> serial = run(&faults, o.trials, 1);
  const std::vector<TrialResult> side_by_side = run(&faults, o.trials, o.lanes);
  FTT_CHECK(std::equal(serial.begin(), serial.end(), side_by_side.begin(), side_by_side.end(),
                       SameOutcome),
            "bench sweep: {}: trials side by side end differently than one after another",
            program.network);
  std::vector<double> clean_seconds, serial_seconds, lane_seconds;
  const auto timed = [&](const FaultSpec* spec, int trials, int lanes) {
    const double start = MonotonicSeconds();
    run(spec, trials, lanes);
    return MonotonicSeconds() - start;
  };
  timed(nullptr, 1, 1);
  for (int i = 0; i < o.repeats; ++i) {
    clean_seconds.push_back(timed(nullptr, 1, 1));
    serial_seconds.push_back(timed(&faults, o.trials, 1));
    lane_seconds.push_back(timed(&faults, o.trials, o.lanes));
  }
  SweepBenchRow row;
  row.network = program.network;
  row.images = evaluator.Images();
  row.trials = o.trials;
  row.lanes = o.lanes;
  const double clean = Median(clean_seconds), one = Median(serial_seconds);
  const double lanes = Median(lane_seconds);
  row.clean_ms = 1e3 * clean;
  row.serial_ms = 1e3 * one;
  row.lanes_ms = 1e3 * lanes;
  row.fault_ratio = one / (o.trials * clean);
  row.lane_gain = one / lanes;
  row.images_per_second = static_cast<double>(row.images) * o.trials / lanes;
  row.parity_values = net.compared;
  return row;
}

}  // namespace ftt
