#include "engine/cuda/bench_conv.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/half.h"
#include "kernels/cuda/conv.h"
#include "kernels/cuda/depthwise.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/quantize.h"
#include "kernels/cuda/unfused.h"
#include "kernels/ref_backend.h"

namespace ftt::cuda {
namespace {

// Of codes that the chain may have moved by one: it rounds to half precision twice more.
constexpr double kUnfusedShare = 0.05;

int RawShiftFor(int64_t products) {
  int shift = 0;
  for (int64_t bound = products * 128 * 128; bound > 65504; bound = (bound + 1) / 2) ++shift;
  return shift;
}

}  // namespace

ConvBench::ConvBench(BenchBed& bed, const Shape& map, int kernel, int stride, bool depthwise)
    : bed_(bed),
      program_(OneConvolution(map, kernel, stride, depthwise)),
      depthwise_(depthwise),
      geometry_(GeometryOf(program_, program_.ops[0], 1, bed.Options().batch)),
      raw_shift_(RawShiftFor(program_.MacsPerOutput(program_.ops[0]))),
      sets_(bed.Sets(InBytes() + Elements())),
      end_ids_{0, static_cast<uint32_t>(bed.Options().batch - 1)},
      x_(BenchCodes(bed.Options().batch * map.Elements(), 0, 127, bed.Options().seed)),
      device_x_(sets_, PadRows(x_, map.c), bed.S()),
      codes_(sets_, Elements()),
      mask_(sets_, Elements() / 8),
      raw_(sets_, 2 * Elements()),
      half_x_(bed.Cudnn() != nullptr ? sets_ : 1, 2 * InBytes()),
      wide_(sets_, 4 * Elements()),
      normalized_(sets_, 2 * Elements()),
      struck_(sets_, Elements()),
      rectified_(sets_, Elements()) {
  const int64_t n = program_.params[static_cast<size_t>(program_.ops[0].weight)].Elements();
  weights_.n = n;
  weights_.codes = BenchCodes(n, -128, 127, bed.Options().seed + 1);
  const DeviceMemory codes = Resident(weights_.codes, bed.S());
  packed_.Resize(WeightBytes());
  if (depthwise) {
    PackDepthwiseWeights(geometry_, 1, codes.As<int8_t>(), packed_.As<uint32_t>(), bed.S());
  } else {
    PackConvWeights(geometry_, 1, codes.As<int8_t>(), packed_.As<int8_t>(), bed.S());
  }
  const int stride_floats = geometry_.Out().Stride();
  moments_.Resize(MomentBytes(1, stride_floats));
  FillDevice(moments_.Data(), 0, moments_.Size(), bed.S());
  norm_memory_.Resize(int64_t{4} * (5 * stride_floats + 4));
  exponents_ = Resident(std::vector<int>{kXExponent, kWeightExponent, 0, 0}, bed.S());
  const int64_t blocks = UnfusedBlocks(geometry_.Out());
  sums_.Resize(int64_t{8} * blocks * stride_floats);
  affine_.Resize(int64_t{8} * stride_floats);
  largest_.Resize(int64_t{4} * blocks);
  MakeReference();
  norm_ = BenchNorm(acc_, geometry_.out_channels, bed.Options().seed);
  scale_ = Resident(PadRows(norm_.scale, geometry_.out_channels), bed.S());
  shift_ = Resident(PadRows(norm_.shift, geometry_.out_channels), bed.S());
  if (bed.Cudnn() != nullptr) {
    // Rows of weights are those of their last dimension: channels, or one tap where depthwise.
    std::vector<int8_t> plain = depthwise ? weights_.codes : PadRows(weights_.codes, map.c);
    plain.resize(static_cast<size_t>(int64_t{stride_floats} * kernel * kernel *
                                     (depthwise ? 1 : geometry_.In().Stride())));
    plain_weights_ = Resident(plain, bed.S());
    half_weights_ = Resident(Halves(plain), bed.S());
    const std::vector<uint16_t> half = Halves(PadRows(x_, map.c));
    half_x_.Fill(half, bed.S());
    bed.Wait();
  }
  bed.Wait();
}

void ConvBench::MakeReference() {
  const Shape &in = program_.values[0], &out = program_.values[1];
  const auto image = static_cast<int64_t>(in.Elements());
  std::vector<int8_t> ends(x_.begin(), x_.begin() + image);
  ends.insert(ends.end(), x_.end() - image, x_.end());
  const WindowShape window{in, out, program_.ops[0].conv, false, PoolKind::kMax, true};
  acc_.resize(static_cast<size_t>(2 * out.Elements()));
  RefBackend().Accumulate({1, 2, end_ids_.data()}, window, ends.data(), &weights_, acc_.data(),
                          nullptr);
}

std::string ConvBench::ShapeText() const {
  const WindowGeometry& g = geometry_;
  return fmt::format("{} x {}x{}x{} {}x{} stride {}", g.images, g.in_h, g.in_w, g.in_channels,
                     g.kernel, g.kernel, g.stride);
}

KernelBenchRow ConvBench::NewRow(const char* op, const FaultSpec* spec) const {
  KernelBenchRow row;
  row.op = fmt::format("{} {}", depthwise_ ? "depthwise" : "dense", op);
  row.shape = ShapeText();
  row.faults = spec == nullptr ? "none" : spec->Text();
  return row;
}

void ConvBench::Convolve(int set, const WindowOutput& out) const {
  const auto* x = device_x_.At<int8_t>(set);
  if (depthwise_) {
    Depthwise({geometry_, x, packed_.As<uint32_t>(), true, out}, bed_.S());
  } else {
    Conv({geometry_, x, packed_.As<int8_t>(), true, out}, bed_.S());
  }
}

WindowOutput ConvBench::RawOutput(int set, bool statistics) const {
  WindowOutput out;
  out.raw_type = RawType::kHalf;
  out.raw_shift = raw_shift_;
  out.raw = raw_.At<void>(set);
  out.moments = statistics ? moments_.As<int64_t>() : nullptr;
  return out;
}

void ConvBench::BareRow() {
  KernelBenchRow row = NewRow("bare", nullptr);
  const double seconds =
      bed_.Seconds(sets_, [&](int set) { Convolve(set, RawOutput(set, false)); });
  const int64_t products = program_.MacsPerOutput(program_.ops[0]);
  bed_.Fill(row, seconds, InBytes() + WeightBytes() + 2 * Elements(),
            depthwise_ ? 0 : products * Elements());
  const std::vector<uint16_t> got = Ends(raw_.At<uint16_t>(sets_ - 1));
  const double step = std::ldexp(1.0, raw_shift_);
  row.passed = got.size() == acc_.size();
  for (size_t i = 0; row.passed && i < got.size(); ++i) {
    row.passed = double{HalfToFloat(got[i])} * step == RoundToHalf(acc_[i]);
  }
  row.parity = row.passed ? "ref, rounded to half" : "DIFFERS from ref";
  MeasurePeers(row);
  bed_.Report(row);
}

WindowOutput ConvBench::DeployOutput(const SiteFaultsView& faults, int8_t* codes) const {
  WindowOutput out;
  out.scale = scale_.As<float>();
  out.shift = shift_.As<float>();
  out.one_norm = true;
  out.faults = faults;
  out.codes = codes;
  return out;
}

void ConvBench::DeployRow(const FaultSpec& spec) {
  KernelBenchRow row = NewRow("deploy", &spec);
  BenchFaults faults(bed_, program_, spec, 1, false);
  faults.DrawAhead(bed_);
  const double seconds = bed_.Seconds(sets_, [&](int set) {
    Convolve(set, DeployOutput(faults.Feature(1), codes_.At<int8_t>(set)));
  });
  bed_.Fill(row, seconds, InBytes() + WeightBytes() + Elements(),
            depthwise_ ? 0 : program_.MacsPerOutput(program_.ops[0]) * Elements());
  std::vector<int8_t> want(acc_.size());
  RefBackend().Quantize({1, 2, end_ids_.data()}, program_.values[1], 8, acc_.data(), &norm_,
                        faults.Plan().Feature(1), want.data(), nullptr, false);
  const CodeDifference difference = Compare(Ends(codes_.At<int8_t>(sets_ - 1)), want);
  row.passed = difference.largest == 0;
  row.parity = row.passed ? "ref, bit for bit" : "DIFFERS from ref: " + difference.Text();
  if (spec.Empty()) clean_deploy_us_ = row.us;
  row.clean_us = clean_deploy_us_;
  bed_.Report(row);
}

// Statistics -> map.
void ConvBench::FinishStatistics() {
  const MapShape shape = geometry_.Out();
  const int stride = shape.Stride();
  auto* floats = norm_memory_.As<float>();
  NormArguments n;
  n.channels = shape.channels;
  n.moments = moments_.As<int64_t>();
  n.count = shape.Pixels();
  n.batch_norm = true;
  n.x_exponent = exponents_.As<int>();
  n.weight_exponent = exponents_.As<int>() + 1;
  n.scale = floats;
  n.shift = floats + stride;
  n.mean = floats + 2 * stride;
  n.inv_std = floats + 3 * stride;
  n.variance = floats + 4 * stride;
  n.unit = floats + 5 * stride;
  n.exponent = exponents_.As<int>() + 2;
  FinishNorm(n, bed_.S());
}

// Raw outputs -> codes, mask and faults.
void ConvBench::QuantizeRaw(int set, const SiteFaultsView& faults, int8_t* codes) {
  QuantizeArguments q;
  q.shape = geometry_.Out();
  q.raw_type = RawType::kHalf;
  q.raw_shift = raw_shift_;
  q.raw = raw_.At<void>(set);
  q.scale = norm_memory_.As<float>();
  q.shift = norm_memory_.As<float>() + q.shape.Stride();
  q.faults = faults;
  q.codes = codes;
  q.mask = mask_.At<uint8_t>(set);
  Quantize(q, bed_.S());
}

void ConvBench::Train(int set, const SiteFaultsView& faults) {
  Convolve(set, RawOutput(set, true));
  FinishStatistics();
  QuantizeRaw(set, faults, codes_.At<int8_t>(set));
}

// Ours against the reference, given the map that the device found, then the chain against ours,
// which also compares the statistics of the whole batch.
void ConvBench::CheckTrain(const BenchFaults& faults, KernelBenchRow& row) {
  const int set = sets_ - 1, stride = geometry_.Out().Stride();
  const std::vector<float> map = Download(norm_memory_.As<float>(), 2 * stride, bed_.S());
  const std::vector<int> exponents = Download(exponents_.As<int>(), 4, bed_.S());
  std::vector<int8_t> ours = Download(codes_.At<int8_t>(set), Elements(), bed_.S());
  const std::vector<int8_t> chain = Download(rectified_.At<int8_t>(set), Elements(), bed_.S());
  bed_.Wait();
  LaneNorm norm;
  norm.scale.assign(map.begin(), map.begin() + geometry_.out_channels);
  norm.shift.assign(map.begin() + stride, map.begin() + stride + geometry_.out_channels);
  std::vector<int32_t> stored;  // as raw outputs are between the two kernels
  for (const int32_t v : acc_) stored.push_back(RoundToHalf(v));
  std::vector<int8_t> want(acc_.size());
  RefBackend().Quantize({1, 2, end_ids_.data()}, program_.values[1], 8, stored.data(), &norm,
                        faults.Plan().Feature(1), want.data(), nullptr, false);
  const CodeDifference ref = Compare(Ends(codes_.At<int8_t>(set)), want);
  for (int8_t& v : ours) v = std::max<int8_t>(v, 0);
  const CodeDifference other = Compare(ours, chain);
  row.passed = ref.largest == 0 && other.Within(1, kUnfusedShare) && exponents[2] == exponents[3];
  row.parity = fmt::format("{}ref: {}; chain: {}{}", row.passed ? "" : "DIFFERS: ", ref.Text(),
                           other.Text(), exponents[2] == exponents[3] ? "" : ", other exponent");
}

void ConvBench::TrainRow(const FaultSpec& spec) {
  KernelBenchRow row = NewRow("train", &spec);
  BenchFaults faults(bed_, program_, spec, 1, false);
  // First the chain: it may use the memory of our raw outputs, and its faults have a kernel.
  const double chain = ChainSeconds(faults.Feature(1));
  faults.DrawAhead(bed_);
  const SiteFaultsView view = faults.Feature(1);
  const double seconds = bed_.Seconds(sets_, [&](int set) { Train(set, view); });
  // Raw outputs are written, then read: the statistics of all are needed before the first code.
  bed_.Fill(row, seconds, InBytes() + WeightBytes() + 5 * Elements() + Elements() / 8,
            depthwise_ ? 0 : program_.MacsPerOutput(program_.ops[0]) * Elements());
  row.chain_us = 1e6 * chain;
  row.chain = ChainText();
  CheckTrain(faults, row);
  if (spec.Empty()) clean_train_us_ = row.us;
  row.clean_us = clean_train_us_;
  bed_.Report(row);
}

void ConvBench::Run() {
  BareRow();
  for (const double rate : bed_.Options().rates) {
    const FaultSpec spec = ParseFaultSpec(rate == 0 ? "none" : fmt::format("mibb:{}", rate));
    DeployRow(spec);
    TrainRow(spec);
  }
}

void BenchConvolutions(BenchBed& bed, bool depthwise) {
  for (const Shape& map : bed.Options().maps) {
    for (const int kernel : {1, 3, 5}) {
      if (depthwise && kernel == 1) continue;
      for (const int stride : {1, 2}) ConvBench(bed, map, kernel, stride, depthwise).Run();
    }
  }
}

}  // namespace ftt::cuda
