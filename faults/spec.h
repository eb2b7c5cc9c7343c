// Fault specifications: NAME:RATE[,key=value...], several joined by '+'.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "faults/step.h"

namespace ftt {

enum class SamplerChoice : uint8_t { kAuto, kDense, kSparse };

inline constexpr int kMaxFaultTerms = 4;

struct FaultTerm {
  uint8_t model = 0;  // FaultModelId
  double rate =
      0;  // [0, 1]; unit in the model's help (mibb: per multiply-add; gauss-weight: sigma)
  Lifetime lifetime = Lifetime::kTransient;
  SamplerChoice sampler = SamplerChoice::kAuto;
  uint32_t window = 64;      // images that share intermittent faults in evaluation, >= 1
  bool linear = false;       // sites=conv,linear: also the classifier's outputs
  double saf1 = 0.163;       // share of stuck cells that are stuck at one, [0, 1]
  int bit = -1;              // only this bit, 0..7; -1: any
  int value = -1;            // stuck at this value; -1: either, with equal probability
  int rows = 16, cols = 16;  // systolic array, [1, 4096]
  ColumnMode column_mode = ColumnMode::kZero;

  std::string Text()
      const;  // canonical: keys that differ from the model's defaults, in a fixed order
};

struct FaultSpec {
  std::vector<FaultTerm> terms;

  bool Empty() const { return terms.empty(); }
  std::string Text()
      const;  // "none" when empty; ParseFaultSpec(Text()) gives the same specification
};

// Throws ftt::Error on an unknown model or key, a bad number, a rate outside [0, 1] or below the
// resolution. "" and "none" are the empty specification.
FaultSpec ParseFaultSpec(const std::string& text);

// Whether one of its models strikes weights.
bool StrikesWeights(const FaultSpec& spec);

// The models with their rates, lifetimes and keys, for --help.
std::string FaultHelpText();

}  // namespace ftt
