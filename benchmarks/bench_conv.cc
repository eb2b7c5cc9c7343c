// Convolution building blocks of the CPU backend on one thread, each next to its floor: the larger
// of its bytes over the measured copy bandwidth and its operations over the measured arithmetic
// rate (the best of dense convolutions). Own kernels run beside oneDNN's. A row
// whose result differs from plain loops is an error.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "kernels/cpu/conv_bf16.h"
#include "kernels/cpu/dense_gradient.h"
#include "kernels/cpu/depthwise.h"
#include "tests/kernels/cpu_conv_naive.h"

namespace ftt::cpu {
namespace {

enum class Direction { kForward, kBackwardData, kBackwardWeights };
enum class Kernel { kOneDnnInt8, kOneDnnF32, kOneDnnBf16, kDepthwise, kDense };  // own: the last

struct Row {
  Direction direction;
  Kernel kernel;
  ConvShape shape;
};

const char* DirectionName(Direction d) {
  return d == Direction::kForward        ? "forward"
         : d == Direction::kBackwardData ? "diff_data"
                                         : "diff_weights";
}

const char* KernelName(Kernel k) {
  switch (k) {
    case Kernel::kOneDnnInt8:
      return "onednn_int8";
    case Kernel::kOneDnnF32:
      return "onednn_f32";
    case Kernel::kOneDnnBf16:
      return "onednn_bf16";
    default:
      return "own";
  }
}

DepthwiseShape Depth(const ConvShape& s) {
  return {s.images, s.in_h,   s.in_w,   s.out_h, s.out_w,
          s.in_c,   s.kernel, s.stride, s.pad,   s.dilation};
}

GradPrecision Precision(Kernel k) {
  return k == Kernel::kOneDnnBf16 ? GradPrecision::kBf16 : GradPrecision::kF32;
}

// One row's buffers and packed weights. Activations are codes after a ReLU.
class Case {
 public:
  explicit Case(const Row& row)
      : row_(row),
        worker_(engine_),
        x_(RandomCodes(row.shape.InElements(), 0, 127, 1)),
        w_(RandomCodes(row.shape.WeightElements(), -128, 127, 2)),
        diff_y_(RandomFloats(row.shape.OutElements(), 3)),
        x_f32_(x_.begin(), x_.end()),
        x_bf16_(x_.size()),
        diff_y_bf16_(diff_y_.size()),
        raw_(row.shape.OutElements()),
        diff_x_(row.shape.InElements()),
        diff_w_(row.shape.WeightElements()) {
    CodesToBf16(x_.data(), x_.size(), true, x_bf16_.data());
    FloatsToBf16(diff_y_.data(), diff_y_.size(), diff_y_bf16_.data());
    Pack();
  }

  void Run() {
    const ConvShape& s = row_.shape;
    if (row_.kernel == Kernel::kDense) return RunDense();
    const bool own = row_.kernel == Kernel::kDepthwise;
    switch (row_.direction) {
      case Direction::kForward:
        if (own)
          return depthwise_.Forward(Depth(s), x_.data(), true, depthwise_w_, raw_.data(), scratch_);
        return engine_.ConvInt8(s, x_.data(), true, packed_, raw_.data(), worker_);
      case Direction::kBackwardData:
        if (own)
          return depthwise_.BackwardData(Depth(s), diff_y_.data(), depthwise_w_, diff_x_.data(),
                                         scratch_);
        return engine_.BackwardData(s, DiffY(), packed_, diff_x_.data(), worker_);
      case Direction::kBackwardWeights:
        if (own) {
          return depthwise_.BackwardWeights(Depth(s), x_.data(), true, diff_y_.data(),
                                            diff_w_.data(), scratch_);
        }
        return engine_.BackwardWeights(s, X(), DiffY(), Precision(row_.kernel),
                                       diff_w_packed_.data(), worker_);
    }
  }

  // Against plain loops, after Run.
  bool Agrees() {
    const ConvShape& s = row_.shape;
    const double bound = row_.kernel == Kernel::kOneDnnBf16 ? 1e-2 : 1e-5;
    switch (row_.direction) {
      case Direction::kForward:
        return raw_ == NaiveForward(s, x_.data(), w_);
      case Direction::kBackwardData:
        return RelativeError(diff_x_.data(), NaiveBackwardData(s, diff_y_, w_)) < bound;
      default:
        if (row_.kernel == Kernel::kDense) {
          std::fill(diff_w_.begin(), diff_w_.end(), 0.0f);
          DenseWeightGradient(s).AddTo(diff_w_packed_.data(), 0, std::ssize(diff_w_), 1.0f, nullptr,
                                       diff_w_.data());
        } else if (row_.kernel != Kernel::kDepthwise) {
          engine_.UnpackDiffWeights(s, Precision(row_.kernel), diff_w_packed_.data(),
                                    diff_w_.data(), worker_);
        }
        return RelativeError(diff_w_.data(), NaiveBackwardWeights(s, x_, true, diff_y_)) < bound;
    }
  }

