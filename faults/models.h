// What a fault model tells the parser and the planner about itself. The models are listed in
// faults/model_list.h.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "faults/step.h"

namespace ftt {

enum class SiteKind : uint8_t {
  kInput,  // features: the input image and the output of each op
  kConv,
  kPool,
  kAdd,
  kConcat,
  kGlobalPool,
  kConvWeight,  // weights
  kLinearWeight,
  kLogits,  // output of the classifier (float)
};

inline constexpr uint32_t SiteBit(SiteKind kind) { return 1u << static_cast<uint32_t>(kind); }
inline constexpr uint32_t kFeatureSites =
    SiteBit(SiteKind::kInput) | SiteBit(SiteKind::kConv) | SiteBit(SiteKind::kPool) |
    SiteBit(SiteKind::kAdd) | SiteBit(SiteKind::kConcat) | SiteBit(SiteKind::kGlobalPool);
inline constexpr uint32_t kWeightSites =
    SiteBit(SiteKind::kConvWeight) | SiteBit(SiteKind::kLinearWeight);
const char* SiteKindName(SiteKind kind);

// Keys of a specification that only some models take; lifetime, sampler and window belong to all.
enum FaultKey : uint32_t {
  kKeySites = 1,   // sites=conv|conv,linear
  kKeySaf1 = 2,    // saf1=SHARE of stuck cells that are stuck at one
  kKeyBit = 4,     // bit=K: only this bit
  kKeyValue = 8,   // value=0|1: stuck at this value only
  kKeyColumn = 16  // rows=, cols=, mode=zero|max|bit
};

struct FaultModelInfo {
  std::string_view name;
  Lifetime lifetime;  // default
  uint32_t sites;     // SiteBit mask
  FaultStyle style = FaultStyle::kCells;
  int cells_log2 = 0;      // addressable cells of a code
  bool one_fault = false;  // at most one fault per code
  bool per_mac = false;    // the rate is per multiply-add
  bool typed = false;      // hits carry a type other than a fair coin (stuck at one or zero)
  int mask_above = 255;    // see FaultStep
  uint32_t keys = 0;       // FaultKey mask
  uint32_t (*valid_cells)(int bits) = nullptr;
  std::string_view rate_help;
  std::string_view help;
};

// In the order of FaultModelId.
const std::vector<FaultModelInfo>& FaultModels();

inline constexpr uint32_t AllBits(int bits) { return (1u << bits) - 1; }

}  // namespace ftt
