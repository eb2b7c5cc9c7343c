#include "kernels/cpu/conv_primitives.h"

#include <utility>

namespace ftt::cpu {
namespace {

using dnnl::memory;
using DataType = memory::data_type;
using Dims = memory::dims;
using Tag = memory::format_tag;

constexpr auto kDirect = dnnl::algorithm::convolution_direct;

struct ConvDescs {
  memory::desc src, weights, dst;
  Dims strides, dilates, pad_low, pad_high;
};

int HighPad(int in, int out, const ConvShape& s) {
  return (out - 1) * s.stride + s.dilation * (s.kernel - 1) + 1 - in - s.pad;
}

Dims WeightDims(const ConvShape& s) {
  if (s.groups == 1) return {s.out_c, s.in_c, s.kernel, s.kernel};
  return {s.groups, s.out_c / s.groups, s.in_c / s.groups, s.kernel, s.kernel};
}

ConvDescs DescribeConv(const ConvShape& s, memory::data_type src, memory::data_type weight,
                       memory::data_type dst, const memory::desc* weights) {
  return {
      .src = {{s.images, s.in_c, s.in_h, s.in_w}, src, Tag::nhwc},
      .weights = weights != nullptr ? *weights : memory::desc(WeightDims(s), weight, Tag::any),
      .dst = {{s.images, s.out_c, s.out_h, s.out_w}, dst, Tag::nhwc},
      .strides = {s.stride, s.stride},
      .dilates = {s.dilation - 1, s.dilation - 1},
      .pad_low = {s.pad, s.pad},
      .pad_high = {HighPad(s.in_h, s.out_h, s), HighPad(s.in_w, s.out_w, s)},
  };
}

dnnl::primitive_attr CallerScratchpad() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

auto ForwardDesc(const dnnl::engine& engine, dnnl::prop_kind prop, const ConvDescs& d) {
  using Conv = dnnl::convolution_forward;
#if DNNL_VERSION_MAJOR >= 3
  return Conv::primitive_desc(engine, prop, kDirect, d.src, d.weights, d.dst, d.strides, d.dilates,
                              d.pad_low, d.pad_high, CallerScratchpad());
#else
  return Conv::primitive_desc(Conv::desc(prop, kDirect, d.src, d.weights, d.dst, d.strides,
                                         d.dilates, d.pad_low, d.pad_high),
                              CallerScratchpad(), engine);
#endif
}

auto BackwardDataDesc(const dnnl::engine& engine, const ConvDescs& d,
                      const dnnl::convolution_forward::primitive_desc& hint) {
  using Conv = dnnl::convolution_backward_data;
#if DNNL_VERSION_MAJOR >= 3
  return Conv::primitive_desc(engine, kDirect, d.src, d.weights, d.dst, d.strides, d.dilates,
                              d.pad_low, d.pad_high, hint, CallerScratchpad());
#else
  return Conv::primitive_desc(
      Conv::desc(kDirect, d.src, d.weights, d.dst, d.strides, d.dilates, d.pad_low, d.pad_high),
      CallerScratchpad(), engine, hint);
#endif
}

auto BackwardWeightsDesc(const dnnl::engine& engine, const ConvDescs& d,
                         const dnnl::convolution_forward::primitive_desc& hint) {
  using Conv = dnnl::convolution_backward_weights;
#if DNNL_VERSION_MAJOR >= 3
  return Conv::primitive_desc(engine, kDirect, d.src, d.weights, d.dst, d.strides, d.dilates,
                              d.pad_low, d.pad_high, hint, CallerScratchpad());
#else
  return Conv::primitive_desc(
      Conv::desc(kDirect, d.src, d.weights, d.dst, d.strides, d.dilates, d.pad_low, d.pad_high),
      CallerScratchpad(), engine, hint);
#endif
}

auto MatmulDesc(const dnnl::engine& engine, const memory::desc& a, const memory::desc& b,
                const memory::desc& c) {
#if DNNL_VERSION_MAJOR >= 3
  return dnnl::matmul::primitive_desc(engine, a, b, c, CallerScratchpad());
#else
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), CallerScratchpad(), engine);
#endif
}

