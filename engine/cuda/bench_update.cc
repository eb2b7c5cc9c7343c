// What a step does to all parameters at once: weights to codes with their faults, codes to what the
// convolutions read, clip and update.
#include <fmt/format.h>
#include <algorithm>
#include <cmath>

#include "core/philox.h"
#include "engine/cuda/bench_bed.h"
#include "engine/cuda/layout.h"
#include "engine/cuda/pack_list.h"
#include "engine/networks/networks.h"
#include "engine/optimizer.h"
#include "engine/weights.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/cuda/weights.h"

namespace ftt::cuda {
namespace {

constexpr int kLanes = 2;   // the first one clean
constexpr int kAlign = 64;  // values, as parameters lie in an engine

Program NetworkOf(const BenchBed& bed) {
  return BuildNetwork(bed.Options().network, {32, 32, 3}, 10);
}

std::string NetworkText(const Program& program, int64_t n) {
  return fmt::format("{}, {:.2f} M", program.network, 1e-6 * static_cast<double>(n));
}

// The weight tensors of a network one behind the other: floats, then what comes out of them.
class WeightBench {
 public:
  explicit WeightBench(BenchBed& bed) : bed_(bed), program_(NetworkOf(bed)), params_(5) {
    for (size_t i = 0; i < program_.ops.size(); ++i) {
      if (program_.ops[i].weight < 0) continue;
      const ParamInfo& info = program_.params[static_cast<size_t>(program_.ops[i].weight)];
      ops_.push_back({i, info.Elements(), total_});
      const std::vector<float>& value = params_.Get(info).value;
      values_.insert(values_.end(), value.begin(), value.end());
      weights_ += info.Elements();
      total_ += (info.Elements() + kAlign - 1) / kAlign * kAlign;
      values_.resize(static_cast<size_t>(total_));
      chunks_ += WeightChunks(static_cast<int>(info.Elements()));
    }
    device_values_.Resize(4 * total_);
    CopyToDevice(device_values_.Data(), values_.data(), 4 * total_, bed.S());
    codes_.Resize(kLanes * total_);
    keep_.Resize(kLanes * total_);
    exponents_.Resize(static_cast<int64_t>(ops_.size() * sizeof(int)));
    largest_.Resize(4 * chunks_);
    bed.Wait();
  }

  void Row(const char* faults) {
    const FaultSpec spec = ParseFaultSpec(faults);
    BenchFaults plan(bed_, program_, spec, kLanes, true);
    Staging staging(1);
    staging.Begin();
    const WeightArguments a = Arguments(plan, staging);
    staging.Send(bed_.S());
    KernelBenchRow row;
    row.op = "weights to codes";
    row.shape = NetworkText(program_, weights_);
    row.faults = spec.Text();
    const double seconds = bed_.Seconds(1, [&](int) { QuantizeWeights(a, bed_.S()); });
    int64_t written = 0;
    for (const Tensor& t : ops_) written += 2 * t.n * Copies(plan, t);
    bed_.Fill(row, seconds, 4 * weights_ + written, 0);
    Check(plan, row);
    if (spec.Empty()) clean_us_ = row.us;
    row.clean_us = clean_us_;
    bed_.Report(row);
  }

