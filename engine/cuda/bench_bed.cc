#include "engine/cuda/bench_bed.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "kernels/cuda/probe.h"

namespace ftt::cuda {
namespace {

constexpr int kMaxSets = 12;

double Median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<int64_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

}  // namespace

BenchBed::BenchBed(const KernelBenchOptions& options, KernelBenchSink sink)
    : options_(options), sink_(std::move(sink)), cache_bytes_(QueryParts().cache_bytes) {
  flush_.Resize(std::max<int64_t>(16 * cache_bytes_, 1 << 20));
  cudnn_ = OpenCudnn(S(), &cudnn_missing_);
  MeasureRates(QueryParts().multiprocessors);
  sink_.rates(rates_);
}

void BenchBed::MeasureRates(int multiprocessors) {
  const int64_t half = flush_.Size() / 2;
  const double copy =
      Seconds(1, [&](int) { CopyOnDevice(flush_.Data() + half, flush_.Data(), half, S()); });
  rates_.copy_bytes = 2.0 * static_cast<double>(half) / copy;

  const int blocks = 8 * multiprocessors, iterations = cache_bytes_ > 0 ? 4096 : 2;
  const DeviceMemory out(int64_t{4} * blocks * kProbeThreads);
  const double own =
      Seconds(1, [&](int) { MatrixProbe(blocks, iterations, out.As<int32_t>(), S()); });
  const std::vector<int32_t> sums =
      Download(out.As<int32_t>(), int64_t{blocks} * kProbeThreads, S());
  Wait();
  const bool right = std::all_of(sums.begin(), sums.end(),
                                 [&](int32_t v) { return v == 8 * 4 * 32 * iterations; });
  FTT_CHECK(right, "bench: the matrix instruction gives a wrong result on this device");
  const double own_rate = static_cast<double>(ProbeMultiplyAdds(blocks, iterations)) / own;
  rates_.multiply_adds = own_rate;
  rates_.matrix = fmt::format("mma.sync {:.0f} TOP/s", 2e-12 * own_rate);
  std::string missing;
  if (const auto cublas = OpenCublas(S(), &missing)) {
    constexpr int n = 8192;
    const DeviceMemory operands(int64_t{2} * n * n), product(int64_t{4} * n * n);
    FillDevice(operands.Data(), 1, operands.Size(), S());
    const auto* a = operands.As<int8_t>();
    const double seconds =
        Seconds(1, [&](int) { cublas->Run(n, a, a + int64_t{n} * n, product.As<int32_t>()); });
    const std::vector<int32_t> first = Download(product.As<int32_t>(), 16, S());
    Wait();
    const bool agrees = std::all_of(first.begin(), first.end(), [](int32_t v) { return v == n; });
    const double rate = agrees ? double{n} * n * n / seconds : 0.0;
    rates_.multiply_adds = std::max(rates_.multiply_adds, rate);
    rates_.matrix += fmt::format(", cuBLAS int8 {:.0f} TOP/s", 2e-12 * rate);
  } else {
    rates_.matrix += fmt::format(", cuBLAS not measured: {}", missing);
  }
  rates_.peers = cudnn_ != nullptr ? cudnn_->Name() : "no cuDNN: " + cudnn_missing_;
}

int BenchBed::Sets(int64_t bytes) const {
  const int64_t wanted = 2 * cache_bytes_ / std::max<int64_t>(bytes, 1) + 1;
  return static_cast<int>(std::clamp<int64_t>(wanted, 1, kMaxSets));
}

double BenchBed::Seconds(int sets, const std::function<void(int)>& body) {
  std::vector<double> samples;
  for (int i = -1; i < options_.repeats; ++i) {
    FillDevice(flush_.Data(), i & 0xFF, flush_.Size(), S());
    FillDevice(flush_.Data(), 0, flush_.Size(), S());
    watch_.Start(S());
    for (int set = 0; set < sets; ++set) body(set);
    watch_.Stop(S());
    const double seconds = watch_.Seconds();
    if (i >= 0) samples.push_back(seconds / sets);
  }
  return Median(samples);
}

void BenchBed::Fill(KernelBenchRow& row, double seconds, int64_t bytes,
                    int64_t multiply_adds) const {
  const double by_bytes = static_cast<double>(bytes) / rates_.copy_bytes;
  const double by_operations = static_cast<double>(multiply_adds) / rates_.multiply_adds;
  row.us = 1e6 * seconds;
  row.floor_us = 1e6 * std::max(by_bytes, by_operations);
  row.floor = by_bytes >= by_operations ? "bytes" : "operations";
}

LanePlan BenchFaults::MakePlan(const Program& program, const FaultSpec& spec, int lanes,
                               uint64_t seed) {
  std::vector<LaneSpec> specs(static_cast<size_t>(lanes));
  specs.back().faults = &spec;
  specs.back().seed = seed;
  specs.back().moment = {3, true};
  return {program, specs, 8};
}

BenchFaults::BenchFaults(BenchBed& bed, const Program& program, const FaultSpec& spec, int lanes,
                         bool weights)
    : plan_(MakePlan(program, spec, lanes, bed.Options().seed)) {
  staging_.Begin();
  hits_.Resize(DeviceFaults::HitSlots(plan_.Sites(), lanes, true) *
               static_cast<int64_t>(sizeof(HitCounts)));
  FillDevice(hits_.Data(), 0, hits_.Size(), bed.S());
  device_ = std::make_unique<DeviceFaults>(plan_, weights, true, hits_.As<HitCounts>(), staging_);
  std::vector<uint32_t> ids(static_cast<size_t>(bed.Options().batch));
  std::iota(ids.begin(), ids.end(), 0u);
  ids_ = staging_.Add(ids);
  staging_.Send(bed.S());
}

void BenchFaults::DrawAhead(BenchBed& bed) {
  strikes_.Resize(device_->StrikeBytes(bed.Options().batch));
  device_->PlaceStrikes(strikes_.As<uint32_t>(), bed.Options().batch);
  Draw(bed);
}

void BenchFaults::Draw(BenchBed& bed) const {
  device_->DrawStrikes(StrikePart::kAll, ids_, bed.S());
}

Program OneConvolution(const Shape& map, int kernel, int stride, bool depthwise) {
  ProgramBuilder b("bench", map, 10);
  const int v = b.Conv("conv", 0, map.c,
                       {.kernel = kernel, .stride = stride, .depthwise = depthwise, .relu = true});
  b.Linear("fc", b.GlobalPool("pool", {v, false}));
  return std::move(b).Finish();
}

void BenchKernels(const KernelBenchOptions& options, const KernelBenchSink& sink) {
  BenchBed bed(options, sink);
  const auto wanted = [&](const char* group) {
    return options.groups.empty() ||
           std::find(options.groups.begin(), options.groups.end(), group) != options.groups.end();
  };
  if (wanted("dense")) BenchConvolutions(bed, false);
  if (wanted("depthwise")) BenchConvolutions(bed, true);
  if (wanted("separable")) BenchSeparable(bed);
  if (wanted("backward")) BenchBackward(bed);
  if (wanted("pass")) BenchPasses(bed);
  if (wanted("samplers")) BenchSamplers(bed);
  if (wanted("weights")) BenchWeights(bed);
  if (wanted("optimizer")) BenchOptimizer(bed);
}

}  // namespace ftt::cuda