// Moves to the implementation called `name` if there is one; otherwise stays at the first.
template <typename Desc>
void PreferImplementation(Desc& desc, const Primitive* like) {
  if (like == nullptr || like->name == desc.impl_info_str()) return;
  Desc candidate = desc;
  while (candidate.next_impl()) {
    if (like->name == candidate.impl_info_str()) {
      desc = candidate;
      return;
    }
  }
}

template <typename Op, typename Desc>
void Finish(const Desc& desc, Primitive& out) {
  out.scratchpad = desc.scratchpad_desc();
  out.name = desc.impl_info_str();
  out.primitive = Op(desc);
}

void AddReorder(const dnnl::engine& engine, const memory::desc& from, const memory::desc& to,
                Primitive& out) {
  const dnnl::reorder::primitive_desc desc(engine, from, engine, to, CallerScratchpad());
  out.reorder = dnnl::reorder(desc);
  out.reorder_scratchpad = desc.scratchpad_desc();
}

void BuildForward(const dnnl::engine& engine, const PrimitiveSpec& spec, const Primitive* like,
                  Primitive& out) {
  const memory::desc* weights = like != nullptr ? &like->descs[1] : nullptr;
  auto desc = ForwardDesc(engine, dnnl::prop_kind::forward_inference,
                          DescribeConv(spec.shape, spec.in, spec.weight, spec.out, weights));
  PreferImplementation(desc, like);
  out.args = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
  out.descs = {desc.src_desc(), desc.weights_desc(), desc.dst_desc()};
  Finish<dnnl::convolution_forward>(desc, out);
}

// oneDNN wants a forward descriptor as a hint for a backward one; its layouts do not matter.
auto Hint(const dnnl::engine& engine, const PrimitiveSpec& spec) {
  return ForwardDesc(engine, dnnl::prop_kind::forward_training,
                     DescribeConv(spec.shape, spec.in, spec.in, spec.in, nullptr));
}

void BuildBackwardData(const dnnl::engine& engine, const PrimitiveSpec& spec, const Primitive* like,
                       Primitive& out) {
  const memory::desc* weights = like != nullptr ? &like->descs[1] : nullptr;
  auto desc =
      BackwardDataDesc(engine, DescribeConv(spec.shape, spec.out, spec.weight, spec.in, weights),
                       Hint(engine, spec));
  PreferImplementation(desc, like);
  out.args = {DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC};
  out.descs = {desc.diff_dst_desc(), desc.weights_desc(), desc.diff_src_desc()};
  Finish<dnnl::convolution_backward_data>(desc, out);
}

void BuildBackwardWeights(const dnnl::engine& engine, const PrimitiveSpec& spec,
                          const Primitive* like, Primitive& out) {
  const memory::desc* weights = like != nullptr ? &like->descs[2] : nullptr;
  auto desc = BackwardWeightsDesc(
      engine, DescribeConv(spec.shape, spec.in, spec.weight, spec.in, weights), Hint(engine, spec));
  PreferImplementation(desc, like);
  out.args = {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS};
  out.descs = {desc.src_desc(), desc.diff_dst_desc(), desc.diff_weights_desc()};
  Finish<dnnl::convolution_backward_weights>(desc, out);
}

// The transposed operand is the one with fewer channels: that orientation is up to twice as fast in
// oneDNN.
void BuildWeightMatmul(const dnnl::engine& engine, const PrimitiveSpec& spec, Primitive& out) {
  const ConvShape& s = spec.shape;
  const memory::dim pixels = memory::dim{s.images} * s.out_h * s.out_w;
  const bool x_first = s.in_c <= s.out_c;
  const memory::dim a = x_first ? s.in_c : s.out_c, b = x_first ? s.out_c : s.in_c;
  const memory::desc first({a, pixels}, spec.in, Tag::ba), second({pixels, b}, spec.in, Tag::ab);
  const auto desc = MatmulDesc(engine, first, second, {{a, b}, spec.weight, Tag::ab});
  const bool swap = !x_first;  // operands stay in the order x, diff_y
  out.args = {swap ? DNNL_ARG_WEIGHTS : DNNL_ARG_SRC, swap ? DNNL_ARG_SRC : DNNL_ARG_WEIGHTS,
              DNNL_ARG_DST};
  out.descs = {swap ? second : first, swap ? first : second, desc.dst_desc()};
  Finish<dnnl::matmul>(desc, out);
}

