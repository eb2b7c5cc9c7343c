// The whole contract of a backend: the op set over raw buffers, for all lanes in one call.
//
// Layouts. Codes, accumulators and gradients of a feature map are [lanes][images][h][w][c], dense.
// Weights are [out_c][k][k][in_c / groups] per lane. Straight-through masks are one bit per
// element, [lanes][images] rows of MaskBytes(elements) bytes; 1 lets the gradient pass. Exponents
// are one int per lane. Gradients are with respect to real values (code * 2^exponent). Every call
// is complete when it returns.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/program.h"
#include "faults/inject.h"
#include "kernels/raw_map.h"

namespace ftt {

inline int64_t MaskBytes(int64_t elements) { return (elements + 7) / 8; }

struct BatchDims {
  int lanes = 1;
  int images = 0;
  const uint32_t* image_ids =
      nullptr;  // [images], index in the data set: the key of a fault, not a place in memory
};

// Feature faults of one site on one lane.
struct LaneFaults {
  const SiteFaults* faults = nullptr;  // null or empty: none
  FaultMoment moment;
  FaultCounts* counts = nullptr;
  FaultRecorder* recorder = nullptr;
};

// Convolution or pool: input, geometry, output shape.
struct WindowShape {
  Shape in, out;
  ConvParams conv;
  bool pool = false;
  PoolKind pool_kind = PoolKind::kMax;
  bool relu = false;  // on load
  // Who made the input has put that ReLU's gradient into its mask: grad_x need not be cut by it.
  bool relu_masked = false;
};

// That of a kConv or kPool op.
WindowShape WindowOf(const Program& program, const Op& op);

// A weight tensor as codes, one copy for all lanes or one per lane. Backends may keep a packed form
// in `packed`; who changes the codes clears it.
struct WeightCodes {
  std::vector<int8_t> codes;  // [lanes or 1][n]
  std::vector<uint8_t> keep;  // same shape, or empty: 1 where the gradient passes
  int64_t n = 0;
  int copies = 1;
  int exponent = 0;
  std::shared_ptr<void> packed;

  const int8_t* Lane(int lane) const { return codes.data() + (copies == 1 ? 0 : lane * n); }
  const uint8_t* Keep(int lane) const {
    return keep.empty() ? nullptr : keep.data() + (copies == 1 ? 0 : lane * n);
  }
};

// Per lane and channel statistics of an accumulator, in accumulator units.
struct ChannelStats {
  double sum = 0, sum_squares = 0;
  int32_t min = 0, max = 0;
};

// The affine map from accumulator to code on one lane, and what its backward pass needs. Arrays of
// c floats: code = saturate(rint(fma(acc, scale, shift))).
struct LaneNorm {
  std::vector<float> scale, shift;
  std::vector<float> mean, inv_std;  // of the real value; empty without batch norm
  float unit = 1;                    // 2^(exponent of one accumulator step)
  bool frozen = false;  // mean and inv_std are constants: no gradient flows through them
};

// What is left to do to the gradient of a quantized output, so that the convolution's backward pass
// can do it on load: zero it where the mask has a 0, then, behind a batch norm, map it on each lane
// by g -> fma(acc, q, fma(g, p, r)), arrays indexed as the backend wants.
struct NormGradient {
  struct Lane {
    std::vector<float> p, q, r;
  };
  RawMap acc;                     // without data: no map
  const uint8_t* mask = nullptr;  // null: no mask
  std::vector<Lane> lanes;

  bool Empty() const { return acc.data == nullptr && mask == nullptr; }
};

// The sums over a map that its batch norm's backward pass needs, which whoever writes the last part
// of the map's gradient may collect while that is in a cache.
struct NormSums {
  RawMap acc;  // of the map, as NormBackward gets them
  const LaneNorm* norms = nullptr;
  const uint8_t* mask = nullptr;
  std::vector<double> grad, grad_xhat;  // [lanes][c], of g and g * xhat; empty: not collected
};

struct SumInput {
  const int8_t* codes = nullptr;
  const int* exponent = nullptr;  // [lanes]
  int channels = 0;               // for concatenation
  bool relu = false;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view Name() const = 0;
  virtual int Threads() const { return 1; }
  // Seconds that all threads together have spent inside convolution kernels alone, for benchmarks;
  // kernels that quantize as well count as a whole. 0 where not measured.
  virtual double ConvolutionSeconds() const { return 0; }

  // Runs body(i, worker) for every i in [0, n), perhaps side by side; worker is in [0, Threads()).
  virtual void For(int n, const std::function<void(int i, int worker)>& body) {
    for (int i = 0; i < n; ++i) body(i, 0);
  }
  // Brings a convolution's weights into the form that Accumulate wants and, with `backward`, that
  // WindowBackward wants for grad_x, which otherwise do it themselves. From within For, for weights
  // of its own in each call.
  virtual void Prepare(const WindowShape&, WeightCodes*, bool /*backward*/, int /*worker*/) {}

  // How accumulators are best kept during a training step; every backend takes kInt32 as well.
  virtual RawType TrainingRaw() const { return RawType::kInt32; }

