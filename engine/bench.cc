#include "engine/bench.h"

#include <algorithm>
#include <numeric>

#include "core/clock.h"
#include "core/error.h"
#include "core/philox.h"
#include "engine/evaluate.h"

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
  std::vector<double> clean, faulty, ratio, kernel_ratio;
};

// Alternates two bodies; kernel time is taken over the clean ones.
template <typename Clean, typename Faulty>
Pairs TimePairs(Device& device, int repeats, const Clean& clean, const Faulty& faulty) {
  Pairs pairs;
  clean();
  faulty();
  for (int i = 0; i < repeats; ++i) {
    const double kernels = device.ConvolutionSeconds(), start = MonotonicSeconds();
    clean();
    const double middle = MonotonicSeconds(), spent = device.ConvolutionSeconds() - kernels;
    faulty();
    const double end = MonotonicSeconds();
    pairs.clean.push_back(middle - start);
    pairs.faulty.push_back(end - middle);
    pairs.ratio.push_back((end - middle) / (middle - start));
    pairs.kernel_ratio.push_back(spent > 0 ? (middle - start) * device.Threads() / spent : 0.0);
  }
  return pairs;
}

BenchRow MakeRow(const Program& program, const char* what, const Pairs& pairs, double images) {
  BenchRow row;
  row.network = program.network;
  row.what = what;
  row.clean_ms = 1e3 * Median(pairs.clean);
  row.faulty_ms = 1e3 * Median(pairs.faulty);
  row.fault_ratio = Median(pairs.ratio);
  row.kernel_ratio = Median(pairs.kernel_ratio);
  row.images_per_second = images / Median(pairs.clean);
  return row;
}

std::vector<uint32_t> Ids(int count) {
  std::vector<uint32_t> ids(static_cast<size_t>(count));
  std::iota(ids.begin(), ids.end(), 0u);
  return ids;
}

}  // namespace

BenchRow BenchDeploy(Device& device, const Program& program, const FaultSpec& faults,
                     const BenchOptions& o) {
  FTT_CHECK(o.batch >= 1 && o.repeats >= 1, "bench: batch and repeats must be at least 1");
  const ImageSet images = RandomImages(program.InputShape(), program.classes, o.batch, o.seed);
  const InputCoding coding = PlainCoding(program.InputShape());
  ParamStore params(o.seed);
  const auto executor = device.NewTrainExecutor(params, coding, {});
  const DeployModel model =
      Freeze(program, params, coding, Calibrate(*executor, program, images, o.batch, o.batch), 8);
  EvaluateOptions check;
  check.batch = 2;
  check.limit = 2;
  const auto ref = MakeHostDevice(MakeRefBackend());
  const int64_t compared = CheckDevices(device, *ref, model, images, &faults, check);

  const std::vector<uint32_t> ids = Ids(o.batch);
  const auto clean = device.NewDeployExecutor(model), faulty = device.NewDeployExecutor(model);
  LaneSpec lane;
  lane.faults = &faults;
  lane.seed = o.seed;
  faulty->SetLanes({lane});
  const Pairs pairs = TimePairs(
      device, o.repeats, [&] { clean->Run(images.pixels.data(), ids.data(), o.batch); },
      [&] { faulty->Run(images.pixels.data(), ids.data(), o.batch); });
  BenchRow row = MakeRow(program, "deploy forward", pairs, o.batch);
  row.parity_values = compared;
  return row;
}

BenchRow BenchTrainStep(Device& device, const Program& program, const FaultSpec& faults,
                        const BenchOptions& o) {
  FTT_CHECK(o.batch >= 1 && o.lanes >= 1 && o.repeats >= 1,
            "bench: batch, lanes and repeats must be at least 1");
  const ImageSet images = RandomImages(program.InputShape(), program.classes, o.batch, o.seed);
  const std::vector<uint32_t> ids = Ids(o.batch);
  ParamStore params(o.seed);
  const auto executor = device.NewTrainExecutor(params, PlainCoding(program.InputShape()), {});
  const std::vector<LaneSpec> clean_lanes(static_cast<size_t>(o.lanes));
  std::vector<LaneSpec> faulty_lanes = clean_lanes;
  faulty_lanes.back().faults = &faults;
  faulty_lanes.back().seed = o.seed;
  uint32_t step = 0;
  OptimizerOptions optimizer;
  const auto run = [&](std::vector<LaneSpec> lanes) {
    lanes.back().moment = {step, true};
    const TrainBatch batch{o.batch, images.pixels.data(), images.labels.data(), ids.data(), step};
    executor->Step(program, batch, lanes, optimizer, 0.01f);
    executor->NextResult(true);
    ++step;
  };
  const Pairs pairs = TimePairs(
      device, o.repeats, [&] { run(clean_lanes); }, [&] { run(faulty_lanes); });
  BenchRow row = MakeRow(program, "training step", pairs, static_cast<double>(o.batch) * o.lanes);
  row.arena_mib = static_cast<double>(executor->ArenaBytes()) / (1 << 20);
  row.arena_over_bound = static_cast<double>(executor->ArenaBytes()) /
                         static_cast<double>(std::max<int64_t>(executor->ArenaLowerBound(), 1));
  return row;
}

}  // namespace ftt