  // One copy of the last row's codes, as a training step packs it.
  void PackRow() {
    std::vector<PackJob> jobs;
    std::vector<int64_t> at;
    int64_t read = 0, written = 0;
    for (const Tensor& t : ops_) {
      const Op& op = program_.ops[t.op];
      if (op.kind != OpKind::kConv) continue;
      const WindowGeometry g = GeometryOf(program_, op, 1, 1);
      const auto add = [&](PackLayout layout, int64_t bytes) {
        jobs.push_back({layout, g, 1, codes_.As<int8_t>() + kLanes * t.first, nullptr});
        at.push_back(written);
        read += t.n;
        written += bytes;
      };
      add(IsDepthwise(op) ? PackLayout::kDepthwise : PackLayout::kConv,
          PackedBytes(g, IsDepthwise(op)));
      if (!IsDepthwise(op)) add(PackLayout::kConvGrad, 2 * PackedConvGradElements(g));
    }
    const DeviceMemory together(written), alone(written);
    PackList packs;
    for (size_t j = 0; j < jobs.size(); ++j) {
      jobs[j].packed = alone.Data() + at[j];
      PackTensor(jobs[j], bed_.S());
      jobs[j].packed = together.Data() + at[j];
      packs.Add(jobs[j]);
    }
    Staging staging(1);
    staging.Begin();
    const PackArguments a = packs.Stage(staging);
    staging.Send(bed_.S());
    KernelBenchRow row;
    row.op = "codes packed";
    row.shape = NetworkText(program_, weights_);
    row.faults = "none";
    bed_.Fill(row, bed_.Seconds(1, [&](int) { PackWeights(a, bed_.S()); }), read + written, 0);
    const std::vector<uint8_t> got = Download(together.Data(), written, bed_.S());
    const std::vector<uint8_t> want = Download(alone.Data(), written, bed_.S());
    bed_.Wait();
    row.passed = got == want;
    row.parity = row.passed ? "tensors alone, bit for bit" : "DIFFERS from tensors alone";
    bed_.Report(row);
  }

 private:
  struct Tensor {
    size_t op;
    int64_t n, first;
  };
  static int Copies(BenchFaults& plan, const Tensor& t) {
    return plan.Plan().HasWeightFaults(t.op) ? kLanes : 1;
  }

  WeightArguments Arguments(BenchFaults& plan, Staging& staging) {
    std::vector<WeightTensor> tensors;
    std::vector<WeightChunk> chunks;
    for (const Tensor& t : ops_) {
      WeightTensor w;
      w.value = device_values_.As<float>() + t.first;
      w.n = static_cast<int>(t.n);
      w.copies = Copies(plan, t);
      w.codes = codes_.As<int8_t>() + kLanes * t.first;
      w.keep = keep_.As<uint8_t>() + kLanes * t.first;
      w.exponent = exponents_.As<int>() + tensors.size();
      w.largest = largest_.As<float>() + chunks.size();
      w.faults = plan.Device().Weights(t.op);
      for (int first = 0; first < w.n; first += kWeightChunk)
        chunks.push_back({static_cast<int>(tensors.size()), first});
      tensors.push_back(w);
    }
    const uint32_t zero = 0;
    WeightArguments a;
    a.tensors = staging.Add(tensors);
    a.count = static_cast<int>(tensors.size());
    a.chunks = staging.Add(chunks);
    a.chunk_count = static_cast<int>(chunks.size());
    a.copies = kLanes;
    a.collects = plan.Device().Collects();
    a.zero = staging.Add(&zero, 1);
    return a;
  }

  void Check(BenchFaults& plan, KernelBenchRow& row) {
    const std::vector<int8_t> codes = Download(codes_.As<int8_t>(), kLanes * total_, bed_.S());
    const std::vector<uint8_t> keep = Download(keep_.As<uint8_t>(), kLanes * total_, bed_.S());
    bed_.Wait();
    row.passed = true;
    for (const Tensor& t : ops_) {
      const auto from = values_.begin() + t.first;
      WeightCodes want = ftt::QuantizeWeights(std::vector<float>(from, from + t.n), 8, true);
      ApplyWeightFaults(want, plan.Plan(), t.op, true);
      const int64_t at = kLanes * t.first;
      const bool same = std::equal(want.codes.begin(), want.codes.end(), codes.begin() + at);
      const bool same_keep =
          want.keep.empty() || std::equal(want.keep.begin(), want.keep.end(), keep.begin() + at);
      row.passed = row.passed && same && same_keep;
    }
    row.parity = row.passed ? "host, bit for bit" : "DIFFERS from the host";
  }

