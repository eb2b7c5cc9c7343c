// The reference backend: plain loops, written to be read. Slow, always built, the oracle for every
// other backend.
#pragma once

#include <algorithm>

#include "core/error.h"
#include "kernels/backend.h"
#include "kernels/quantize_math.h"

namespace ftt {

// Input row (or column) that tap `tap` of output `out` reads; may lie outside the map.
int InputIndex(const WindowShape& s, int out, int tap);

// The exponent to which one lane's inputs of a sum are aligned; 0 for a sum of nothing.
inline int AlignedExponentOf(const std::vector<SumInput>& inputs, int lane) {
  if (inputs.empty()) return 0;
  int smallest = inputs[0].exponent[lane];
  int largest = smallest;
  for (const SumInput& in : inputs) {
    smallest = std::min(smallest, in.exponent[lane]);
    largest = std::max(largest, in.exponent[lane]);
  }
  return AlignedExponent(smallest, largest);
}

// The reference keeps exact accumulators only.
inline int32_t* Ints(const RawMap& raw) {
  FTT_CHECK(raw.type == RawType::kInt32, "ref backend: accumulators in half precision");
  return raw.As<int32_t>();
}

// And float32 gradients only; null stays null.
inline float* Floats(const GradMap& grad) {
  FTT_CHECK(!grad.narrow, "ref backend: gradients in bfloat16");
  return grad.Floats();
}

class RefBackend : public Backend {
 public:
  std::string_view Name() const override { return "ref"; }
  void Accumulate(const BatchDims&, const WindowShape&, const int8_t* x, WeightCodes* weights,
                  const RawMap& acc, ChannelStats* stats) override;
  void Quantize(const BatchDims&, const Shape&, int bits, const RawMap& acc, const LaneNorm* norms,
                const LaneFaults* faults, int8_t* codes, uint8_t* mask, bool relu_mask) override;
  void Inject(const BatchDims&, const Shape&, const LaneFaults* faults, int8_t* codes) override;
  void AccumulateQuantize(const BatchDims&, const WindowShape&, int bits, const int8_t* x,
                          WeightCodes* weights, const LaneNorm& norm, const LaneFaults* faults,
                          int8_t* codes) override;
  void Add(const BatchDims&, const Shape&, int bits, const std::vector<SumInput>&,
           bool derive_exponent, int* exponent, const LaneFaults* faults, int8_t* codes,
           uint8_t* mask, bool relu_mask) override;
  void Concat(const BatchDims&, const Shape&, int bits, const std::vector<SumInput>&,
              const int* exponent, const LaneFaults* faults, int8_t* codes) override;
  void GlobalSum(const BatchDims&, const Shape& in, bool relu, const int8_t* x,
                 int32_t* acc) override;
  void Linear(const BatchDims&, int in, int out, const int8_t* x, const WeightCodes& weights,
              const float* unit, const float* bias, const uint8_t* keep, float* logits) override;
  void NormBackward(const BatchDims&, const Shape&, const RawMap& acc, const LaneNorm* norms,
                    const float* gamma, const uint8_t* mask, const GradMap& grad, float* grad_gamma,
                    float* grad_beta, NormGradient* deferred, const NormSums* sums) override;
  void WindowBackward(const BatchDims&, const WindowShape&, const int8_t* x, const int* x_exponent,
                      WeightCodes* weights, const GradMap& grad_y, const NormGradient* norm,
                      const GradMap& grad_x, bool accumulate, float* grad_w,
                      NormSums* sums) override;
  void SumBackward(const BatchDims&, const Shape&, const SumInput&, int channel_offset,
                   const uint8_t* mask, const float* grad_y, float* grad_x,
                   bool accumulate) override;
  void GlobalSumBackward(const BatchDims&, const Shape& in, bool relu, const int8_t* x,
                         const uint8_t* mask, const float* grad_y, float* grad_x,
                         bool accumulate) override;
  void LinearBackward(const BatchDims&, int in, int out, const int8_t* x, const float* x_unit,
                      const WeightCodes& weights, const uint8_t* keep, float keep_scale,
                      const float* grad_logits, float* grad_x, float* grad_w,
                      float* grad_bias) override;
};

}  // namespace ftt