 private:
  void RunDense() {
    const ConvShape& s = row_.shape;
    if (row_.direction == Direction::kBackwardData)
      return dense_->Run(diff_y_.data(), s.images, diff_x_.data(), dense_scratch_);
    DenseWeightGradient(s).Run(x_.data(), true, s.images, diff_y_.data(), diff_w_packed_.data(),
                               dense_scratch_);
  }
  void Pack() {
    const ConvShape& s = row_.shape;
    if (row_.kernel == Kernel::kDense) {
      dense_.emplace(s, w_.data(), 1.0f);
      diff_w_packed_.resize(s.WeightElements());
      return;
    }
    const bool forward = row_.direction == Direction::kForward;
    if (row_.kernel == Kernel::kDepthwise) {
      if (forward) depthwise_.PackForward(Depth(s), w_.data(), depthwise_w_);
      if (!forward) depthwise_.PackBackwardData(Depth(s), w_.data(), 1.0f, depthwise_w_);
    } else if (forward) {
      packed_ = engine_.PackInt8(s, w_.data(), true, worker_);
    } else if (row_.direction == Direction::kBackwardData) {
      packed_ = engine_.PackBackwardData(s, w_.data(), 1.0f, Precision(row_.kernel), worker_);
    } else {
      diff_w_packed_.resize(engine_.DiffWeightElements(s, Precision(row_.kernel)));
    }
  }
  bool Bf16() const { return row_.kernel == Kernel::kOneDnnBf16; }
  const void* X() const {
    return Bf16() ? static_cast<const void*>(x_bf16_.data()) : x_f32_.data();
  }
  const void* DiffY() const {
    return Bf16() ? static_cast<const void*>(diff_y_bf16_.data()) : diff_y_.data();
  }

