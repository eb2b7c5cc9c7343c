// The elementwise passes of the CPU backend, one table of functions per instruction set.
//
// Feature maps are dense NHWC, so a map is a linear array in which channel c repeats every C
// elements. Per-channel arrays are expanded to a period P that is a multiple of both C and 16 (see
// ChannelPeriod): every vector then has its 16 channel values in one load, for any number of
// channels, without padding.
#pragma once

#include <cstdint>

#include "kernels/raw_map.h"

namespace ftt::cpu {

inline constexpr int kVector = 16;

// Rows of a period whose statistics are summed in float: few, so that the sums stay accurate.
inline constexpr int kStatsRows = 64;

// Smallest multiple of C and of kVector.
int ChannelPeriod(int channels);

// Of one lane, per position of the period: the gradient of a convolution's output behind a batch
// norm is fma(acc, q, fma(g, p, r)).
struct NormCoefficients {
  const float *p, *q, *r;
};

inline constexpr uint8_t kNoTap = 255;  // of a maximum pool's output that has seen no tap yet

// Passes over the accumulators of a map, int32_t or uint16_t (half precision; what they stand for
// is scaled by the caller's arrays).
template <typename Raw>
using QuantizePass = void (*)(const Raw* acc, int64_t n, int period, const float* scale,
                              const float* shift, int low, int high, int8_t* codes, uint8_t* mask);

template <typename Raw>
struct RawPasses {
  // codes = saturate(rint(fma(acc, scale, shift))); mask (nullable): one bit per element, 1 inside
  // the range.
  QuantizePass<Raw> quantize;
  // Sums of g and of g * fma(acc, xscale, xshift) are added to [P]; g is grad, or 0 where the mask
  // (nullable) has a 0. narrow (nullable): g as bfloat16, ties away from zero.
  void (*norm_backward_sums)(const Raw* acc, int64_t n, int period, const float* xscale,
                             const float* xshift, const uint8_t* mask, const float* grad,
                             double* sum_g, double* sum_gx, uint16_t* narrow);
  // out = fma(acc, q, fma(g, p, r)) with the same g; out may be grad. Then the same as bfloat16,
  // and both of a gradient in bfloat16.
  void (*norm_backward_apply)(const Raw* acc, int64_t n, int period, const NormCoefficients&,
                              const uint8_t* mask, const float* grad, float* out);
  void (*norm_backward_bf16)(const Raw* acc, int64_t n, int period, const NormCoefficients&,
                             const uint8_t* mask, const float* grad, uint16_t* out);
  void (*narrow_apply)(const Raw* acc, int64_t n, int period, const NormCoefficients&,
                       const uint8_t* mask, const uint16_t* grad, float* out);
  void (*narrow_bf16)(const Raw* acc, int64_t n, int period, const NormCoefficients&,
                      const uint8_t* mask, const uint16_t* grad, uint16_t* out);
};

struct Elementwise {
  const char* isa;
  bool fast_halves;  // converts half precision by vectors
  // out = max(x, 0)
  void (*relu_u8)(const int8_t* x, int64_t n, uint8_t* out);
  // out = relu ? max(x, 0) : x, as float
  void (*to_float)(const int8_t* x, int64_t n, bool relu, float* out);
  // out = x, or out += x with `accumulate`; x are integers that an int32 holds.
  void (*add_floats)(const float* x, int64_t n, bool accumulate, int32_t* out);
  // to_float as bfloat16, which holds every code exactly.
  void (*to_bf16)(const int8_t* x, int64_t n, bool relu, uint16_t* out);
  // Rounds to nearest, ties to even, 0 where the mask (nullable) has a 0; no NaN may be among x.
  void (*floats_to_bf16)(const float* x, const uint8_t* mask, int64_t n, uint16_t* out);
  // Per position of the period: sums of v, v^2, minimum, maximum. n is a multiple of C, not
  // necessarily of P. sum, sum_squares: [P] double, added to; min, max: [P], updated.
  // With `halves` (nullable), halves = v * down in half precision.
  void (*stats)(const int32_t* v, int64_t n, int period, double* sum, double* sum_squares,
                int32_t* min, int32_t* max, float down, uint16_t* halves);
  RawPasses<int32_t> ints;
  RawPasses<uint16_t> halves;
  // The same of integers that are there as floats.
  void (*stats_floats)(const float* v, int64_t n, int period, double* sum, double* sum_squares,
                       int32_t* min, int32_t* max, float down, uint16_t* halves);
  QuantizePass<float> quantize_floats;
  // Clears the bits of codes that are not above 0.
  void (*mask_relu)(const int8_t* codes, int64_t n, uint8_t* mask);
  // max |sum_k part_k << shift_k| over n elements, and the sum's codes rounded from `shift`; parts
  // 1 or 2 (y null).
  int32_t (*sum_max)(const int8_t* x, int x_shift, bool x_relu, const int8_t* y, int y_shift,
                     bool y_relu, int64_t n);
  void (*sum_codes)(const int8_t* x, int x_shift, bool x_relu, const int8_t* y, int y_shift,
                    bool y_relu, int64_t n, int shift, int low, int high, int8_t* codes,
                    uint8_t* mask);
  // gx (+)= mask * (relu ? x > 0 : 1) * g * scale; mask nullable.
  void (*pass_grad)(const float* g, float scale, const int8_t* x, bool relu, const uint8_t* mask,
                    int64_t n, bool accumulate, float* gx);
  // gx[p * c + i] (+)= g[p * step + i] over p < pixels, i < c.
  void (*pass_slice)(const float* g, int64_t pixels, int64_t step, int c, bool accumulate,
                     float* gx);

