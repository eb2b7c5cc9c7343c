// From a specification to what each site of a network suffers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "faults/models.h"
#include "faults/spec.h"
#include "faults/step.h"

namespace ftt {

// A place where faults can strike: a feature map (one image's codes) or a weight tensor.
struct FaultSite {
  int id = 0;  // unique among all sites of a network, [0, 65534]
  std::string name;
  SiteKind kind = SiteKind::kConv;
  int64_t macs = 0;  // multiply-adds per output element; needed by mibb
  int h = 0, w = 0, c = 0;
  int64_t elements = 0;  // of one image, or of the weight tensor
};

struct FaultRow;  // faults/fault_list.h

// The faults of one site, in the order of the specification. Copies share their tables.
struct SiteFaults {
  std::vector<FaultStep> steps;
  std::vector<std::shared_ptr<const void>> tables;  // keeps alive what the steps point into
  int site = 0;
  // Replay: these rows (sorted by trial, image, element, term, cell) are applied instead of steps.
  std::shared_ptr<const std::vector<FaultRow>> replay;
  int bits = 8;

  bool Empty() const { return steps.empty() && replay == nullptr; }
};

// bits: of a code, 4..8. Terms whose model has no business at the site, and terms of rate 0, give
// no step. max_rate: the highest rate of a sweep that this plan is part of; it decides the sampler,
// so that all rates of the sweep use one and stay nested. Below the term's own rate it has no
// effect. Throws ftt::Error where a rate is below the resolution of the sampler at this site, a key
// does not fit the bits, or the site is too large to be addressed.
SiteFaults PlanSite(const FaultSpec& spec, const FaultSite& site, int bits, uint64_t seed,
                    double max_rate = 0);

// Probability that a unit of the site (element, bit, cell or column: what FaultCounts::exposed
// counts) is hit; 0 where the model has no business there. NaN for models without a probability
// (gauss-weight).
double UnitProbability(const FaultTerm& term, const FaultSite& site);

}  // namespace ftt
