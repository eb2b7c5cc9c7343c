#include "kernels/cpu/conv_dnnl.h"

#include <algorithm>
#include <string_view>
#include <type_traits>

#include "core/error.h"
#include "kernels/cpu/conv_bf16.h"
#include "kernels/cpu/conv_dnnl_state.h"
#include "kernels/cpu/elementwise.h"

namespace ftt::cpu {
namespace {

std::string Describe(const ConvShape& s) {
  return fmt::format(
      "convolution {}x{}x{}x{} -> {}x{}x{}, kernel {}, stride {}, pad {}, dilation {}, groups {}",
      s.images, s.in_h, s.in_w, s.in_c, s.out_h, s.out_w, s.out_c, s.kernel, s.stride, s.pad,
      s.dilation, s.groups);
}

void CheckSize(const ConvShape& s, int in, int out) {
  const int last = (out - 1) * s.stride - s.pad;  // first tap of the last output
  const int reach = last + s.dilation * (s.kernel - 1);
  FTT_CHECK(out > 0 && last < in && reach >= 0 && reach + s.stride >= in,
            "{}: output size {} does not follow from input size {}; check the shape", Describe(s),
            out, in);
}

void Check(const ConvShape& s) {
  FTT_CHECK(std::min({s.images, s.in_h, s.in_w, s.in_c, s.out_c, s.kernel, s.stride, s.dilation,
                      s.groups}) > 0 &&
                s.pad >= 0 && s.in_c % s.groups == 0 && s.out_c % s.groups == 0,
            "{}: sizes must be positive and groups must divide the channels", Describe(s));
  CheckSize(s, s.in_h, s.out_h);
  CheckSize(s, s.in_w, s.out_w);
}

template <typename Body>
auto Guard(const ConvShape& shape, Body&& body) {
  try {
    return body();
  } catch (const dnnl::error& e) {
    Fail("{}: oneDNN reports \"{}\" (status {}); this build or CPU lacks the operation",
         Describe(shape), e.what(), static_cast<int>(e.status));
  }
}

template <typename T>
T FromCode(int8_t code, float unit) {
  if constexpr (std::is_same_v<T, uint16_t>) {
    return FloatToBf16(static_cast<float>(code) * unit);  // exact: 8 significant bits
  } else if constexpr (std::is_same_v<T, float>) {
    return static_cast<float>(code) * unit;
  } else {
    return code;
  }
}

// Plain [group][out][in][h][w] from the project's [out_c][h][w][in]: input channels [first, first +
// count) of each group, with in and out swapped and taps mirrored where `flip`; floats times
// `unit`.
template <typename T>
std::vector<T> PlainCodes(const ConvShape& s, const int8_t* codes, int first, int count, bool flip,
                          float unit = 1.0f) {
  const int taps = s.kernel * s.kernel, in = s.in_c / s.groups, out = s.out_c / s.groups;
  std::vector<T> plain(static_cast<size_t>(s.out_c) * count * taps);
  for (int oc = 0; oc < s.out_c; ++oc) {
    const int group = oc / out, o = oc % out;
    for (int t = 0; t < taps; ++t) {
      const int8_t* row = codes + (static_cast<size_t>(oc) * taps + t) * in + first;
      for (int i = 0; i < count; ++i) {
        const size_t at =
            flip ? ((static_cast<size_t>(group) * count + i) * out + o) * taps + (taps - 1 - t)
                 : (static_cast<size_t>(oc) * count + i) * taps + t;
        plain[at] = FromCode<T>(row[i], unit);
      }
    }
  }
  return plain;
}

// Input channels whose worst-case float sum stays within 2^24, where every integer is exact.
int ExactChannels(const ConvShape& s) { return std::max(0, 1024 / (s.kernel * s.kernel)); }

void ConvLoops(const ConvShape& s, const int8_t* x, const int8_t* weights, int32_t* raw) {
  const int in = s.in_c / s.groups, out = s.out_c / s.groups;
  for (int n = 0; n < s.images; ++n)
    for (int oy = 0; oy < s.out_h; ++oy)
      for (int ox = 0; ox < s.out_w; ++ox)
        for (int oc = 0; oc < s.out_c; ++oc) {
          int32_t sum = 0;
          for (int t = 0; t < s.kernel * s.kernel; ++t) {
            const int y = oy * s.stride - s.pad + t / s.kernel * s.dilation;
            const int xx = ox * s.stride - s.pad + t % s.kernel * s.dilation;
            if (y < 0 || y >= s.in_h || xx < 0 || xx >= s.in_w) continue;
            const int8_t* pixel =
                x + ((static_cast<size_t>(n) * s.in_h + y) * s.in_w + xx) * s.in_c + oc / out * in;
            const int8_t* row = weights + (static_cast<size_t>(oc) * s.kernel * s.kernel + t) * in;
            for (int i = 0; i < in; ++i) sum += pixel[i] * row[i];
          }
          *raw++ = sum;
        }
}

void SliceChannels(const int8_t* x, int64_t pixels, int channels, int first, int count,
                   float* out) {
  const Elementwise& ops = GetElementwise();
  if (count == channels) return ops.to_float(x, pixels * channels, false, out);
  for (int64_t p = 0; p < pixels; ++p)
    ops.to_float(x + p * channels + first, count, false, out + p * count);
}

ConvShape WithoutImages(ConvShape shape) {
  shape.images = 0;
  return shape;
}

// Leaves packed.groups empty where plain loops have to do it.
void PackF32Groups(ConvEngine::State& engine, const ConvShape& shape,
                   const PackedWeights::State& packed, ConvWorker::State& worker) {
  const int in = shape.in_c / shape.groups, exact = ExactChannels(shape);
  const int step = shape.groups > 1 ? in : std::min(in, exact);
  if (step == 0 || step > exact) return;
  for (int first = 0; first < in; first += step) {
    ConvShape part = shape;
    const int count = std::min(step, in - first);
    part.in_c = count * shape.groups;
    const auto plain = PlainCodes<float>(shape, packed.codes.data(), first, count, false);
    packed.groups.push_back(
        {first, part, worker.Pack(engine.Canonical(F32Spec(part)), plain.data())});
  }
}

// Codes after a ReLU fit int8 too. Returns the sums where one group has them all.
const float* RunF32Groups(ConvEngine::State& engine, const ConvShape& shape, const int8_t* x,
                          const PackedWeights::State& packed, int32_t* raw,
                          ConvWorker::State& worker) {
  std::call_once(packed.groups_once, [&] { PackF32Groups(engine, shape, packed, worker); });
  if (packed.groups.empty()) {
    ConvLoops(shape, x, packed.codes.data(), raw);
    return nullptr;
  }
  const size_t pixels = shape.InElements() / static_cast<size_t>(shape.in_c);
  const size_t outputs = shape.OutElements();
  const size_t slice = pixels * static_cast<size_t>(packed.groups[0].shape.in_c);
  const size_t padded = (slice + 15) / 16 * 16;
  ConvScratch& scratch = worker.internal;
  float* in = static_cast<float*>(scratch.Get((padded + outputs) * sizeof(float)));
  float* sums = in + padded;
  for (const PackedWeights::State::Group& group : packed.groups) {
    ConvShape s = group.shape;
    s.images = shape.images;
    SliceChannels(x, static_cast<int64_t>(pixels), shape.in_c, group.first_channel, s.in_c, in);
    worker.Run(engine.Get(F32Spec(s)), {in, nullptr, sums}, &group.weights);
    if (packed.groups.size() == 1) return sums;
    GetElementwise().add_floats(sums, static_cast<int64_t>(outputs), group.first_channel != 0, raw);
  }
  return nullptr;
}

std::shared_ptr<PackedWeights::State> NewPacked(const ConvShape& shape, bool forward) {
  auto packed = std::make_shared<PackedWeights::State>();
  packed->shape = WithoutImages(shape);
  packed->forward = forward;
  return packed;
}

}  // namespace

ConvEngine::ConvEngine(bool force_no_vnni) : state_(std::make_unique<State>()) {
  state_->force_no_vnni = force_no_vnni;
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto wanted = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  state_->fast_bf16 = (isa & wanted) == wanted;
}

ConvEngine::~ConvEngine() = default;

ConvWorker::ConvWorker(const ConvEngine& engine)
    : state_(std::make_unique<State>(engine.state_->engine)) {}
ConvWorker::~ConvWorker() = default;
ConvWorker::ConvWorker(ConvWorker&&) noexcept = default;
ConvWorker& ConvWorker::operator=(ConvWorker&&) noexcept = default;
ConvScratch& ConvWorker::Scratch() { return state_->staging; }

bool ConvEngine::HasFastBf16() const { return state_->fast_bf16; }

PackedWeights ConvEngine::PackInt8(const ConvShape& shape, const int8_t* weights, bool x_unsigned,
                                   ConvWorker& worker) {
  Check(shape);
  return Guard(shape, [&] {
    auto packed = NewPacked(shape, true);
    packed->x_unsigned = x_unsigned;
    packed->codes.assign(weights, weights + shape.WeightElements());
    const Primitive& canonical = state_->Canonical(Int8Spec(shape, x_unsigned));
    if (state_->IsExact(canonical, shape, *worker.state_)) {
      const auto plain = PlainCodes<int8_t>(shape, weights, 0, shape.in_c / shape.groups, false);
      packed->weights = worker.state_->Pack(canonical, plain.data());
    }
    return PackedWeights(std::move(packed));
  });
}

void ConvEngine::ConvInt8(const ConvShape& shape, const void* x, bool x_unsigned,
                          const PackedWeights& weights, int32_t* raw, ConvWorker& worker) {
  const float* sums = ConvInt8OrFloats(shape, x, x_unsigned, weights, raw, worker);
  if (sums == nullptr) return;
  GetElementwise().add_floats(sums, static_cast<int64_t>(shape.OutElements()), false, raw);
}

const float* ConvEngine::ConvInt8OrFloats(const ConvShape& shape, const void* x, bool x_unsigned,
                                          const PackedWeights& weights, int32_t* raw,
                                          ConvWorker& worker) {
  const PackedWeights::State* packed = weights.state_.get();
  FTT_CHECK(packed != nullptr && packed->forward && packed->shape == WithoutImages(shape) &&
                packed->x_unsigned == x_unsigned,
            "{}: the packed weights are of another convolution; pack them for this shape",
            Describe(shape));
  return Guard(shape, [&]() -> const float* {
    if (packed->weights) {
      const Primitive& primitive = state_->Get(Int8Spec(shape, x_unsigned));
      if (state_->IsExact(primitive, shape, *worker.state_)) {
        worker.state_->Run(primitive, {const_cast<void*>(x), nullptr, raw}, &packed->weights);
        return nullptr;
      }
    }
    return RunF32Groups(*state_, shape, static_cast<const int8_t*>(x), *packed, raw,
                        *worker.state_);
  });
}

bool ConvEngine::HasExactInt8(const ConvShape& shape, bool x_unsigned, ConvWorker& worker) {
  Check(shape);
  return Guard(shape, [&] {
    return state_->IsExact(state_->Canonical(Int8Spec(shape, x_unsigned)), shape, *worker.state_);
  });
}

const char* ConvEngine::Int8KernelName(const ConvShape& shape, bool x_unsigned,
                                       ConvWorker& worker) {
  if (!HasExactInt8(shape, x_unsigned, worker)) return "f32 groups";
  return Guard(shape, [&] { return state_->Get(Int8Spec(shape, x_unsigned)).name.c_str(); });
}

PackedWeights ConvEngine::PackBackwardData(const ConvShape& shape, const int8_t* weights,
                                           float unit, GradPrecision precision,
                                           ConvWorker& worker) {
  Check(shape);
  return Guard(shape, [&] {
    auto packed = NewPacked(shape, false);
    packed->precision = precision;
    const PrimitiveSpec spec = BackwardDataSpec(shape, precision);
    const bool flip = spec.kind == PrimitiveKind::kForward;
    const Primitive& canonical = state_->Canonical(spec);
    const int in = shape.in_c / shape.groups;
    if (precision == GradPrecision::kBf16) {
      const auto plain = PlainCodes<uint16_t>(shape, weights, 0, in, flip, unit);
      packed->weights = worker.state_->Pack(canonical, plain.data());
    } else {
      const auto plain = PlainCodes<float>(shape, weights, 0, in, flip, unit);
      packed->weights = worker.state_->Pack(canonical, plain.data());
    }
    return PackedWeights(std::move(packed));
  });
}

void ConvEngine::BackwardData(const ConvShape& shape, const void* diff_y,
                              const PackedWeights& weights, float* diff_x, ConvWorker& worker) {
  const PackedWeights::State* packed = weights.state_.get();
  FTT_CHECK(packed != nullptr && !packed->forward && packed->shape == WithoutImages(shape),
            "{}: the packed weights are of another convolution; pack them for this shape",
            Describe(shape));
  Guard(shape, [&] {
    const Primitive& primitive = state_->Get(BackwardDataSpec(shape, packed->precision));
    worker.state_->Run(primitive, {const_cast<void*>(diff_y), nullptr, diff_x}, &packed->weights);
  });
}

size_t ConvEngine::DiffWeightElements(const ConvShape& shape, GradPrecision precision) {
  Check(shape);
  return Guard(shape, [&] {
    return state_->Canonical(BackwardWeightsSpec(shape, precision)).descs[2].get_size() /
           sizeof(float);
  });
}

void ConvEngine::BackwardWeights(const ConvShape& shape, const void* x, const void* diff_y,
                                 GradPrecision precision, float* diff_w, ConvWorker& worker) {
  Guard(shape, [&] {
    const PrimitiveSpec spec = BackwardWeightsSpec(shape, precision);
    worker.state_->Run(state_->Get(spec),
                       {const_cast<void*>(x), const_cast<void*>(diff_y), diff_w});
  });
}

void ConvEngine::UnpackDiffWeights(const ConvShape& shape, GradPrecision precision,
                                   const float* diff_w, float* out, ConvWorker& worker) {
  Guard(shape, [&] {
    const PrimitiveSpec spec = BackwardWeightsSpec(shape, precision);
    if (spec.kind == PrimitiveKind::kWeightMatmul) {
      const bool x_first = shape.in_c <= shape.out_c;
      for (int o = 0; o < shape.out_c; ++o) {
        for (int i = 0; i < shape.in_c; ++i) {
          out[o * shape.in_c + i] = diff_w[x_first ? i * shape.out_c + o : o * shape.in_c + i];
        }
      }
      return;
    }
    auto* plain =
        static_cast<float*>(worker.state_->internal.Get(shape.WeightElements() * sizeof(float)));
    worker.state_->Unpack(state_->Canonical(spec), diff_w, plain);
    const int taps = shape.kernel * shape.kernel, in = shape.in_c / shape.groups;
    for (int o = 0; o < shape.out_c; ++o) {
      for (int i = 0; i < in; ++i) {
        for (int t = 0; t < taps; ++t) {
          out[(static_cast<size_t>(o) * taps + t) * in + i] =
              plain[(static_cast<size_t>(o) * in + i) * taps + t];
        }
      }
    }
  });
}

}  // namespace ftt::cpu
