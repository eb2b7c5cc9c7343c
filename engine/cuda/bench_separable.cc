// A depthwise convolution and the 1x1 convolution behind it: deployed in one kernel, beside our own
// kernels apart; in training beside the same work op by op.
#include <fmt/format.h>

#include <algorithm>

#include "engine/cuda/bench_conv.h"
#include "kernels/cuda/conv.h"
#include "kernels/cuda/depthwise.h"
#include "kernels/cuda/separable.h"
#include "kernels/ref_backend.h"

namespace ftt::cuda {

class SeparableBench {
 public:
  SeparableBench(BenchBed& bed, const Shape& map, int kernel, int stride)
      : bed_(bed),
        first_(bed, map, kernel, stride, true),
        second_(bed, first_.program_.values[1], 1, 1, false),
        sets_(std::min(first_.sets_, second_.sets_)) {}
  void Run();

 private:
  // The faults of both sites.
  struct Faults {
    Faults(BenchBed& bed, const Program& first, const Program& second, const FaultSpec& spec)
        : one(bed, first, spec, 1, false), two(bed, second, spec, 1, false) {}
    void DrawAhead(BenchBed& bed) {
      one.DrawAhead(bed);
      two.DrawAhead(bed);
    }
    BenchFaults one, two;
  };

  KernelBenchRow NewRow(const char* op, const FaultSpec& spec) const;
  int64_t WeightBytes() const { return first_.WeightBytes() + second_.WeightBytes(); }
  int64_t Products() const {
    return second_.program_.MacsPerOutput(second_.program_.ops[0]) * second_.Elements();
  }
  int8_t* Middle(int set) const { return second_.device_x_.At<int8_t>(set); }
  SeparableArguments Arguments(int set) const;
  void DeployRow(const FaultSpec& spec);
  bool DeployIsRight(const Faults& faults) const;
  void TrainRow(const FaultSpec& spec);

  BenchBed& bed_;
  ConvBench first_, second_;
  const int sets_;
  double clean_deploy_us_ = 0, clean_train_us_ = 0;
};

KernelBenchRow SeparableBench::NewRow(const char* op, const FaultSpec& spec) const {
  KernelBenchRow row;
  row.op = fmt::format("dw+pw {}", op);
  row.shape = first_.ShapeText();
  row.faults = spec.Text();
  return row;
}

SeparableArguments SeparableBench::Arguments(int set) const {
  SeparableArguments a;
  a.depthwise = {
      first_.geometry_, first_.device_x_.At<int8_t>(set), first_.packed_.As<uint32_t>(), true, {}};
  a.pointwise = {second_.geometry_, nullptr, second_.packed_.As<int8_t>(), true, {}};
  return a;
}

bool SeparableBench::DeployIsRight(const Faults& faults) const {
  const BatchDims dims{1, 2, first_.end_ids_.data()};
  const Shape &middle = first_.program_.values[1], &out = second_.program_.values[1];
  std::vector<int8_t> codes(first_.acc_.size());
  std::vector<int8_t> want(static_cast<size_t>(2 * out.Elements()));
  RefBackend ref;
  ref.Quantize(dims, middle, 8, first_.acc_.data(), &first_.norm_, faults.one.Plan().Feature(1),
               codes.data(), nullptr, false);
  const WindowShape window{middle, out, second_.program_.ops[0].conv, false, PoolKind::kMax, true};
  WeightCodes weights = second_.weights_;
  ref.AccumulateQuantize(dims, window, 8, codes.data(), &weights, second_.norm_,
                         faults.two.Plan().Feature(1), want.data());
  return Compare(second_.Ends(second_.codes_.At<int8_t>(sets_ - 1)), want).largest == 0;
}

void SeparableBench::DeployRow(const FaultSpec& spec) {
  KernelBenchRow row = NewRow("deploy", spec);
  Faults faults(bed_, first_.program_, second_.program_, spec);
  faults.DrawAhead(bed_);
  const SiteFaultsView one = faults.one.Feature(1), two = faults.two.Feature(1);
  const double apart = bed_.Seconds(sets_, [&](int set) {
    first_.Convolve(set, first_.DeployOutput(one, Middle(set)));
    second_.Convolve(set, second_.DeployOutput(two, second_.codes_.At<int8_t>(set)));
  });
  const bool apart_is_right = DeployIsRight(faults);
  FillDevice(second_.codes_.At<uint8_t>(sets_ - 1), 0, second_.Elements(), bed_.S());
  const double seconds = bed_.Seconds(sets_, [&](int set) {
    SeparableArguments a = Arguments(set);
    a.depthwise.out = first_.DeployOutput(one, nullptr);
    a.pointwise.out = second_.DeployOutput(two, second_.codes_.At<int8_t>(set));
    Separable(a, bed_.S());
  });
  bed_.Fill(row, seconds, first_.InBytes() + WeightBytes() + second_.Elements(), Products());
  row.peer_us = 1e6 * apart;
  row.peer = "own two kernels";
  row.passed = DeployIsRight(faults) && apart_is_right;
  row.parity = row.passed ? "ref, bit for bit" : "DIFFERS from ref";
  if (spec.Empty()) clean_deploy_us_ = row.us;
  row.clean_us = clean_deploy_us_;
  bed_.Report(row);
}

void SeparableBench::TrainRow(const FaultSpec& spec) {
  KernelBenchRow row = NewRow("train", spec);
  Faults faults(bed_, first_.program_, second_.program_, spec);
  // First the chains: they may use the memory of our raw outputs, and their faults have kernels.
  const double chain =
      first_.ChainSeconds(faults.one.Feature(1)) + second_.ChainSeconds(faults.two.Feature(1));
  faults.DrawAhead(bed_);
  const double seconds = bed_.Seconds(sets_, [&](int set) {
    first_.Train(set, faults.one.Feature(1));
    second_.Train(set, faults.two.Feature(1));
  });
  KernelBenchRow one = row, two = row;
  first_.CheckTrain(faults.one, one);
  second_.CheckTrain(faults.two, two);
  row.passed = one.passed && two.passed;
  row.parity = fmt::format("{}; {}", one.parity, two.parity);
  bed_.Fill(row, seconds,
            first_.InBytes() + WeightBytes() + 5 * first_.Elements() + first_.Elements() / 8 +
                first_.Elements() + 5 * second_.Elements() + second_.Elements() / 8,
            Products());
  row.chain_us = 1e6 * chain;
  row.chain = fmt::format("{}; {}", first_.ChainText(), second_.ChainText());
  if (spec.Empty()) clean_train_us_ = row.us;
  row.clean_us = clean_train_us_;
  bed_.Report(row);
}

void SeparableBench::Run() {
  KernelBenchRow bare;  // the choice of the chains' convolutions
  first_.MeasurePeers(bare);
  second_.MeasurePeers(bare);
  const auto for_rates = [&](const auto& row) {
    for (const double rate : bed_.Options().rates)
      row(ParseFaultSpec(rate == 0 ? "none" : fmt::format("mibb:{}", rate)));
  };
  // Deployment, apart, leaves other codes in front of the second convolution.
  for_rates([&](const FaultSpec& spec) { TrainRow(spec); });
  for_rates([&](const FaultSpec& spec) { DeployRow(spec); });
}

void BenchSeparable(BenchBed& bed) {
  for (const Shape& map : bed.Options().maps) {
    for (const int kernel : {3, 5}) {
      for (const int stride : {1, 2}) SeparableBench(bed, map, kernel, stride).Run();
    }
  }
}

}  // namespace ftt::cuda