DataType OperandType(GradPrecision precision) {
  return precision == GradPrecision::kBf16 ? DataType::bf16 : DataType::f32;
}

// A stride-1 data gradient is a convolution of diff_y with mirrored weights, and oneDNN's forward
// kernels are the better tuned ones; float 1x1 is the exception.
bool UseFlipped(const ConvShape& s, GradPrecision precision) {
  return s.stride == 1 && s.pad <= s.dilation * (s.kernel - 1) &&
         (s.kernel > 1 || precision == GradPrecision::kBf16);
}

ConvShape FlippedShape(const ConvShape& s) {
  ConvShape f = s;
  std::swap(f.in_h, f.out_h);
  std::swap(f.in_w, f.out_w);
  std::swap(f.in_c, f.out_c);
  f.pad = s.dilation * (s.kernel - 1) - s.pad;
  return f;
}

}  // namespace

PrimitiveSpec Int8Spec(const ConvShape& shape, bool x_unsigned) {
  return {PrimitiveKind::kForward, shape, x_unsigned ? DataType::u8 : DataType::s8, DataType::s8,
          DataType::s32};
}

PrimitiveSpec F32Spec(const ConvShape& shape) {
  return {PrimitiveKind::kForward, shape, DataType::f32, DataType::f32, DataType::f32};
}

PrimitiveSpec BackwardDataSpec(const ConvShape& shape, GradPrecision precision) {
  const DataType type = OperandType(precision);
  if (UseFlipped(shape, precision)) {
    return {PrimitiveKind::kForward, FlippedShape(shape), type, type, DataType::f32};
  }
  return {PrimitiveKind::kBackwardData, shape, type, type, DataType::f32};
}

PrimitiveSpec BackwardWeightsSpec(const ConvShape& s, GradPrecision precision) {
  const bool matmul = precision == GradPrecision::kBf16 && s.kernel == 1 && s.stride == 1 &&
                      s.pad == 0 && s.groups == 1;
  return {matmul ? PrimitiveKind::kWeightMatmul : PrimitiveKind::kBackwardWeights, s,
          OperandType(precision), DataType::f32, DataType::f32};
}

memory::desc PlainWeights(const ConvShape& shape, memory::data_type type) {
  return {WeightDims(shape), type, shape.groups == 1 ? Tag::oihw : Tag::goihw};
}

std::unique_ptr<Primitive> BuildPrimitive(const dnnl::engine& engine, const PrimitiveSpec& spec,
                                          const Primitive* like) {
  auto out = std::make_unique<Primitive>();
  switch (spec.kind) {
    case PrimitiveKind::kForward:
      BuildForward(engine, spec, like, *out);
      break;
    case PrimitiveKind::kBackwardData:
      BuildBackwardData(engine, spec, like, *out);
      break;
    case PrimitiveKind::kBackwardWeights:
      BuildBackwardWeights(engine, spec, like, *out);
      break;
    case PrimitiveKind::kWeightMatmul:
      BuildWeightMatmul(engine, spec, *out);
      break;
  }
  out->plain_weights = PlainWeights(spec.shape, spec.weight);
  if (spec.kind == PrimitiveKind::kBackwardWeights) {
    AddReorder(engine, out->descs[2], out->plain_weights, *out);
  } else if (spec.kind != PrimitiveKind::kWeightMatmul) {
    AddReorder(engine, out->plain_weights, out->descs[1], *out);
  }
  return out;
}

}  // namespace ftt::cpu
