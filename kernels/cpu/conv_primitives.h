// Internal: oneDNN primitives for the convolutions of conv_dnnl.h, over both of oneDNN's APIs (2.x
// and 3.x).
#pragma once

#include <dnnl.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/conv_dnnl.h"

namespace ftt::cpu {

enum class PrimitiveKind {
  kForward,          // operands src, weights -> dst
  kBackwardData,     // diff_dst, weights -> diff_src
  kBackwardWeights,  // src, diff_dst -> diff_weights
  kWeightMatmul,  // weight gradient of a 1x1 convolution as a product: [a, pixels] x [pixels, b] ->
                  // [a, b]
};

struct PrimitiveSpec {
  PrimitiveKind kind = PrimitiveKind::kForward;
  ConvShape shape;
  dnnl::memory::data_type in = dnnl::memory::data_type::f32;  // activations and diff_y
  dnnl::memory::data_type weight =
      dnnl::memory::data_type::f32;  // weights; output of the weight gradients
  dnnl::memory::data_type out = dnnl::memory::data_type::f32;  // dst or diff_src
  friend bool operator==(const PrimitiveSpec&, const PrimitiveSpec&) = default;
};

// What the engine runs for a convolution: forward over codes (x_unsigned: after a ReLU), or over
// floats; and its gradients.
PrimitiveSpec Int8Spec(const ConvShape& shape, bool x_unsigned);
PrimitiveSpec F32Spec(const ConvShape& shape);
PrimitiveSpec BackwardDataSpec(const ConvShape& shape, GradPrecision precision);
PrimitiveSpec BackwardWeightsSpec(const ConvShape& shape, GradPrecision precision);

struct Primitive {
  int id = 0;  // dense numbering within one engine
  dnnl::primitive primitive;
  std::array<int, 3> args{};                // DNNL_ARG_*: two inputs, then the output
  std::array<dnnl::memory::desc, 3> descs;  // of the same three
  dnnl::memory::desc scratchpad;
  std::string name;
  // For weights (index 1 of kForward and kBackwardData): from plain [g]oihw.
  dnnl::memory::desc plain_weights;
  dnnl::reorder reorder;  // packs plain weights, or unpacks a weight gradient
  dnnl::memory::desc reorder_scratchpad;
  // kForward on int8: whether a probe found the sums exact. Threads may find out twice, with one
  // result.
  enum class Exact { kUnknown, kNo, kYes };
  mutable std::atomic<Exact> exact{Exact::kUnknown};
};

// Plain [out][in][h][w] (with a leading group dimension where groups > 1) descriptor of a shape's
// weights.
dnnl::memory::desc PlainWeights(const ConvShape& shape, dnnl::memory::data_type type);

// Index, among the three operands, of the one whose layout is oneDNN's choice.
inline int LayoutOperand(PrimitiveKind kind) {
  return kind == PrimitiveKind::kForward || kind == PrimitiveKind::kBackwardData ? 1 : 2;
}

// Builds a primitive that leaves its scratch memory to the caller. `like`, if given, fixes the
// layout of the weights (or of their gradient) and asks for the same implementation. Throws
// dnnl::error.
std::unique_ptr<Primitive> BuildPrimitive(const dnnl::engine& engine, const PrimitiveSpec& spec,
                                          const Primitive* like);

}  // namespace ftt::cpu