  BenchBed& bed_;
  const Program program_;
  ParamStore params_;
  std::vector<Tensor> ops_;
  std::vector<float> values_;
  int64_t weights_ = 0, total_ = 0, chunks_ = 0;
  DeviceMemory device_values_, codes_, keep_, exponents_, largest_;
  double clean_us_ = 0;
};

double LargestRelative(const std::vector<float>& got, const std::vector<float>& want) {
  double largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference = std::fabs(double{got[i]} - want[i]);
    largest = std::max(largest, difference / std::max(std::fabs(double{want[i]}), 1e-3));
  }
  return largest;
}

}  // namespace

void BenchWeights(BenchBed& bed) {
  WeightBench weights(bed);
  for (const char* faults : {"none", "adsaf:0.08", "ibf-weight:0.001"}) weights.Row(faults);
  weights.PackRow();
}

void BenchOptimizer(BenchBed& bed) {
  const Program program = NetworkOf(bed);
  ParamStore params(5);
  std::vector<float> value;
  for (const ParamInfo& info : program.params) {
    if (!info.Trained()) continue;
    const std::vector<float>& v = params.Get(info).value;
    value.insert(value.end(), v.begin(), v.end());
  }
  const auto n = static_cast<int64_t>(value.size());
  PhiloxSequence draws(bed.Options().seed, ftt::Stream::kShapes, 96);
  std::vector<float> gradient(value.size());
  for (float& g : gradient) g = 0.02f * draws.Uniform() - 0.01f;

  const DeviceMemory memory(12 * n);
  auto* floats = memory.As<float>();
  CopyToDevice(floats, value.data(), 4 * n, bed.S());
  FillDevice(floats + n, 0, 4 * n, bed.S());
  CopyToDevice(floats + 2 * n, gradient.data(), 4 * n, bed.S());
  std::vector<UpdateChunk> chunks;
  for (int64_t first = 0; first < n; first += kUpdateChunk) {
    chunks.push_back({floats + first, floats + n + first, nullptr, floats + 2 * n + first,
                      static_cast<int>(std::min<int64_t>(kUpdateChunk, n - first))});
  }
  Staging staging(1);
  staging.Begin();
  const OptimizerOptions options;
  SgdArguments a;
  const float rate = 0.05f;
  a.update.chunks = staging.Add(chunks);
  a.update.count = static_cast<int>(chunks.size());
  a.update.rate = staging.Add(&rate, 1);
  a.update.weight_decay = options.weight_decay;
  a.update.clip = options.clip;
  a.momentum = options.momentum;
  const DeviceMemory partials(static_cast<int64_t>((chunks.size() + 1) * sizeof(double)));
  a.update.partials = partials.As<double>();
  a.update.norm = partials.As<double>() + chunks.size();
  staging.Send(bed.S());

  // One step, before the many that are timed.
  SgdStep(a, bed.S());
  const std::vector<float> got = Download(floats, n, bed.S());
  bed.Wait();
  OptimizerStep(options, program, params, gradient, rate);
  std::vector<float> want;
  for (const ParamInfo& info : program.params) {
    if (!info.Trained()) continue;
    const std::vector<float>& v = params.Get(info).value;
    want.insert(want.end(), v.begin(), v.end());
  }
  const double difference = LargestRelative(got, want);
  KernelBenchRow row;
  row.op = "clip and update";
  row.shape = NetworkText(program, n);
  row.faults = "none";
  // Read: gradient, velocity, value; written: the last two.
  bed.Fill(row, bed.Seconds(1, [&](int) { SgdStep(a, bed.S()); }), 20 * n, 0);
  row.passed = difference < 1e-5;
  row.parity = fmt::format("{}host, to {:.1g}", row.passed ? "" : "DIFFERS: ", difference);
  bed.Report(row);
}

}  // namespace ftt::cuda
