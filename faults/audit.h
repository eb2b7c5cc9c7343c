// What a run asked for against what it delivered.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/statistics.h"
#include "faults/inject.h"

namespace ftt {

// One term of the specification on the sites that share a kind and, for rates per multiply-add, a
// probability.
struct AuditRow {
  int term = 0;
  std::string model;
  std::string sites;     // e.g. "conv, M=27"
  double requested = 0;  // probability of a unit (see TermCounts); NaN for gauss-weight
  double expected = 0;   // faults
  double achieved = 0;   // delivered / exposed
  Interval interval;     // 95 %, Wilson, of the achieved rate
  TermCounts counts;
};

class FaultAudit {
 public:
  // images: per trial or step. Images under one permanent fault map repeat the same faults; the
  // intervals count these once.
  FaultAudit(FaultSpec spec, int64_t images);

  // Adds what one site got, summed over any number of trials.
  void Add(const FaultSite& site, const FaultCounts& counts);

  std::vector<AuditRow> Rows() const;
  // A text table for people: one line per row, then the histogram over bits. Empty without faults.
  std::string Table() const;
  // For each term with a rate above zero that delivered nothing, a line that says so; else empty.
  std::string Warning() const;

 private:
  struct Group {
    AuditRow row;
    SiteKind kind;
    int64_t macs;
    int64_t repeats;  // times that one draw is seen in the counts
    int sites;
  };
  Group& Find(int term, const FaultSite& site);

  FaultSpec spec_;
  int64_t images_;
  std::vector<Group> groups_;
};

}  // namespace ftt
