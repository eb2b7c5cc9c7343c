// Dense convolutions on one thread through oneDNN: exact int8 forward, float32 or bfloat16
// backward.
//
// Feature maps are NHWC without padding, weights are 8-bit codes in the order [out_c][k][k][in_c /
// groups]. Sums of products with codes are in units of codes: the caller applies the powers of two
// of the exponents.
// Everything here runs on the calling thread alone (OpenMP is held at one thread), so many threads
// may call one ConvEngine at the same time, each with a ConvWorker of its own. Results do not
// depend on the number of images in a call, except for the order of float sums in BackwardWeights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "kernels/cpu/conv_scratch.h"

namespace ftt::cpu {

struct ConvShape {
  int images = 1;
  int in_h = 1, in_w = 1, in_c = 1;
  int out_h = 1, out_w = 1, out_c = 1;
  int kernel = 1, stride = 1, pad = 0, dilation = 1, groups = 1;
  friend bool operator==(const ConvShape&, const ConvShape&) = default;

  size_t InElements() const { return static_cast<size_t>(images) * in_h * in_w * in_c; }
  size_t OutElements() const { return static_cast<size_t>(images) * out_h * out_w * out_c; }
  size_t WeightElements() const {
    return static_cast<size_t>(out_c) * kernel * kernel * (in_c / groups);
  }
  size_t MultiplyAdds() const {
    return static_cast<size_t>(images) * out_h * out_w * WeightElements();
  }
};

// Arithmetic of a gradient: float32, or bfloat16 operands with float32 sums. Weights and
// activations are 8-bit codes and exact in bfloat16, so only diff_y is rounded (2^-9 relative).
// Element type of x and diff_y below: float or uint16_t.
enum class GradPrecision { kF32, kBf16 };

class ConvEngine;

// What one thread needs to run convolutions: a stream, scratch memory, and the argument slots of
// the primitives.
class ConvWorker {
 public:
  explicit ConvWorker(const ConvEngine& engine);
  ~ConvWorker();
  ConvWorker(ConvWorker&&) noexcept;
  ConvWorker& operator=(ConvWorker&&) noexcept;

  ConvScratch& Scratch();

  struct State;

 private:
  friend class ConvEngine;
  std::unique_ptr<State> state_;
};

// Weights in a layout of oneDNN's choice; immutable, cheap to copy, may be used by several threads
// at once.
class PackedWeights {
 public:
  struct State;
  PackedWeights() = default;
  explicit PackedWeights(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  explicit operator bool() const { return state_ != nullptr; }

 private:
  friend class ConvEngine;
  std::shared_ptr<const State> state_;
};

class ConvEngine {
 public:
  // force_no_vnni: run int8 convolutions as on a CPU without 8-bit dot products (for tests).
  explicit ConvEngine(bool force_no_vnni = false);
  ~ConvEngine();
  ConvEngine(const ConvEngine&) = delete;
  ConvEngine& operator=(const ConvEngine&) = delete;

  // Every function throws ftt::Error where the shape is not consistent, or the packed weights are
  // of another shape. The shape's `images` may differ between a Pack call and the calls that use
  // its result.

  // x_unsigned: activations are codes after a ReLU, 0..127 as uint8; else -128..127 as int8.
  PackedWeights PackInt8(const ConvShape& shape, const int8_t* weights, bool x_unsigned,
                         ConvWorker& worker);
  // raw[n][oy][ox][oc] = sum of code products, exact in int32 for any codes.
  void ConvInt8(const ConvShape& shape, const void* x, bool x_unsigned,
                const PackedWeights& weights, int32_t* raw, ConvWorker& worker);
  // The same; but where the exact sums are there as floats, returns those, which live until the
  // worker's next call, and leaves raw alone. Else null.
  const float* ConvInt8OrFloats(const ConvShape& shape, const void* x, bool x_unsigned,
                                const PackedWeights& weights, int32_t* raw, ConvWorker& worker);
  // Whether one int8 primitive gives ConvInt8's sums; else they take float32, at half the speed or
  // less.
  bool HasExactInt8(const ConvShape& shape, bool x_unsigned, ConvWorker& worker);
  // Name of the kernel that ConvInt8 runs, for reports: oneDNN's, or "f32 groups" without 8-bit dot
  // products.
  const char* Int8KernelName(const ConvShape& shape, bool x_unsigned, ConvWorker& worker);

  // True where bfloat16 gradients are faster than float32 (AVX512-BF16 or AMX). kBf16 is correct
  // everywhere where oneDNN has bfloat16 at all (AVX-512).
  bool HasFastBf16() const;

  // unit: power of two that one step of a weight code stands for.
  PackedWeights PackBackwardData(const ConvShape& shape, const int8_t* weights, float unit,
                                 GradPrecision precision, ConvWorker& worker);
  // diff_x (overwritten), NHWC like x, from diff_y of the precision that the weights were packed
  // with.
  void BackwardData(const ConvShape& shape, const void* diff_y, const PackedWeights& weights,
                    float* diff_x, ConvWorker& worker);

  // Floats in the layout in which BackwardWeights writes; the same for every `images`, so that the
  // partial sums of several shards can be added element by element before one UnpackDiffWeights.
  size_t DiffWeightElements(const ConvShape& shape, GradPrecision precision);
  // diff_w (overwritten) from x and diff_y. diff_w must be aligned to 64 bytes for full speed.
  void BackwardWeights(const ConvShape& shape, const void* x, const void* diff_y,
                       GradPrecision precision, float* diff_w, ConvWorker& worker);
  // Writes the project's order [out_c][k][k][in_c / groups].
  void UnpackDiffWeights(const ConvShape& shape, GradPrecision precision, const float* diff_w,
                         float* out, ConvWorker& worker);

  struct State;

 private:
  friend class ConvWorker;
  std::unique_ptr<State> state_;
};

}  // namespace ftt::cpu