  // Exact int32 convolution or pool (averages: rounded to nearest even over the valid taps).
  // x: codes; weights: null for pools; acc: out; stats: [lanes][c] or null, of the exact sums.
  virtual void Accumulate(const BatchDims&, const WindowShape&, const int8_t* x,
                          WeightCodes* weights, const RawMap& acc, ChannelStats* stats) = 0;
  // acc -> codes with faults; mask (nullable) gets the straight-through bits, with `relu_mask` only
  // those of codes above zero (for maps that are read through a ReLU alone). norms, faults:
  // [lanes]; faults may be null.
  virtual void Quantize(const BatchDims&, const Shape&, int bits, const RawMap& acc,
                        const LaneNorm* norms, const LaneFaults* faults, int8_t* codes,
                        uint8_t* mask, bool relu_mask) = 0;
  // Faults alone, for values that no other op writes (the input image).
  virtual void Inject(const BatchDims&, const Shape&, const LaneFaults* faults, int8_t* codes) = 0;
  // Accumulate and Quantize in one pass with one affine map for all lanes (deploy mode).
  virtual void AccumulateQuantize(const BatchDims&, const WindowShape&, int bits, const int8_t* x,
                                  WeightCodes* weights, const LaneNorm& norm,
                                  const LaneFaults* faults, int8_t* codes) = 0;
  // Sum of inputs. exponent: [lanes]; computed from this batch when `derive_exponent`, else given.
  virtual void Add(const BatchDims&, const Shape&, int bits, const std::vector<SumInput>&,
                   bool derive_exponent, int* exponent, const LaneFaults* faults, int8_t* codes,
                   uint8_t* mask, bool relu_mask) = 0;
  // Concatenation along channels, requantized to the given exponents [lanes].
  virtual void Concat(const BatchDims&, const Shape&, int bits, const std::vector<SumInput>&,
                      const int* exponent, const LaneFaults* faults, int8_t* codes) = 0;
  // Mean over the map: acc[lane][image][c] = sum of codes; the caller turns it into codes with
  // Quantize.
  virtual void GlobalSum(const BatchDims&, const Shape& in, bool relu, const int8_t* x,
                         int32_t* acc) = 0;
  // logits[lane][image][o] = fma(float(sum_i w[o][i] * x[i]), unit[lane], bias[o]). keep: dropout
  // mask [images][in] (1 keeps), null without dropout.
  virtual void Linear(const BatchDims&, int in, int out, const int8_t* x,
                      const WeightCodes& weights, const float* unit, const float* bias,
                      const uint8_t* keep, float* logits) = 0;

  // --- backward ---
  // grad of the quantized output -> grad of the real convolution output, in place; or, where
  // `deferred` is given, perhaps as a map for the WindowBackward that follows (acc and mask must
  // live until then). grad_gamma, grad_beta: [c], added to (null where the parameter does not
  // exist; without batch norm grad_beta is the bias gradient). gamma: null means 1. sums: null or
  // not collected: computes them.
  virtual void NormBackward(const BatchDims&, const Shape&, const RawMap& acc,
                            const LaneNorm* norms, const float* gamma, const uint8_t* mask,
                            const GradMap& grad, float* grad_gamma, float* grad_beta,
                            NormGradient* deferred, const NormSums* sums) = 0;
  // Whether NormBackward with `deferred` leaves the gradient of a pool, or of a convolution with
  // batch norm, as it is, so that several maps may share it.
  virtual bool LeavesGradients() const { return false; }
  // Whether a convolution's WindowBackward that collects sums can write grad_x, and NormBackward
  // with `deferred` and those sums leave it, in bfloat16 (masked already).
  virtual bool NarrowsGradients() const { return false; }
  // grad_y: before `norm` (nullable), which is applied first. grad_x: written, or added to when
  // `accumulate`; null when not wanted. grad_w: added to, [n]; null for pools. x_exponent: [lanes].
  // sums: of the input, where grad_x is complete after this call; may be collected. Nullable.
  virtual void WindowBackward(const BatchDims&, const WindowShape&, const int8_t* x,
                              const int* x_exponent, WeightCodes* weights, const GradMap& grad_y,
                              const NormGradient* norm, const GradMap& grad_x, bool accumulate,
                              float* grad_w, NormSums* sums) = 0;
  // grad_x (+)= mask * relu'(x) * grad_y for one input of an Add; for Concat: the input's channel
  // slice.
  virtual void SumBackward(const BatchDims&, const Shape&, const SumInput&, int channel_offset,
                           const uint8_t* mask, const float* grad_y, float* grad_x,
                           bool accumulate) = 0;
  // grad_y: [lanes][images][c].
  virtual void GlobalSumBackward(const BatchDims&, const Shape& in, bool relu, const int8_t* x,
                                 const uint8_t* mask, const float* grad_y, float* grad_x,
                                 bool accumulate) = 0;
  virtual void LinearBackward(const BatchDims&, int in, int out, const int8_t* x,
                              const float* x_unit, const WeightCodes& weights, const uint8_t* keep,
                              float keep_scale, const float* grad_logits, float* grad_x,
                              float* grad_w, float* grad_bias) = 0;
};

// Plain loops, the oracle; always built.
std::unique_ptr<Backend> MakeRefBackend();
// Vectorised, multi-threaded; threads = 0: one per core. Training keeps accumulators in half
// precision where the processor converts it (F16C), and convolutions take the gradient of their
// output in bfloat16 where it multiplies that faster (AVX512-BF16, AMX), unless told to stay in 32
// bits; sums are float32 always.
std::unique_ptr<Backend> MakeCpuBackend(int threads, bool full_precision = false);
// "auto", "cpu", "cpu-f32" (full precision) or "ref". Throws ftt::Error for anything else.
std::unique_ptr<Backend> MakeBackend(const std::string& name, int threads);

}  // namespace ftt