  // --- pools ---
  // out[p * c + i] = max(floor, x[p * pixel_step + t * tap_step + i] over t < taps), i < c
  void (*max_windows)(const int8_t* x, int taps, int64_t tap_step, int64_t pixels,
                      int64_t pixel_step, int64_t c, int8_t floor, int8_t* out);
  // Where x > best, or arg is still kNoTap: best = x, arg = tap.
  void (*first_max)(const int8_t* x, int64_t n, uint8_t tap, int8_t* best, uint8_t* arg);
  // gx += g where arg is this tap.
  void (*route_grad)(const float* g, const uint8_t* arg, uint8_t tap, int64_t n, float* gx);
  // sums += relu ? max(x, 0) : x
  void (*add_codes)(const int8_t* x, int64_t n, bool relu, int16_t* sums);
  // out[p * c + i] = sum of x[p * pixel_step + t * tap_step + i] over t < taps, i < c
  void (*sum_windows)(const int16_t* x, int taps, int64_t tap_step, int64_t pixels,
                      int64_t pixel_step, int64_t c, int16_t* out);
  void (*widen_codes)(const int8_t* x, int64_t n, int32_t* out);
  // out = sums / taps, rounded to nearest, ties to even; |sums| <= 128 * taps.
  void (*average_sums)(const int16_t* sums, int64_t n, int taps, int32_t* out);
  // sums[c] = sum over the pixels of x, or of max(x, 0)
  void (*sum_pixels)(const int8_t* x, int64_t pixels, int64_t c, bool relu, int32_t* sums);
  // out[p * step + i] = x[p * c + i], i < c: one part of a concatenation
  void (*copy_pixels)(const int8_t* x, int64_t pixels, int64_t c, int64_t step, int8_t* out);
};

// body(passes, accumulators at element `at`) of the map's type.
template <typename Body>
void WithRaw(const Elementwise& ops, const RawMap& raw, int64_t at, const Body& body) {
  if (raw.type == RawType::kHalf) {
    body(ops.halves, raw.As<const uint16_t>() + at);
  } else {
    body(ops.ints, raw.As<const int32_t>() + at);
  }
}

// The best table for this machine.
const Elementwise& GetElementwise();
// A given one ("generic", "avx2", "avx512"); null if this machine or build lacks it. For tests.
const Elementwise* GetElementwise(const char* isa);

}  // namespace ftt::cpu
