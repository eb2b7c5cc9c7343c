// Forward ops of the CPU backend.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/error.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/packed_lanes.h"
#include "kernels/quantize_math.h"
#include "kernels/ref_backend.h"

namespace ftt::cpu {
namespace {

// Over a period of channels, times `factor`.
std::vector<float> Expand(const std::vector<float>& per_channel, int period, float factor = 1.0f) {
  std::vector<float> out(static_cast<size_t>(period));
  for (size_t i = 0; i < out.size(); ++i) out[i] = per_channel[i % per_channel.size()] * factor;
  return out;
}

// The pass over accumulators of one type or the other.
auto StatsPass(const Elementwise& ops, const int32_t*) { return ops.stats; }
auto StatsPass(const Elementwise& ops, const float*) { return ops.stats_floats; }
auto QuantizePassOf(const Elementwise& ops, const int32_t*) { return ops.ints.quantize; }
auto QuantizePassOf(const Elementwise& ops, const float*) { return ops.quantize_floats; }

void CopySums(const Elementwise&, const int32_t* sums, int64_t n, int32_t* to) {
  std::copy_n(sums, n, to);
}
void CopySums(const Elementwise& ops, const float* sums, int64_t n, int32_t* to) {
  ops.add_floats(sums, n, false, to);
}

// Elements of a piece of ForSums, whose accumulators fit the first-level cache. Where statistics
// are taken, pieces of pools and depthwise convolutions are larger: the float sums' rounding is
// that of these pieces.
constexpr int64_t kPiece = 1 << 12, kStatsPiece = 1 << 14;

// Output rows of a convolution by pairs in such a piece. With `stats`, a piece is a number of whole
// partial sums of statistics, which then do not depend on how the map is cut.
int PieceRows(const WindowShape& s, bool stats) {
  const int64_t row = int64_t{s.out.w} * s.out.c;
  const int64_t unit = stats ? std::lcm(row, int64_t{kStatsRows} * ChannelPeriod(s.out.c)) : row;
  return static_cast<int>(unit / row * std::max<int64_t>(kPiece / unit, 1));
}

}  // namespace

// Statistics of one task over the channel period, in memory that the tasks share.
struct CpuBackend::PeriodStats {
  double *sum, *sum_squares;
  int32_t *min, *max;

