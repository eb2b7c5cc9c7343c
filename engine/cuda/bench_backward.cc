// Gradients of a convolution's input and weights, in bfloat16 as between ops, beside cuDNN's in
// half precision.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/bf16.h"
#include "core/half.h"
#include "engine/cuda/bench_bed.h"
#include "engine/cuda/bench_operands.h"
#include "engine/cuda/layout.h"
#include "kernels/cuda/conv_backward.h"
#include "kernels/cuda/conv_data_grad.h"
#include "kernels/cuda/depthwise_backward.h"
#include "kernels/ref_backend.h"

namespace ftt::cuda {
namespace {

// Of the input and the weights.
constexpr int kInputExponent = -5, kFilterExponent = -7;
// Gradients of the output are whole multiples of this: exact in bfloat16 and in half precision.
constexpr float kGradientUnit = 1.0f / 64;
// Norm of the difference over that of the reference's gradient. Ours adds up in float32; gradients
// of data are then rounded to bfloat16, as is the reference's: a few next to the middle of two
// neighbours go the other way. cuDNN's results are rounded to half precision.
constexpr double kOwnTolerance = 1e-5, kOwnRoundedTolerance = 2e-4, kPeerTolerance = 2e-3;

std::vector<float> RoundedToBf16(std::vector<float> values) {
  for (float& v : values) v = Bf16ToFloat(FloatToBf16(v));
  return values;
}

// 16-bit values of any kind.
template <typename F>
std::vector<float> Floats(const std::vector<uint16_t>& values, const F& to_float) {
  std::vector<float> floats;
  for (const uint16_t v : values) floats.push_back(to_float(v));
  return floats;
}

double Distance(const std::vector<float>& got, const std::vector<float>& want) {
  if (got.size() != want.size()) return HUGE_VAL;
  double difference = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(double{got[i]} - want[i], 2);
    norm += std::pow(double{want[i]}, 2);
  }
  return std::sqrt(difference / std::max(norm, 1e-30));
}

class BackwardBench {
 public:
  BackwardBench(BenchBed& bed, const Shape& map, int kernel, int stride, bool depthwise);
  void Run() {
    if (depthwise_) return Row({true, true});
    Row({true, false});
    Row({false, true});
  }

 private:
  int64_t In() const { return geometry_.In().LaneElements(); }
  int64_t Out() const { return geometry_.Out().LaneElements(); }
  // Gradients of a row.
  struct Wanted {
    bool weights, data;
  };
  void Differentiate(int set, const Wanted& wanted);
  void DifferentiatePeer(int set, bool weights);
  // All but the first and the last image of the last set's gradient become zero.
  void KeepEnds();
  std::vector<float> Own(bool weights) const;
  std::vector<float> Peer(bool weights) const;
  template <typename T>
  std::vector<T> Ends(const T* device) const;
  void MeasurePeer(KernelBenchRow& row, const Wanted& wanted);
  void CheckPeer(KernelBenchRow& row, bool weights);
  void Row(const Wanted& wanted);