  Row row_;
  ConvEngine engine_;
  ConvWorker worker_;
  Depthwise depthwise_;
  DepthwiseWeights depthwise_w_;
  PackedWeights packed_;
  ConvScratch scratch_;
  std::optional<DenseDataGradient> dense_;
  DenseScratch dense_scratch_;
  std::vector<int8_t> x_, w_;
  std::vector<float> diff_y_, x_f32_;
  std::vector<uint16_t> x_bf16_, diff_y_bf16_;
  std::vector<int32_t> raw_;
  std::vector<float> diff_x_, diff_w_, diff_w_packed_;
};

template <typename Body>
double BestSeconds(int repeats, const Body& body) {
  double best = 1e9;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

// Bytes per second of a copy (read and written bytes together) that moves `bytes` in all.
double CopyBandwidth(size_t bytes) {
  std::vector<char> from(bytes / 2, 1), to(bytes / 2);
  const double seconds = BestSeconds(20, [&] {
    std::memcpy(to.data(), from.data(), from.size());
    benchmark::DoNotOptimize(to.data());
    benchmark::ClobberMemory();
  });
  return static_cast<double>(bytes) / seconds;
}

// Multiply-adds per second of the best dense convolution.
double ArithmeticRate(Kernel kernel) {
  const ConvShape s = SameShape(16, 16, 16, 64, 64, 3);
  Case work(
      {kernel == Kernel::kOneDnnInt8 ? Direction::kForward : Direction::kBackwardData, kernel, s});
  return static_cast<double>(s.MultiplyAdds()) / BestSeconds(200, [&] { work.Run(); });
}

size_t Bytes(const Row& row) {
  const ConvShape& s = row.shape;
  const size_t operand = row.kernel == Kernel::kOneDnnBf16 ? 2 : 4;
  switch (row.direction) {
    case Direction::kForward:
      return s.InElements() + 4 * s.OutElements() + s.WeightElements();
    case Direction::kBackwardData:
      return operand * s.OutElements() + 4 * s.InElements() + s.WeightElements();
    default: {
      const bool own = row.kernel == Kernel::kDepthwise || row.kernel == Kernel::kDense;
      const size_t x = own ? 1 : operand;  // own kernels read codes
      return x * s.InElements() + operand * s.OutElements() + 4 * s.WeightElements();
    }
  }
}

double FloorSeconds(const Row& row) {
  static const double int8_rate = ArithmeticRate(Kernel::kOneDnnInt8);
  static const double f32_rate =
      ArithmeticRate(DenseGradientsAvailable() ? Kernel::kDense : Kernel::kOneDnnF32);
  static const double bf16_rate =
      ConvEngine().HasFastBf16() ? ArithmeticRate(Kernel::kOneDnnBf16) : f32_rate;
  const bool depthwise = row.shape.groups > 1;
  const double rate = row.direction == Direction::kForward && !depthwise ? int8_rate
                      : row.kernel == Kernel::kOneDnnBf16                ? bf16_rate
                                                                         : f32_rate;
  const size_t bytes = Bytes(row);
  return std::max(static_cast<double>(bytes) / CopyBandwidth(bytes),
                  static_cast<double>(row.shape.MultiplyAdds()) / rate);
}

void RunRow(benchmark::State& state, const Row& row) {
  Row small = row;
  small.shape.images = 1;
  Case check(small);
  check.Run();
  if (!check.Agrees()) {
    state.SkipWithError("the result differs from plain loops");
    return;
  }
  Case work(row);
  // The best iteration, so that other work on the machine disturbs the figures less than it does
  // the mean.
  double best = 1e9;
  for (auto _ : state) best = std::min(best, BestSeconds(1, [&] { work.Run(); }));
  state.counters["best_us"] = best * 1e6;
  state.counters["floor_us"] = FloorSeconds(row) * 1e6;
  state.counters["GOP/s"] = 2e-9 * static_cast<double>(row.shape.MultiplyAdds()) / best;
}

void Register(const Row& row) {
  const ConvShape& s = row.shape;
  const std::string name =
      fmt::format("{}/{}/{}/{}to{}_k{}_s{}_d{}_{}x{}_n{}", s.groups > 1 ? "depthwise" : "dense",
                  DirectionName(row.direction), KernelName(row.kernel), s.in_c, s.out_c, s.kernel,
                  s.stride, s.dilation, s.in_h, s.in_w, s.images);
  benchmark::RegisterBenchmark(name.c_str(), [row](benchmark::State& state) { RunRow(state, row); })
      ->Unit(benchmark::kMicrosecond)
      ->MinTime(0.1);
}

void RegisterDense(const ConvShape& s) {
  Register({Direction::kForward, Kernel::kOneDnnInt8, s});
  for (const Direction d : {Direction::kBackwardData, Direction::kBackwardWeights}) {
    Register({d, Kernel::kOneDnnF32, s});
    if (ConvEngine().HasFastBf16()) Register({d, Kernel::kOneDnnBf16, s});
    if (DenseGradientsAvailable()) Register({d, Kernel::kDense, s});
  }
}

void RegisterDepthwise(int images, int size, int channels, int kernel, int stride, int dilation) {
  const ConvShape s =
      SameShape(images, size, size, channels, channels, kernel, stride, dilation, channels);
  Register({Direction::kForward, Kernel::kOneDnnInt8, s});
  Register({Direction::kForward, Kernel::kDepthwise, s});
  for (const Direction d : {Direction::kBackwardData, Direction::kBackwardWeights}) {
    Register({d, Kernel::kOneDnnF32, s});
    Register({d, Kernel::kDepthwise, s});
  }
}

void RegisterAll() {
  for (const int images : {8, 16, 32}) {
    RegisterDense(SameShape(images, 32, 32, 16, 16, 3));
    RegisterDense(SameShape(images, 16, 16, 32, 32, 3));
    RegisterDense(SameShape(images, 8, 8, 64, 64, 3));
    RegisterDense(SameShape(images, 32, 32, 20, 20, 1));
    RegisterDense(SameShape(images, 16, 16, 40, 40, 1));
    RegisterDense(SameShape(images, 8, 8, 80, 80, 1));
    RegisterDense(SameShape(images, 32, 32, 60, 20, 1));
    RegisterDense(SameShape(images, 32, 32, 20, 20, 5));
  }
  for (const int kernel : {3, 5}) {
    for (const int dilation : {1, 2}) {
      RegisterDepthwise(8, 32, 20, kernel, 1, dilation);
      RegisterDepthwise(8, 16, 40, kernel, 1, dilation);
      RegisterDepthwise(8, 8, 80, kernel, 1, dilation);
      RegisterDepthwise(8, 32, 20, kernel, 2, dilation);
    }
  }
  RegisterDepthwise(8, 8, 192, 3, 1, 1);
}

}  // namespace
}  // namespace ftt::cpu

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::AddCustomContext("depthwise", ftt::cpu::Depthwise().Name());
  ftt::cpu::RegisterAll();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