  static int64_t Bytes(int64_t period) { return period * 2 * 8 + period * 2 * 4; }
  PeriodStats(std::byte* memory, size_t task, int64_t period)
      : sum(reinterpret_cast<double*>(memory + static_cast<int64_t>(task) * Bytes(period))),
        sum_squares(sum + period),
        min(reinterpret_cast<int32_t*>(sum_squares + period)),
        max(min + period) {}
  void Clear(int64_t period) const {
    std::fill_n(sum, 2 * period, 0.0);
    std::fill_n(min, period, INT32_MAX);
    std::fill_n(max, period, INT32_MIN);
  }
  // Adds them up channel by channel: to the first `channels` elements of `to`.
  void AddTo(const PeriodStats& to, int64_t channels, int64_t period) const {
    for (int64_t first = 0; first < period; first += channels) {
      for (int64_t c = 0; c < channels; ++c) to.sum[c] += sum[first + c];
      for (int64_t c = 0; c < channels; ++c) to.sum_squares[c] += sum_squares[first + c];
      for (int64_t c = 0; c < channels; ++c) to.min[c] = std::min(to.min[c], min[first + c]);
      for (int64_t c = 0; c < channels; ++c) to.max[c] = std::max(to.max[c], max[first + c]);
    }
  }
};

CpuBackend::CpuBackend(int threads, bool full_precision)
    : ops_(GetElementwise()),
      pool_(threads),
      full_precision_(full_precision),
      precision_(engine_.HasFastBf16() && !full_precision ? GradPrecision::kBf16
                                                          : GradPrecision::kF32) {
  for (int i = 0; i < pool_.Threads(); ++i) workers_.emplace_back(engine_);
}

double CpuBackend::ConvolutionSeconds() const {
  double total = 0;
  for (const Worker& w : workers_) total += w.convolution_seconds;
  return total;
}

void CpuBackend::For(int n, const std::function<void(int, int)>& body) {
  pool_.ParallelFor(n, body);
}

void CpuBackend::Prepare(const WindowShape& s, WeightCodes* weights, bool backward, int worker) {
  if (s.pool) return;
  Worker& w = workers_[static_cast<size_t>(worker)];
  PackForward(s, *weights, w);
  if (backward) PackBackward(s, *weights, w);
}

std::vector<CpuBackend::Task> CpuBackend::Cut(const BatchDims& b,
                                              int64_t elements_per_image) const {
  const int shard = ImagesPerTask(elements_per_image);
  std::vector<Task> tasks;
  for (int lane = 0; lane < b.lanes; ++lane) {
    for (int first = 0; first < b.images; first += shard) {
      tasks.push_back(
          {lane, first, std::min(shard, b.images - first), int64_t{lane} * b.images + first});
    }
  }
  return tasks;
}

void CpuBackend::ForTasks(
    const std::vector<Task>& tasks, const LaneFaults* faults,
    const std::function<void(size_t, const Task&, Worker&, FaultCounts*)>& body) {
  std::vector<FaultCounts> counts(faults == nullptr ? 0 : tasks.size());
  const auto run_task = [&](size_t at, int worker) {
    body(at, tasks[at], workers_[static_cast<size_t>(worker)],
         faults == nullptr ? nullptr : &counts[at]);
  };
  const bool recording =
      faults != nullptr && std::any_of(tasks.begin(), tasks.end(), [&](const Task& t) {
        return faults[t.lane].recorder != nullptr;
      });
  if (recording) {  // rows of a fault list come in a fixed order
    for (size_t at = 0; at < tasks.size(); ++at) run_task(at, 0);
  } else {
    backwards_ = !backwards_;
    pool_.ParallelFor(
        static_cast<int>(tasks.size()),
        [&](int i, int worker) { run_task(static_cast<size_t>(i), worker); }, backwards_);
  }
  for (size_t i = 0; i < counts.size(); ++i) {
    if (faults[tasks[i].lane].counts != nullptr) faults[tasks[i].lane].counts->Merge(counts[i]);
  }
}

void InjectImage(const LaneFaults* faults, int lane, uint32_t image, const Shape& s, int8_t* codes,
                 uint8_t* mask, FaultCounts* counts) {
  if (faults == nullptr || faults[lane].faults == nullptr || faults[lane].faults->Empty()) return;
  const LaneFaults& f = faults[lane];
  InjectFeature(*f.faults, f.moment, image, codes, s.Elements(), s.c, mask, counts, f.recorder);
}

const void* CpuBackend::PrepareInput(const WindowShape& s, const int8_t* x, int images,
                                     Worker& w) const {
  if (Gathers(s)) {
    const Shape dense{s.out.h, s.out.w, s.in.c};
    w.x.Resize(images * dense.Elements());
    auto* out = w.x.As<int8_t>();
    for (int image = 0; image < images; ++image) {
      GatherPixels(s, x + image * s.in.Elements(), out + image * dense.Elements());
    }
    if (s.relu) ops_.relu_u8(out, images * dense.Elements(), w.x.As<uint8_t>());
    return out;
  }
  if (!s.relu) return x;
  w.x.Resize(images * s.in.Elements());
  ops_.relu_u8(x, images * s.in.Elements(), w.x.As<uint8_t>());
  return w.x.Data();
}

// Where oneDNN's sums of codes would not be exact; and 1x1 convolutions, of whose time oneDNN's
// passes over whole tasks are a larger part.
bool CpuBackend::UsesPairs(const WindowShape& s, Worker& w) {
  return s.conv.groups == 1 && PairConv::Available() &&
         (s.conv.kernel == 1 || !engine_.HasExactInt8(ToConv(s, 1), s.relu, w.conv));
}

void CpuBackend::PackForward(const WindowShape& s, WeightCodes& weights, Worker& w) {
  PackedLanes& packed = PackedLanes::Of(weights);
  if (IsDepthwise(s)) {
    if (!packed.depthwise_forward.empty()) return;
    packed.depthwise_forward.resize(static_cast<size_t>(weights.copies));
    for (int copy = 0; copy < weights.copies; ++copy) {
      depthwise_.PackForward(ToDepthwise(s, 1), weights.Lane(copy),
                             packed.depthwise_forward[static_cast<size_t>(copy)]);
    }
    return;
  }
  if (IsDirect(s)) {
    if (!packed.direct_forward.empty()) return;
    for (int copy = 0; copy < weights.copies; ++copy)
      packed.direct_forward.emplace_back(ToDirect(s), weights.Lane(copy));
    return;
  }
  if (!packed.pair_forward.empty() || !packed.forward.empty()) return;
  if (UsesPairs(s, w)) {
    for (int copy = 0; copy < weights.copies; ++copy)
      packed.pair_forward.emplace_back(ToDirect(s), s.relu, weights.Lane(copy));
    return;
  }
  for (int copy = 0; copy < weights.copies; ++copy) {
    packed.forward.push_back(engine_.PackInt8(ToConv(s, 1), weights.Lane(copy), s.relu, w.conv));
  }
}

// Calls take(sums, first, count) for pieces of the accumulators of some images, int32_t or float
// (exact integers), elements counted from the first image on. Pieces of the project's own kernels
// are small enough not to leave a core's cache; oneDNN's calls cost more.
template <typename Take>
void CpuBackend::ForSums(const WindowShape& s, const int8_t* x, const WeightCodes& weights,
                         int lane, int images, bool stats, Worker& w, const Take& take) {
  const int64_t n = s.out.Elements(), row = int64_t{s.out.w} * s.out.c;
  const int64_t piece = stats ? kStatsPiece : kPiece;
  if (!s.pool) {
    const auto& packed = *static_cast<const PackedLanes*>(weights.packed.get());
    if (IsDepthwise(s)) {
      const auto rows = static_cast<int>(std::clamp<int64_t>(piece / row, 1, s.out.h * images));
      w.acc.Resize(rows * row * 4);
      const auto* sums = w.acc.As<const int32_t>();
      const KernelTimer timer(w);
      depthwise_.ForwardRows(
          ToDepthwise(s, images), x, s.relu, PackedLanes::OfLane(packed.depthwise_forward, lane),
          w.acc.As<int32_t>(), rows,
          [&](int first, int count) { take(sums, first * row, count * row); }, w.conv.Scratch());
      return;
    }
    if (!packed.direct_forward.empty()) {
      const KernelTimer timer(w);
      PackedLanes::OfLane(packed.direct_forward, lane)
          .Run(x, images, s.relu, w.direct,
               [&](const int32_t* sums, int image, int first, int rows, int64_t step) {
                 const int64_t at = image * n + first * row;
                 if (step == row) return take(sums, at, rows * row);
                 for (int r = 0; r < rows; ++r) take(sums + r * step, at + r * row, row);
               });
      return;
    }
    if (!packed.pair_forward.empty()) {
      const KernelTimer timer(w);
      PackedLanes::OfLane(packed.pair_forward, lane)
          .Run(x, images, PieceRows(s, stats), w.pairs,
               [&](const int32_t* sums, int first, int count) {
                 take(sums, first * row, count * row);
               });
      return;
    }
  }
  const int step = s.pool ? static_cast<int>(std::clamp<int64_t>(piece / n, 1, images)) : images;
  w.acc.Resize(step * n * 4);
  auto* sums = w.acc.As<int32_t>();
  for (int i = 0; i < images; i += step) {
    const int count = std::min(step, images - i);
    if (s.pool) {
      PoolForward(ops_, s, count, x + i * s.in.Elements(), sums, w.x);
      take(static_cast<const int32_t*>(sums), i * n, count * n);
      continue;
    }
    const void* input = PrepareInput(s, x + i * s.in.Elements(), count, w);
    const auto& packed = *static_cast<const PackedLanes*>(weights.packed.get());
    const float* floats = nullptr;
    {
      const KernelTimer timer(w);
      floats = engine_.ConvInt8OrFloats(ToConv(s, count), input, s.relu,
                                        PackedLanes::OfLane(packed.forward, lane), sums, w.conv);
    }
    if (floats != nullptr) {
      take(floats, i * n, count * n);
    } else {
      take(static_cast<const int32_t*>(sums), i * n, count * n);
    }
  }
}

void CpuBackend::AccumulateTask(const WindowShape& s, const Task& t, const int8_t* x,
                                const WeightCodes& weights, const RawMap& acc,
                                const PeriodStats& stats, Worker& w) {
  const int64_t n = s.out.Elements();
  const int period = ChannelPeriod(s.out.c);
  const bool half = acc.type == RawType::kHalf;
  int32_t* ints = half ? nullptr : acc.As<int32_t>() + t.at * n;
  uint16_t* halves = half ? acc.As<uint16_t>() + t.at * n : nullptr;
  const float down = PowerOfTwo(-acc.shift);
  ForSums(s, x + t.at * s.in.Elements(), weights, t.lane, t.images, true, w,
          [&](const auto* sums, int64_t first, int64_t count) {
            if (!half) CopySums(ops_, sums, count, ints + first);
            const auto pass = StatsPass(ops_, sums);
            pass(sums, count, period, stats.sum, stats.sum_squares, stats.min, stats.max, down,
                 half ? halves + first : nullptr);
          });
}

void CpuBackend::Accumulate(const BatchDims& b, const WindowShape& s, const int8_t* x,
                            WeightCodes* weights, const RawMap& acc, ChannelStats* stats) {
  static WeightCodes none;
  if (!s.pool) PackForward(s, *weights, workers_[0]);
  const std::vector<Task> tasks = Cut(b, std::max(s.in.Elements(), s.out.Elements()));
  const int period = ChannelPeriod(s.out.c);
  sums_.Resize((std::ssize(tasks) + b.lanes) * PeriodStats::Bytes(period));
  ForTasks(tasks, nullptr, [&](size_t i, const Task& t, Worker& w, FaultCounts*) {
    const PeriodStats task_stats(sums_.Data(), i, period);
    task_stats.Clear(period);
    AccumulateTask(s, t, x, s.pool ? none : *weights, acc, task_stats, w);
  });
  if (stats == nullptr) return;
  const auto of_lane = [&](int lane) {
    return PeriodStats(sums_.Data(), tasks.size() + static_cast<size_t>(lane), period);
  };
  for (int lane = 0; lane < b.lanes; ++lane) of_lane(lane).Clear(period);
  for (size_t i = 0; i < tasks.size(); ++i)
    PeriodStats(sums_.Data(), i, period).AddTo(of_lane(tasks[i].lane), s.out.c, period);
  for (int lane = 0; lane < b.lanes; ++lane) {
    const PeriodStats of = of_lane(lane);
    for (int c = 0; c < s.out.c; ++c)
      *stats++ = {of.sum[c], of.sum_squares[c], of.min[c], of.max[c]};
  }
}

// acc: from the task's first image on; codes, mask: of the whole batch.
template <typename Raw>
void CpuBackend::QuantizeTask(QuantizePass<Raw> quantize, const BatchDims& b, const Task& t,
                              const Shape& s, int bits, const Raw* acc, const PeriodNorm& norm,
                              const LaneFaults* faults, int8_t* codes, uint8_t* mask,
                              bool relu_mask, FaultCounts* counts) const {
  const int64_t n = s.Elements();
  for (int i = 0; i < t.images; ++i) {
    int8_t* image_codes = codes + (t.at + i) * n;
    uint8_t* image_mask = mask == nullptr ? nullptr : mask + (t.at + i) * MaskBytes(n);
    quantize(acc + i * n, n, static_cast<int>(norm.scale.size()), norm.scale.data(),
             norm.shift.data(), CodeMin(bits), CodeMax(bits), image_codes, image_mask);
    InjectImage(faults, t.lane, b.image_ids[t.first + i], s, image_codes, image_mask, counts);
    if (relu_mask && mask != nullptr) ops_.mask_relu(image_codes, n, image_mask);
  }
}

void CpuBackend::Quantize(const BatchDims& b, const Shape& s, int bits, const RawMap& raw,
                          const LaneNorm* norms, const LaneFaults* faults, int8_t* codes,
                          uint8_t* mask, bool relu_mask) {
  const int period = ChannelPeriod(s.c);
  std::vector<PeriodNorm> expanded;
  for (int lane = 0; lane < b.lanes; ++lane) {
    expanded.push_back({Expand(norms[lane].scale, period, PowerOfTwo(raw.shift)),
                        Expand(norms[lane].shift, period)});
  }
  ForTasks(Cut(b, s.Elements()), faults, [&](size_t, const Task& t, Worker&, FaultCounts* counts) {
    WithRaw(ops_, raw, t.at * s.Elements(), [&](const auto& passes, const auto* acc) {
      QuantizeTask(passes.quantize, b, t, s, bits, acc, expanded[static_cast<size_t>(t.lane)],
                   faults, codes, mask, relu_mask, counts);
    });
  });
}

void CpuBackend::Inject(const BatchDims& b, const Shape& s, const LaneFaults* faults,
                        int8_t* codes) {
  ForTasks(Cut(b, s.Elements()), faults, [&](size_t, const Task& t, Worker&, FaultCounts* counts) {
    InjectTask(b, t, s, faults, codes, counts);
  });
}

void CpuBackend::InjectTask(const BatchDims& b, const Task& t, const Shape& s,
                            const LaneFaults* faults, int8_t* codes, FaultCounts* counts) const {
  for (int i = 0; i < t.images; ++i) {
    InjectImage(faults, t.lane, b.image_ids[t.first + i], s, codes + (t.at + i) * s.Elements(),
                nullptr, counts);
  }
}

void CpuBackend::AccumulateQuantize(const BatchDims& b, const WindowShape& s, int bits,
                                    const int8_t* x, WeightCodes* weights, const LaneNorm& norm,
                                    const LaneFaults* faults, int8_t* codes) {
  static WeightCodes none;
  if (!s.pool) PackForward(s, *weights, workers_[0]);
  const int period = ChannelPeriod(s.out.c);
  const PeriodNorm expanded{Expand(norm.scale, period), Expand(norm.shift, period)};
  const int64_t n = s.out.Elements();
  // Nothing is added up over tasks here, so that smaller ones cost nothing, and no thread waits
  // long for another one's last task.
  constexpr int64_t kFiner = 4;
  ForTasks(Cut(b, kFiner * std::max(s.in.Elements(), n)), faults,
           [&](size_t, const Task& t, Worker& w, FaultCounts* counts) {
             int8_t* to = codes + t.at * n;
             ForSums(s, x + t.at * s.in.Elements(), s.pool ? none : *weights, t.lane, t.images,
                     false, w, [&](const auto* sums, int64_t first, int64_t count) {
                       const auto quantize = QuantizePassOf(ops_, sums);
                       quantize(sums, count, period, expanded.scale.data(), expanded.shift.data(),
                                CodeMin(bits), CodeMax(bits), to + first, nullptr);
                     });
             InjectTask(b, t, s.out, faults, codes, counts);
           });
}

// One part of a sum over n elements: codes, left shift, ReLU on load. A part that lies more than
// kMaxAlignShift below the largest is shifted right instead, into scratch.
CpuBackend::AlignedPart CpuBackend::Align(const SumInput* in, int lane, int aligned, int64_t at,
                                          int64_t n, AlignedBytes& scratch) const {
  if (in == nullptr) return {};
  const int shift = in->exponent[lane] - aligned;
  if (shift >= 0) return {in->codes + at, shift, in->relu};
  scratch.Resize(n);
  ops_.sum_codes(in->codes + at, 0, in->relu, nullptr, 0, false, n, -shift, -128, 127,
                 scratch.As<int8_t>(), nullptr);
  return {scratch.As<int8_t>(), 0, false};
}

void CpuBackend::Add(const BatchDims& b, const Shape& s, int bits,
                     const std::vector<SumInput>& inputs, bool derive_exponent, int* exponent,
                     const LaneFaults* faults, int8_t* codes, uint8_t* mask, bool relu_mask) {
  FTT_CHECK(inputs.size() <= 2, "sum of {} inputs: at most 2 are supported", inputs.size());
  const int64_t n = s.Elements();
  const std::vector<Task> tasks = Cut(b, n);
  const std::vector<int8_t> zeros(inputs.empty() ? static_cast<size_t>(b.lanes * b.images * n) : 0);
  const std::vector<int> zero_exponents(static_cast<size_t>(b.lanes));
  const SumInput nothing{zeros.data(), zero_exponents.data(), s.c, false};
  const SumInput* first = inputs.empty() ? &nothing : inputs.data();
  const SumInput* second = inputs.size() > 1 ? &inputs[1] : nullptr;
  std::vector<int> aligned;
  for (int lane = 0; lane < b.lanes; ++lane) aligned.push_back(AlignedExponentOf(inputs, lane));
  if (derive_exponent) {
    std::vector<int32_t> largest(tasks.size());
    ForTasks(tasks, nullptr, [&](size_t i, const Task& t, Worker& w, FaultCounts*) {
      const int to = aligned[static_cast<size_t>(t.lane)];
      const AlignedPart x = Align(first, t.lane, to, t.at * n, t.images * n, w.x);
      const AlignedPart y = Align(second, t.lane, to, t.at * n, t.images * n, w.acc);
      largest[i] = ops_.sum_max(x.codes, x.shift, x.relu, y.codes, y.shift, y.relu, t.images * n);
    });
    std::vector<int32_t> lane_largest(static_cast<size_t>(b.lanes));
    for (size_t i = 0; i < tasks.size(); ++i) {
      int32_t& v = lane_largest[static_cast<size_t>(tasks[i].lane)];
      v = std::max(v, largest[i]);
    }
    for (int lane = 0; lane < b.lanes; ++lane) {
      const auto l = static_cast<size_t>(lane);
      exponent[lane] =
          ExponentFor(static_cast<float>(lane_largest[l]) * PowerOfTwo(aligned[l]), bits);
    }
  }
  ForTasks(tasks, faults, [&](size_t, const Task& t, Worker& w, FaultCounts* counts) {
    const int to = aligned[static_cast<size_t>(t.lane)];
    for (int i = 0; i < t.images; ++i) {
      const int64_t at = (t.at + i) * n;
      uint8_t* image_mask = mask == nullptr ? nullptr : mask + (t.at + i) * MaskBytes(n);
      const AlignedPart x = Align(first, t.lane, to, at, n, w.x);
      const AlignedPart y = Align(second, t.lane, to, at, n, w.acc);
      ops_.sum_codes(x.codes, x.shift, x.relu, y.codes, y.shift, y.relu, n, exponent[t.lane] - to,
                     CodeMin(bits), CodeMax(bits), codes + at, image_mask);
      InjectImage(faults, t.lane, b.image_ids[t.first + i], s, codes + at, image_mask, counts);
      if (relu_mask && mask != nullptr) ops_.mask_relu(codes + at, n, image_mask);
    }
  });
}

void CpuBackend::Concat(const BatchDims& b, const Shape& s, int bits,
                        const std::vector<SumInput>& inputs, const int* exponent,
                        const LaneFaults* faults, int8_t* codes) {
  const int64_t pixels = int64_t{s.h} * s.w;
  ForTasks(Cut(b, s.Elements()), faults,
           [&](size_t, const Task& t, Worker& w, FaultCounts* counts) {
             w.x.Resize(t.images * s.Elements());
             int8_t* out = codes + t.at * s.Elements();
             int offset = 0;
             for (const SumInput& in : inputs) {
               const int64_t n = t.images * pixels * in.channels;
               const int8_t* part = in.codes + t.at * pixels * in.channels;
               const int shift = exponent[t.lane] - in.exponent[t.lane];
               if (shift != 0 || in.relu) {
                 ops_.sum_codes(part, 0, in.relu, nullptr, 0, false, n, shift, CodeMin(bits),
                                CodeMax(bits), w.x.As<int8_t>(), nullptr);
                 part = w.x.As<int8_t>();
               }
               ops_.copy_pixels(part, t.images * pixels, in.channels, s.c, out + offset);
               offset += in.channels;
             }
             for (int i = 0; i < t.images; ++i) {
               InjectImage(faults, t.lane, b.image_ids[t.first + i], s, out + i * s.Elements(),
                           nullptr, counts);
             }
           });
}

void CpuBackend::GlobalSum(const BatchDims& b, const Shape& in, bool relu, const int8_t* x,
                           int32_t* acc) {
  ForTasks(Cut(b, in.Elements()), nullptr, [&](size_t, const Task& t, Worker&, FaultCounts*) {
    for (int64_t i = t.at; i < t.at + t.images; ++i)
      ops_.sum_pixels(x + i * in.Elements(), int64_t{in.h} * in.w, in.c, relu, acc + i * in.c);
  });
}

void CpuBackend::Linear(const BatchDims& b, int in, int out, const int8_t* x,
                        const WeightCodes& weights, const float* unit, const float* bias,
                        const uint8_t* keep, float* logits) {
  ForTasks(Cut(b, int64_t{in} * out), nullptr, [&](size_t, const Task& t, Worker& w, FaultCounts*) {
    w.x.Resize(in);
    for (int i = 0; i < t.images; ++i) {
      const int8_t* row = x + (t.at + i) * in;
      if (keep != nullptr) {
        const uint8_t* kept = keep + int64_t{t.first + i} * in;
        for (int k = 0; k < in; ++k) w.x.As<int8_t>()[k] = kept[k] != 0 ? row[k] : int8_t{0};
        row = w.x.As<int8_t>();
      }
      for (int o = 0; o < out; ++o) {
        const int8_t* weight = weights.Lane(t.lane) + int64_t{o} * in;
        int32_t acc = 0;
        for (int k = 0; k < in; ++k) acc += row[k] * weight[k];
        logits[(t.at + i) * out + o] = std::fmaf(static_cast<float>(acc), unit[t.lane], bias[o]);
      }
    }
  });
}

}  // namespace ftt::cpu
