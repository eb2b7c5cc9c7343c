// A fault specification whose rates are left open, and the rates of a sweep.
#pragma once

#include <string>
#include <vector>

#include "faults/spec.h"

namespace ftt {

class FaultCurve {
 public:
  // NAME[,key=value...], several joined by '+', where NAME alone or NAME:* leaves the rate open and
  // NAME:RATE fixes it, as in "mibb" and "mibb:*+adsaf:0.04". Throws ftt::Error on what
  // ParseFaultSpec rejects.
  explicit FaultCurve(const std::string& text);

  bool Open() const { return open_count_ > 0; }
  // Every open rate set to `rate`; throws ftt::Error where a model does not take it.
  FaultSpec At(double rate) const;
  // Canonical: open rates as '*', e.g. "mibb:*".
  const std::string& Text() const { return text_; }
  // Rate of the first open term of the specification, else of the first term.
  double RateOf(const FaultSpec& spec) const;

 private:
  FaultSpec spec_;  // open terms carry a rate of 1
  std::vector<char> open_;
  int open_count_ = 0;
  std::string text_;
};

// "1e-6,1e-5,3e-5" as a list, "1e-6:1e-3:log10" one rate a decade, "1e-6:1e-3:log10/3" three a
// decade, "0.02:0.1:lin5" five evenly spaced ones; rates in ascending order, each once, computed
// ones rounded to 3 digits. Throws ftt::Error with the option's name.
std::vector<double> ParseRates(const std::string& text, const std::string& option);

}  // namespace ftt
