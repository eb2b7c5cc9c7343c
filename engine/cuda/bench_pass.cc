// Passes over feature maps: raw outputs to codes with mask and faults, sums of codes, and the two
// samplers at shares of struck outputs that networks see.
#include <fmt/format.h>
#include <algorithm>
#include <array>
#include <cmath>

#include "core/half.h"
#include "engine/cuda/bench_bed.h"
#include "engine/cuda/bench_operands.h"
#include "engine/cuda/layout.h"
#include "kernels/cuda/quantize.h"
#include "kernels/cuda/sum.h"
#include "kernels/ref_backend.h"

namespace ftt::cuda {
namespace {

constexpr double kShares[] = {0.001, 0.02, 0.15};  // of outputs struck
constexpr int kLargestRaw = 2000;                  // whole numbers that half precision holds

std::string MapText(const MapShape& s) {
  return fmt::format("{} x {}x{}x{}", s.images, s.h, s.w, s.channels);
}

// Mask bits of the device against those of the reference; images one after another.
bool SameMask(const std::vector<uint8_t>& device, const std::vector<uint8_t>& ref,
              const MapShape& s) {
  const int64_t elements = int64_t{s.MapPixels()} * s.channels;
  for (int64_t image = 0; image < s.images; ++image) {
    for (int64_t e = 0; e < elements; ++e) {
      const int64_t bit = (image * s.MapPixels() + e / s.channels) * s.Stride() + e % s.channels;
      const int got = device[static_cast<size_t>(bit / 8)] >> (bit % 8) & 1;
      const auto byte = static_cast<size_t>(image * MaskBytes(elements) + e / 8);
      if (got != (ref[byte] >> (e % 8) & 1)) return false;
    }
  }
  return true;
}

// Quantize behind a pointwise convolution of a map.
class PassBench {
 public:
  PassBench(BenchBed& bed, const Shape& map)
      : bed_(bed),
        program_(OneConvolution(map, 1, 1, false)),
        shape_(MapOf(program_.values[1], 1, bed.Options().batch)),
        sets_(bed.Sets(3 * shape_.LaneElements())),
        acc_(static_cast<size_t>(shape_.images * program_.values[1].Elements())),
        raw_(sets_, 2 * shape_.LaneElements()),
        codes_(sets_, shape_.LaneElements()),
        mask_(sets_, shape_.LaneElements() / 8) {
    const std::vector<int8_t> draws = BenchCodes(shape_.images * map.Elements(), -125, 125, 3);
    constexpr int kStep = kLargestRaw / 125;  // a whole number of half precision's, as its products
    std::array<uint16_t, 256> half;
    for (int v = -128; v < 128; ++v)
      half[static_cast<uint8_t>(v)] = FloatToHalf(static_cast<float>(v * kStep));
    std::vector<uint16_t> halves(acc_.size());
    for (size_t i = 0; i < acc_.size(); ++i) {
      acc_[i] = draws[i] * kStep;
      halves[i] = half[static_cast<uint8_t>(draws[i])];
    }
    const std::vector<uint16_t> padded = PadRows(halves, shape_.channels);
    raw_.Fill(padded, bed.S());
    norm_ = BenchNorm(acc_, shape_.channels, bed.Options().seed);
    const std::vector<float> scale = PadRows(norm_.scale, shape_.channels);
    const std::vector<float> shift = PadRows(norm_.shift, shape_.channels);
    map_.Resize(int64_t{8} * shape_.Stride());
    CopyToDevice(map_.Data(), scale.data(), int64_t{4} * shape_.Stride(), bed.S());
    CopyToDevice(map_.As<float>() + shape_.Stride(), shift.data(), int64_t{4} * shape_.Stride(),
                 bed.S());
    bed.Wait();
  }

  // ahead: the faults were drawn before.
  void Row(const char* op, const std::string& faults, bool ahead) {
    const FaultSpec spec = ParseFaultSpec(faults);
    KernelBenchRow row = NewRow(op, spec);
    BenchFaults plan(bed_, program_, spec, 1, false);
    if (ahead) plan.DrawAhead(bed_);
    const double seconds = bed_.Seconds(sets_, [&](int set) { RunQuantize(set, plan); });
    bed_.Fill(row, seconds, 3 * shape_.LaneElements() + shape_.LaneElements() / 8, 0);
    Check(plan, row);
    if (spec.Empty()) clean_us_ = row.us;
    row.clean_us = clean_us_;
    bed_.Report(row);
  }
  // Drawing ahead alone; what was drawn last is checked by a pass that applies it.
  void DrawRow(const char* op, const std::string& faults) {
    const FaultSpec spec = ParseFaultSpec(faults);
    KernelBenchRow row = NewRow(op, spec);
    BenchFaults plan(bed_, program_, spec, 1, false);
    plan.DrawAhead(bed_);
    const double seconds = bed_.Seconds(sets_, [&](int) { plan.Draw(bed_); });
    bed_.Fill(row, seconds, plan.Device().StrikeBytes(shape_.images), 0);
    RunQuantize(sets_ - 1, plan);
    Check(plan, row);
    bed_.Report(row);
  }
  // Multiply-adds per output.
  int64_t Macs() const { return program_.MacsPerOutput(program_.ops[0]); }

