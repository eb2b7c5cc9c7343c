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

// What the hit does to a code; the one dispatch that host and device share.
FTT_HD inline FaultEffect ApplyFault(const FaultStep& step, int code, FaultHit hit) {
  switch (static_cast<FaultModelId>(step.model)) {
#define FTT_FAULT_CASE(Model)  \
  case FaultModelId::k##Model: \
    return Model::Apply(step, code, hit);
    FTT_FAULT_MODELS(FTT_FAULT_CASE)
#undef FTT_FAULT_CASE
  }
  return {code, false};
}

}  // namespace ftt
