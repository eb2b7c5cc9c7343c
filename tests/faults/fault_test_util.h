// Sites, runs and statistics that the fault tests share.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "core/statistics.h"
#include "faults/fault_list.h"
#include "faults/inject.h"
#include "faults/model_list.h"

namespace ftt {

inline FaultSite FeatureSite(int64_t elements, int channels = 1, int64_t macs = 1, int id = 5) {
  FaultSite site;
  site.id = id;
  site.name = "cell0.conv";
  site.kind = SiteKind::kConv;
  site.macs = macs;
  site.h = 1;
  site.w = static_cast<int>(elements / channels);
  site.c = channels;
  site.elements = elements;
  return site;
}

inline FaultSite WeightSite(int64_t elements, int id = 0x8005) {
  FaultSite site = FeatureSite(elements, 1, 0, id);
  site.name = "cell0.conv.weight";
  site.kind = SiteKind::kConvWeight;
  return site;
}

inline bool IsWeightModel(const std::string& spec) {
  return spec.find("weight") != std::string::npos || spec.find("adsaf") != std::string::npos;
}

inline FaultSite SiteFor(const std::string& spec, int64_t elements) {
  return IsWeightModel(spec) ? WeightSite(elements) : FeatureSite(elements);
}

inline SiteFaults Plan(const std::string& spec, const FaultSite& site, uint64_t seed = 1,
                       int bits = 8) {
  return PlanSite(ParseFaultSpec(spec), site, bits, seed);
}

// Codes of all values within the bits, in a fixed mixed order.
inline std::vector<int8_t> MixedCodes(int64_t n, int bits = 8) {
  std::vector<int8_t> codes(static_cast<size_t>(n));
  const int levels = 1 << bits;
  for (size_t i = 0; i < codes.size(); ++i) {
    codes[i] = static_cast<int8_t>(
        static_cast<int>((i * 37 + i / 256) % static_cast<size_t>(levels)) - levels / 2);
  }
  return codes;
}

// Injects as the site asks for: features or weights.
inline void Inject(const SiteFaults& faults, const FaultSite& site, FaultMoment moment,
                   uint32_t image, std::vector<int8_t>& codes, FaultCounts* counts = nullptr,
                   FaultRecorder* recorder = nullptr) {
  const auto n = static_cast<int64_t>(codes.size());
  if ((SiteBit(site.kind) & kWeightSites) != 0) {
    InjectWeights(faults, moment, codes.data(), n, nullptr, counts, recorder);
  } else {
    InjectFeature(faults, moment, image, codes.data(), n, site.c, nullptr, counts, recorder);
  }
}

// The faults of one moment, as rows.
inline std::vector<FaultRow> RowsOf(const SiteFaults& faults, const FaultSite& site,
                                    FaultMoment moment = {}, uint32_t image = 0) {
  std::vector<int8_t> codes(static_cast<size_t>(site.elements));
  FaultRecorder recorder;
  Inject(faults, site, moment, image, codes, nullptr, &recorder);
  return recorder.TakeSorted();
}

// P(a chi-square variable is at least this large) for counts against expected shares.
inline double ChiSquareTail(const std::vector<double>& counts, const std::vector<double>& shares) {
  double total = 0, chi = 0;
  for (const double c : counts) total += c;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double expected = total * shares[i];
    chi += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  return 1 - ChiSquareCdf(chi, static_cast<double>(counts.size()) - 1);
}

inline double UniformTail(const std::vector<double>& counts) {
  return ChiSquareTail(
      counts, std::vector<double>(counts.size(), 1.0 / static_cast<double>(counts.size())));
}

}  // namespace ftt