 private:
  KernelBenchRow NewRow(const char* op, const FaultSpec& spec) const {
    KernelBenchRow row;
    row.op = op;
    row.shape = MapText(shape_);
    row.faults = spec.Text();
    return row;
  }
  void RunQuantize(int set, const BenchFaults& plan) {
    QuantizeArguments a;
    a.shape = shape_;
    a.raw_type = RawType::kHalf;
    a.raw = raw_.At<void>(set);
    a.scale = map_.As<float>();
    a.shift = map_.As<float>() + shape_.Stride();
    a.one_norm = true;
    a.faults = plan.Feature(1);
    a.codes = codes_.At<int8_t>(set);
    a.mask = mask_.At<uint8_t>(set);
    Quantize(a, bed_.S());
  }
  void Check(BenchFaults& plan, KernelBenchRow& row) {
    const int64_t elements = int64_t{shape_.MapPixels()} * shape_.channels;
    std::vector<uint32_t> ids(static_cast<size_t>(shape_.images));
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<uint32_t>(i);
    std::vector<int8_t> want(acc_.size());
    std::vector<uint8_t> want_mask(static_cast<size_t>(shape_.images * MaskBytes(elements)));
    RefBackend().Quantize({1, shape_.images, ids.data()}, program_.values[1], 8, acc_.data(),
                          &norm_, plan.Plan().Feature(1), want.data(), want_mask.data(), false);
    const std::vector<int8_t> got =
        Download(codes_.At<int8_t>(sets_ - 1), shape_.LaneElements(), bed_.S());
    const std::vector<uint8_t> mask =
        Download(mask_.At<uint8_t>(sets_ - 1), shape_.LaneElements() / 8, bed_.S());
    bed_.Wait();
    row.passed = DenseRows(got, shape_.channels) == want && SameMask(mask, want_mask, shape_);
    row.parity = row.passed ? "ref, bit for bit" : "DIFFERS from ref";
  }

  BenchBed& bed_;
  const Program program_;
  const MapShape shape_;
  const int sets_;
  std::vector<int32_t> acc_;
  LaneNorm norm_;
  SetMemory raw_, codes_, mask_;
  DeviceMemory map_;
  double clean_us_ = 0;
};

// The sum of two maps, as in a cell's node or at the end of a residual block.
void AddRow(BenchBed& bed, const Shape& map) {
  const MapShape shape = MapOf(map, 1, bed.Options().batch);
  const int64_t bytes = shape.LaneElements();
  const int sets = bed.Sets(3 * bytes);
  const std::vector<int8_t> x = BenchCodes(shape.images * map.Elements(), -128, 127, 5);
  const std::vector<int8_t> y = BenchCodes(shape.images * map.Elements(), -128, 127, 6);
  const SetMemory device_x(sets, PadRows(x, map.c), bed.S());
  const SetMemory device_y(sets, PadRows(y, map.c), bed.S());
  const SetMemory codes(sets, bytes), mask(sets, bytes / 8);
  const std::vector<int> exponents = {-5, -4, 0};
  const SetMemory device_exponents(1, exponents, bed.S());
  const DeviceMemory largest(int64_t{4} * SumBlocks(shape));
  bed.Wait();
  KernelBenchRow row;
  row.op = "add two";
  row.shape = MapText(shape);
  row.faults = "none";
  const double seconds = bed.Seconds(sets, [&](int set) {
    SumArguments a;
    a.shape = shape;
    a.inputs[0] = {device_x.At<int8_t>(set), device_exponents.At<int>(0), map.c, true};
    a.inputs[1] = {device_y.At<int8_t>(set), device_exponents.At<int>(0) + 1, map.c, false};
    a.count = 2;
    a.exponent = device_exponents.At<int>(0) + 2;
    a.largest = largest.As<int32_t>();
    a.codes = codes.At<int8_t>(set);
    a.mask = mask.At<uint8_t>(set);
    Add(a, bed.S());
  });
  bed.Fill(row, seconds, 3 * bytes + bytes / 8, 0);
  std::vector<int8_t> want(x.size());
  std::vector<uint32_t> ids(static_cast<size_t>(shape.images));
  int exponent = 0;
  RefBackend().Add(
      {1, shape.images, ids.data()}, map, 8,
      {{x.data(), exponents.data(), map.c, true}, {y.data(), exponents.data() + 1, map.c, false}},
      true, &exponent, nullptr, want.data(), nullptr, false);
  const std::vector<int8_t> got = Download(codes.At<int8_t>(sets - 1), bytes, bed.S());
  const std::vector<int> derived = Download(device_exponents.At<int>(0), 3, bed.S());
  bed.Wait();
  row.passed = DenseRows(got, map.c) == want && derived[2] == exponent;
  row.parity = row.passed ? "ref, bit for bit" : "DIFFERS from ref";
  bed.Report(row);
}

}  // namespace

void BenchPasses(BenchBed& bed) {
  for (const Shape& map : bed.Options().maps) {
    PassBench pass(bed, map);
    for (const double rate : bed.Options().rates)
      pass.Row("quantize", rate == 0 ? "none" : fmt::format("mibb:{}", rate), true);
    AddRow(bed, map);
  }
}

void BenchSamplers(BenchBed& bed) {
  for (const Shape& map : bed.Options().maps) {
    PassBench pass(bed, map);
    pass.Row("sampler: none", "none", false);
    for (const double share : kShares) {
      // Such that this share of outputs is struck.
      const double rate = -std::expm1(std::log1p(-share) / static_cast<double>(pass.Macs()));
      for (const char* sampler : {"sparse", "dense"}) {
        pass.Row(fmt::format("sampler: {} {:g} %", sampler, 100 * share).c_str(),
                 fmt::format("mibb:{:.6g},sampler={}", rate, sampler), false);
      }
      const std::string ahead = fmt::format("mibb:{:.6g},sampler=sparse", rate);
      pass.Row(fmt::format("sampler: ahead {:g} %", 100 * share).c_str(), ahead, true);
      pass.DrawRow(fmt::format("sampler: drawing {:g} %", 100 * share).c_str(), ahead);
    }
  }
}

}  // namespace ftt::cuda
