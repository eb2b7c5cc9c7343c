// Applies planned faults to codes.
#pragma once

#include <cstdint>

#include "faults/plan.h"

namespace ftt {

class FaultRecorder;  // faults/fault_list.h

// When the faults strike.
struct FaultMoment {
  uint32_t trial = 0;     // or training step
  bool training = false;  // intermittent faults then last one step, not one window of images
};

// What was delivered. Units: elements for mibb, stuck-feature and gauss-weight, bits for ibf-*,
// cells for adsaf*, columns of the array for lane-stuck. All are sums, so the order of adding does
// not matter.
struct TermCounts {
  uint64_t exposed = 0;    // units that could be hit
  uint64_t delivered = 0;  // units hit, changed or not (gauss-weight: codes changed)
  uint64_t bit[8] = {};    // delivered by bit; adsaf: 0 positive, 1 negative array
  uint64_t positive = 0;   // + bias, or stuck at one; flips: all
  uint64_t negative = 0;   // - bias, or stuck at zero
  void Merge(const TermCounts& other);
};

struct FaultCounts : TermCounts {   // sum over terms
  TermCounts term[kMaxFaultTerms];  // by ordinal in the specification
  void Merge(const FaultCounts& other);
  void Add(int ordinal, const TermCounts& counts);  // to the term and to the sum
};

// Faults of one image at one feature site, in place.
// image: index in the data set. codes: [elements] in NHWC order without padding, elements =
// h*w*channels. pass_mask: nullable; bit i%8 of byte i/8 is cleared where a bias saturated code i
// (set bits let the gradient pass; bits are never set). counts, recorder: nullable; added to. Safe
// to call from several threads on different codes, masks and counts; one recorder may be shared.
void InjectFeature(const SiteFaults& faults, FaultMoment moment, uint32_t image, int8_t* codes,
                   int64_t elements, int channels, uint8_t* pass_mask, FaultCounts* counts,
                   FaultRecorder* recorder);

// Faults of one weight tensor, in place; codes: [n] in [out_c][k][k][in_c / groups] order. Weights
// are hit once per trial (evaluation) or step (training) whatever the lifetime. moved_mask:
// nullable, 1 byte per weight; set to 1 where the weight gets no gradient (adsaf moved it,
// adsaf-bit moved it by more than 8 codes), otherwise left alone.
void InjectWeights(const SiteFaults& faults, FaultMoment moment, int8_t* codes, int64_t n,
                   uint8_t* moved_mask, FaultCounts* counts, FaultRecorder* recorder);

// Bit biases of the classifier's outputs (mibb with sites=conv,linear). logits: [n] of one image. A
// logit that is hit is read as a code with the exponent that the image's largest logit gives,
// biased, and written back; others stay as they are.
void InjectLogits(const SiteFaults& faults, FaultMoment moment, uint32_t image, float* logits,
                  int n, FaultCounts* counts, FaultRecorder* recorder);

// The same maps by plain loops, one block at a time: the oracles of the functions above.
void InjectFeatureRef(const SiteFaults& faults, FaultMoment moment, uint32_t image, int8_t* codes,
                      int64_t elements, int channels, uint8_t* pass_mask, FaultCounts* counts,
                      FaultRecorder* recorder);
void InjectWeightsRef(const SiteFaults& faults, FaultMoment moment, int8_t* codes, int64_t n,
                      uint8_t* moved_mask, FaultCounts* counts, FaultRecorder* recorder);

}  // namespace ftt
