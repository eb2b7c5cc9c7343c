// The list of fault models. To add one: write faults/models/NAME.h with a struct that has `Info()`
// and `Apply()`, include it here and append it to FTT_FAULT_MODELS. Append only: the place in the
// list is part of a fault's address.
#pragma once

#include "faults/models/adsaf.h"
#include "faults/models/gauss_weight.h"
#include "faults/models/ibf.h"
#include "faults/models/lane_stuck.h"
#include "faults/models/mibb.h"
#include "faults/models/stuck_feature.h"

#define FTT_FAULT_MODELS(X) \
  X(Mibb)                   \
  X(IbfFeature)             \
  X(IbfWeight)              \
  X(Adsaf)                  \
  X(AdsafBit)               \
  X(StuckFeature)           \
  X(GaussWeight)            \
  X(LaneStuck)

namespace ftt {

enum class FaultModelId : uint8_t {
#define FTT_FAULT_ENUM(Model) k##Model,
  FTT_FAULT_MODELS(FTT_FAULT_ENUM)
#undef FTT_FAULT_ENUM
};

// Which models code is for: all of them, those that hit features or weights, and of the features'
// those with at most one fault a code (the only ones that are drawn ahead of a pass).
enum class FaultUse : uint8_t { kAny, kFeatures, kOneFault, kWeights };

template <typename Model, FaultUse kUse>
inline constexpr bool kModelIsUsed = kUse == FaultUse::kAny ||
                                     (kUse == FaultUse::kWeights
                                          ? (Model::Info().sites & kWeightSites) != 0
                                          : (Model::Info().sites & kFeatureSites) != 0 &&
                                                (kUse == FaultUse::kFeatures ||
                                                 Model::Info().one_fault));

template <FaultUse kUse, FaultStyle kStyle>
inline constexpr bool kStyleIsUsed =
#define FTT_FAULT_STYLE(Model) (kModelIsUsed<Model, kUse> && Model::Info().style == kStyle) ||
    FTT_FAULT_MODELS(FTT_FAULT_STYLE) false;
#undef FTT_FAULT_STYLE

// ApplyFault of a step that is known to be of such a use: no code for the other models.
template <FaultUse kUse>
FTT_HD inline FaultEffect ApplyFaultOf(const FaultStep& step, int code, FaultHit hit) {
  switch (static_cast<FaultModelId>(step.model)) {
#define FTT_FAULT_CASE(Model)                                                      \
  case FaultModelId::k##Model:                                                     \
    if constexpr (kModelIsUsed<Model, kUse>) return Model::Apply(step, code, hit); \
    break;
    FTT_FAULT_MODELS(FTT_FAULT_CASE)
#undef FTT_FAULT_CASE
  }
  return {code, false};
}

// What the hit does to a code; the one dispatch that host and device share.
FTT_HD inline FaultEffect ApplyFault(const FaultStep& step, int code, FaultHit hit) {
  return ApplyFaultOf<FaultUse::kAny>(step, code, hit);
}

}  // namespace ftt
