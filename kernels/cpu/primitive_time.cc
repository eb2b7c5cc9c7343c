#include "kernels/cpu/primitive_time.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_map>

#include "core/aligned.h"
#include "core/clock.h"
#include "kernels/cpu/conv_dnnl_state.h"
#include "kernels/cpu/packed_lanes.h"

namespace ftt::cpu {
namespace {

constexpr int kCalls = 2;  // timed, after one more

// Small integers: valid in every type, and no denormal slows a kernel down.
void Fill(const dnnl::memory::desc& desc, dnnl::memory::data_type type, AlignedBytes& bytes) {
  const auto size = static_cast<int64_t>(desc.get_size());
  bytes.Resize(size);
  if (type == dnnl::memory::data_type::f32) {
    for (int64_t i = 0; i < size / 4; ++i) bytes.As<float>()[i] = static_cast<float>(i % 7);
  } else if (type == dnnl::memory::data_type::bf16) {
    constexpr uint16_t kOne = 0x3f80;
    std::fill_n(bytes.As<uint16_t>(), size / 2, kOne);
  } else {
    for (int64_t i = 0; i < size; ++i) bytes.As<int8_t>()[i] = static_cast<int8_t>(i % 7);
  }
}

}  // namespace

struct PrimitiveTimer::State {
  ConvEngine precision;  // only asked for the backend's choice
  ConvEngine::State engine;
  ConvWorker::State worker{engine.engine};
  std::unordered_map<PrimitiveSpec, double, SpecHash> seconds;  // of this round
  std::array<AlignedBytes, 3> operands;

  GradPrecision Gradients() const {
    return precision.HasFastBf16() ? GradPrecision::kBf16 : GradPrecision::kF32;
  }

  PrimitiveSpec ForwardSpec(const ConvShape& shape, bool x_unsigned) {
    const PrimitiveSpec spec = Int8Spec(shape, x_unsigned);
    return engine.IsExact(engine.Get(spec), shape, worker) ? spec : F32Spec(shape);
  }

  // Of one call.
  double Time(const PrimitiveSpec& spec) {
    const auto known = seconds.find(spec);
    if (known != seconds.end()) return known->second;
    const Primitive& primitive = engine.Get(spec);
    Fill(primitive.descs[0], spec.in, operands[0]);
    const bool weight_gradient =
        spec.kind == PrimitiveKind::kBackwardWeights || spec.kind == PrimitiveKind::kWeightMatmul;
    Fill(primitive.descs[1], weight_gradient ? spec.in : spec.weight, operands[1]);
    operands[2].Resize(static_cast<int64_t>(primitive.descs[2].get_size()));
    double start = 0;
    for (int i = 0; i <= kCalls; ++i) {
      if (i == 1) start = MonotonicSeconds();
      worker.Run(primitive, {operands[0].Data(), operands[1].Data(), operands[2].Data()});
    }
    return seconds[spec] = (MonotonicSeconds() - start) / kCalls;
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

PrimitiveTimer::PrimitiveTimer() : state_(std::make_unique<State>()) {}
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