  BenchBed& bed_;
  const Program program_;
  const bool depthwise_, peer_;
  const WindowGeometry geometry_;
  const int64_t n_;  // weights
  const int sets_;
  std::vector<int8_t> x_, gradient_;  // dense
  WeightCodes weights_;
  std::vector<float> want_x_, want_w_;
  SetMemory device_x_, grad_y_, grad_x_;
  SetMemory half_x_, half_grad_y_, half_grad_x_;
  DeviceMemory codes_, packed_, half_w_, half_grad_w_, exponents_, scratch_, grad_w_;
};

BackwardBench::BackwardBench(BenchBed& bed, const Shape& map, int kernel, int stride,
                             bool depthwise)
    : bed_(bed),
      program_(OneConvolution(map, kernel, stride, depthwise)),
      depthwise_(depthwise),
      peer_(bed.Cudnn() != nullptr),
      geometry_(GeometryOf(program_, program_.ops[0], 1, bed.Options().batch)),
      n_(program_.params[static_cast<size_t>(program_.ops[0].weight)].Elements()),
      sets_(bed.Sets(3 * In() + 2 * Out())),
      // Positive: the ReLU lets every gradient pass, as cuDNN does.
      x_(BenchCodes(bed.Options().batch * map.Elements(), 1, 127, bed.Options().seed)),
      gradient_(BenchCodes(bed.Options().batch * program_.values[1].Elements(), -127, 127,
                           bed.Options().seed + 2)),
      device_x_(sets_, PadRows(x_, map.c), bed.S()),
      grad_y_(sets_, 2 * Out()),
      grad_x_(sets_, 2 * In()),
      half_x_(peer_ ? sets_ : 1, 2 * In()),
      half_grad_y_(peer_ ? sets_ : 1, 2 * Out()),
      half_grad_x_(peer_ ? sets_ : 1, 2 * In()) {
  weights_.n = n_;
  weights_.exponent = kFilterExponent;
  weights_.codes = BenchCodes(n_, -128, 127, bed.Options().seed + 1);
  codes_ = Resident(weights_.codes, bed.S());
  exponents_ = Resident(std::vector<int>{kInputExponent, kFilterExponent}, bed.S());
  grad_w_.Resize(4 * n_);
  if (depthwise) {
    scratch_.Resize(4 * DepthwiseGradScratch(geometry_));
  } else {
    scratch_.Resize(4 * ConvWeightGradScratch(geometry_));
    packed_.Resize(2 * PackedConvGradElements(geometry_));
    PackConvGradWeights(geometry_, 1, codes_.As<int8_t>(), packed_.As<Bf16>(), bed.S());
  }
  // cuDNN's filters: [padded out][k][k][padded in, or 1].
  const int64_t filter =
      int64_t{geometry_.Out().Stride()} * kernel * kernel * (depthwise ? 1 : PaddedChannels(map.c));
  std::vector<int8_t> plain = depthwise ? weights_.codes : PadRows(weights_.codes, map.c);
  plain.resize(static_cast<size_t>(filter));
  half_w_ = Resident(Halves(plain), bed.S());
  half_grad_w_.Resize(2 * filter);
  bed.Wait();

  const BatchDims dims{1, std::min(2, bed.Options().batch), nullptr};
  const Shape &in = program_.values[0], &out = program_.values[1];
  const auto ends = [&](const std::vector<int8_t>& all, const Shape& s) {
    std::vector<int8_t> both(all.begin(), all.begin() + s.Elements());
    if (dims.images > 1) both.insert(both.end(), all.end() - s.Elements(), all.end());
    return both;
  };
  const std::vector<int8_t> x = ends(x_, in), g = ends(gradient_, out);
  std::vector<float> grad_y(g.size());
  for (size_t i = 0; i < g.size(); ++i) grad_y[i] = kGradientUnit * static_cast<float>(g[i]);
  want_x_.resize(x.size());
  want_w_.resize(static_cast<size_t>(n_));
  const WindowShape window{in, out, program_.ops[0].conv, false, PoolKind::kMax, true};
  const int exponent = kInputExponent;
  RefBackend().WindowBackward(dims, window, x.data(), &exponent, &weights_, grad_y.data(), nullptr,
                              want_x_.data(), false, want_w_.data(), nullptr);
}

void BackwardBench::Differentiate(int set, const Wanted& wanted) {
  const auto* x = device_x_.At<int8_t>(set);
  const int* exponent = exponents_.As<int>();
  OutputGradient y;
  y.grad = grad_y_.At<Bf16>(set);
  auto* grad_x = grad_x_.At<Bf16>(set);
  auto *scratch = scratch_.As<float>(), *grad_w = grad_w_.As<float>();
  if (depthwise_) {
    DepthwiseGrad({geometry_, x, exponent, codes_.As<int8_t>(), nullptr, true, exponent + 1, y,
                   grad_x, false, scratch, grad_w},
                  bed_.S());
  } else if (wanted.weights) {
    ConvWeightGrad({geometry_, x, exponent, nullptr, true, y.grad, scratch, grad_w}, bed_.S());
  } else {
    ConvDataGrad({geometry_, x, packed_.As<Bf16>(), true, exponent + 1, y.grad, grad_x, false},
                 bed_.S());
  }
}

void BackwardBench::DifferentiatePeer(int set, bool weights) {
  const float scale = kGradientUnit * std::ldexp(1.0f, weights ? kInputExponent : kFilterExponent);
  bed_.Cudnn()->RunBackward(weights ? half_x_.At<void>(set) : half_w_.As<void>(),
                            half_grad_y_.At<void>(set), scale,
                            weights ? half_grad_w_.As<void>() : half_grad_x_.At<void>(set));
}

void BackwardBench::KeepEnds() {
  const int64_t image = Out() / geometry_.images, middle = image * (geometry_.images - 2);
  if (middle <= 0) return;
  const int set = sets_ - 1;
  FillDevice(grad_y_.At<Bf16>(set) + image, 0, 2 * middle, bed_.S());
  if (peer_) FillDevice(half_grad_y_.At<uint16_t>(set) + image, 0, 2 * middle, bed_.S());
}

// Of a gradient of the input.
template <typename T>
std::vector<T> BackwardBench::Ends(const T* device) const {
  const int64_t image = In() / geometry_.images;
  std::vector<T> both = Download(device, image, bed_.S());
  const std::vector<T> last = Download(device + In() - image, image, bed_.S());
  bed_.Wait();
  if (geometry_.images > 1) both.insert(both.end(), last.begin(), last.end());
  return DenseRows(both, geometry_.in_channels);
}

std::vector<float> BackwardBench::Own(bool weights) const {
  if (!weights) return Floats(Ends(grad_x_.At<Bf16>(sets_ - 1)), Bf16ToFloat);
  std::vector<float> got = Download(grad_w_.As<float>(), n_, bed_.S());
  bed_.Wait();
  return got;
}

std::vector<float> BackwardBench::Peer(bool weights) const {
  std::vector<uint16_t> halves;
  if (weights) {
    halves = Download(half_grad_w_.As<uint16_t>(), half_grad_w_.Size() / 2, bed_.S());
    bed_.Wait();
    if (!depthwise_) halves = DenseRows(halves, geometry_.in_channels);
    halves.resize(static_cast<size_t>(n_));
  } else {
    halves = Ends(half_grad_x_.At<uint16_t>(sets_ - 1));
  }
  return Floats(halves, HalfToFloat);
}

// Of both gradients where both are wanted: the sum.
void BackwardBench::MeasurePeer(KernelBenchRow& row, const Wanted& wanted) {
  if (!peer_) {
    row.peer = bed_.CudnnMissing();
    return;
  }
  row.peer = "cuDNN fp16";
  for (const bool weights : {true, false}) {
    if (!(weights ? wanted.weights : wanted.data)) continue;
    if (!bed_.Cudnn()->PrepareBackward(geometry_, depthwise_, weights)) {
      row.peer = "cuDNN has no plan";
      row.peer_us = 0;
      return;
    }
    row.peer_us += 1e6 * bed_.Seconds(sets_, [&](int set) { DifferentiatePeer(set, weights); });
  }
}

void BackwardBench::CheckPeer(KernelBenchRow& row, bool weights) {
  if (row.peer_us <= 0 || !bed_.Cudnn()->PrepareBackward(geometry_, depthwise_, weights)) return;
  DifferentiatePeer(sets_ - 1, weights);
  if (Distance(Peer(weights), weights ? want_w_ : want_x_) <= kPeerTolerance) return;
  row.peer_us = 0;
  row.peer = "cuDNN gives a wrong result";
}

void BackwardBench::Row(const Wanted& wanted) {
  const std::vector<int8_t> gradient = PadRows(gradient_, geometry_.out_channels);
  std::vector<Bf16> grad_y(gradient.size());
  for (size_t i = 0; i < grad_y.size(); ++i)
    grad_y[i] = FloatToBf16(kGradientUnit * static_cast<float>(gradient[i]));
  const std::vector<uint16_t> half = Halves(gradient);
  const std::vector<uint16_t> half_x = Halves(PadRows(x_, geometry_.in_channels));
  grad_y_.Fill(grad_y, bed_.S());
  if (peer_) {
    half_grad_y_.Fill(half, bed_.S());
    half_x_.Fill(half_x, bed_.S());
  }
  bed_.Wait();
  const WindowGeometry& g = geometry_;
  KernelBenchRow row;
  row.op = depthwise_       ? "depthwise gradients"
           : wanted.weights ? "dense weight gradient"
                            : "dense data gradient";
  row.shape = fmt::format("{} x {}x{}x{} {}x{} stride {}", g.images, g.in_h, g.in_w, g.in_channels,
                          g.kernel, g.kernel, g.stride);
  row.faults = "none";
  const double seconds = bed_.Seconds(sets_, [&](int set) { Differentiate(set, wanted); });
  // bfloat16 products take twice as long as those of codes.
  bed_.Fill(row, seconds,
            In() + 2 * Out() + (wanted.weights ? 4 * n_ : 0) +
                (wanted.data ? 2 * In() + PackedBytes(g, depthwise_) : 0),
            depthwise_ ? 0 : 2 * program_.MacsPerOutput(program_.ops[0]) * Out());
  MeasurePeer(row, wanted);
  KeepEnds();
  FillDevice(grad_w_.Data(), 0, grad_w_.Size(), bed_.S());
  Differentiate(sets_ - 1, wanted);
  const double weights = wanted.weights ? Distance(Own(true), want_w_) : 0;
  const double data = wanted.data ? Distance(Own(false), RoundedToBf16(want_x_)) : 0;
  row.passed = weights <= kOwnTolerance && data <= kOwnRoundedTolerance;
  row.parity = fmt::format("{}ref: {:.1e} off in norm", row.passed ? "" : "DIFFERS from ",
                           std::max(weights, data));
  if (wanted.weights) CheckPeer(row, true);
  if (wanted.data) CheckPeer(row, false);
  bed_.Report(row);
}

}  // namespace

void BenchBackward(BenchBed& bed) {
  for (const bool depthwise : {false, true}) {
    for (const Shape& map : bed.Options().maps) {
      for (const int kernel : {1, 3, 5}) {
        if (depthwise && kernel == 1) continue;
        for (const int stride : {1, 2}) BackwardBench(bed, map, kernel, stride, depthwise).Run();
      }
    }
  }
}

}  // namespace ftt::cuda
