#include "kernels/cpu/primitive_time.h"

#include <algorithm>
#include <array>
#include <barrier>
#include <future>
#include <limits>
#include <unordered_map>
#include <vector>

#include "core/aligned.h"
#include "core/clock.h"
#include "core/error.h"
#include "kernels/cpu/conv_dnnl_state.h"
#include "kernels/cpu/packed_lanes.h"

namespace ftt::cpu {
namespace {

constexpr int kCalls = 2;  // timed, after one more

// A tensor of small integers: valid in every type, and no denormal slows a kernel down. What a
// longer one has been filled with serves a shorter one too.
class Operand {
 public:
  void* Get(const dnnl::memory::desc& desc, dnnl::memory::data_type type) {
    using Type = dnnl::memory::data_type;
    const auto size = static_cast<int64_t>(desc.get_size());
    AlignedBytes& bytes = type == Type::f32 ? floats_ : type == Type::bf16 ? halves_ : codes_;
    if (bytes.Size() >= size) return bytes.Data();
    bytes.Resize(size);
    if (type == Type::f32) {
      for (int64_t i = 0; i < size / 4; ++i) bytes.As<float>()[i] = static_cast<float>(i % 7);
    } else if (type == Type::bf16) {
      constexpr uint16_t kOne = 0x3f80;
      std::fill_n(bytes.As<uint16_t>(), size / 2, kOne);
    } else {
      for (int64_t i = 0; i < size; ++i) bytes.As<int8_t>()[i] = static_cast<int8_t>(i % 7);
    }
    return bytes.Data();
  }

 private:
  AlignedBytes floats_, halves_, codes_;
};

// What one thread needs.
struct Runner {
  explicit Runner(const dnnl::engine& engine) : worker(engine) {}

  ConvWorker::State worker;
  Operand first, second;
  AlignedBytes result;
  std::array<void*, 3> operands = {};

  void Prepare(const Primitive& primitive, const PrimitiveSpec& spec) {
    const bool weight_gradient =
        spec.kind == PrimitiveKind::kBackwardWeights || spec.kind == PrimitiveKind::kWeightMatmul;
    result.Resize(static_cast<int64_t>(primitive.descs[2].get_size()));
    operands = {first.Get(primitive.descs[0], spec.in),
                second.Get(primitive.descs[1], weight_gradient ? spec.in : spec.weight),
                result.Data()};
  }
  // Seconds of one call, from when all threads are there.
  double Time(const Primitive& primitive, std::barrier<>& start) {
    const SingleThread single;
    start.arrive_and_wait();
    double begin = 0;
    for (int i = 0; i <= kCalls; ++i) {
      if (i == 1) begin = MonotonicSeconds();
      worker.Run(primitive, operands);
    }
    return (MonotonicSeconds() - begin) / kCalls;
  }
};

}  // namespace

struct PrimitiveTimer::State {
  ConvEngine precision;  // only asked for the backend's choice
  ConvEngine::State engine;
  std::vector<Runner> runners;                                  // by thread
  std::unordered_map<PrimitiveSpec, double, SpecHash> seconds;  // of this round

  explicit State(int threads) {
    FTT_CHECK(threads >= 1, "primitive timer: needs at least one thread");
    for (int i = 0; i < threads; ++i) runners.emplace_back(engine.engine);
  }

  GradPrecision Gradients() const {
    return precision.HasFastBf16() ? GradPrecision::kBf16 : GradPrecision::kF32;
  }

  PrimitiveSpec ForwardSpec(const ConvShape& shape, bool x_unsigned) {
    const PrimitiveSpec spec = Int8Spec(shape, x_unsigned);
    return engine.IsExact(engine.Get(spec), shape, runners[0].worker) ? spec : F32Spec(shape);
  }

  // Of one call, in the mean over the threads.
  double Time(const PrimitiveSpec& spec) {
    const auto known = seconds.find(spec);
    if (known != seconds.end()) return known->second;
    const Primitive& primitive = engine.Get(spec);
    for (Runner& runner : runners) runner.Prepare(primitive, spec);
    std::barrier<> start(std::ssize(runners));
    std::vector<std::future<double>> others;
    for (size_t i = 1; i < runners.size(); ++i) {
      try {
        others.push_back(
            std::async(std::launch::async, [&, i] { return runners[i].Time(primitive, start); }));
      } catch (...) {  // no thread to be had: those that wait already must not wait for the rest
        for (size_t missing = i; missing <= runners.size(); ++missing) start.arrive_and_drop();
        throw;
      }
    }
    double total = runners[0].Time(primitive, start);
    for (std::future<double>& other : others) total += other.get();
    return seconds[spec] = total / static_cast<double>(runners.size());
  }

  template <typename Spec>
  double Best(const WindowShape& s, int images, const Spec& spec) {
    double best = std::numeric_limits<double>::infinity();
    const int few = std::min(images, ImagesPerTask(std::max(s.in.Elements(), s.out.Elements())));
    for (const int count : {few, images}) {
      best = std::min(best, Time(spec(ToConv(s, count))) * images / count);
    }
    return best;
  }
};

PrimitiveTimer::PrimitiveTimer(int threads) : state_(std::make_unique<State>(threads)) {}
PrimitiveTimer::~PrimitiveTimer() = default;

void PrimitiveTimer::StartRound() { state_->seconds.clear(); }

double PrimitiveTimer::Forward(const WindowShape& s, int images) {
  return state_->Best(s, images,
                      [&](const ConvShape& c) { return state_->ForwardSpec(c, s.relu); });
}

double PrimitiveTimer::WeightGradient(const WindowShape& s, int images) {
  return state_->Best(
      s, images, [&](const ConvShape& c) { return BackwardWeightsSpec(c, state_->Gradients()); });
}

double PrimitiveTimer::DataGradient(const WindowShape& s, int images) {
  return state_->Best(s, images,
                      [&](const ConvShape& c) { return BackwardDataSpec(c, state_->Gradients()); });
}

}  // namespace ftt::cpu
