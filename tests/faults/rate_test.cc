// Delivered rates, and the distribution over bits, signs and places.
#include <fmt/core.h>

#include <bit>
#include <cmath>

#include "core/statistics.h"
#include "tests/faults/fault_test_util.h"

namespace ftt {
namespace {

struct RateCase {
  const char* model;  // with keys after the rate in `keys`
  const char* keys;
};

class Rates : public testing::TestWithParam<RateCase> {};

// Injects into as many images or trials as give `wanted` faults when an element has
// `expected_per_call / elements`.
FaultCounts CountFaults(const std::string& spec, const FaultSite& site, double expected_per_call,
                        double wanted, int bits) {
  const SiteFaults faults = Plan(spec, site, 20, bits);
  if (!faults.steps[0].one_fault) expected_per_call *= faults.steps[0].valid_count;
  FaultCounts counts;
  std::vector<int8_t> codes(static_cast<size_t>(site.elements));
  const auto calls = static_cast<uint32_t>(std::ceil(wanted / expected_per_call));
  for (uint32_t i = 0; i < calls; ++i) Inject(faults, site, {.trial = i}, i, codes, &counts);
  return counts;
}

TEST_P(Rates, DeliveredWithinTheInterval) {
  for (const double rate : {1e-6, 1e-4, 1e-2, 0.2}) {
    const std::string spec = fmt::format("{}:{}{}", GetParam().model, rate, GetParam().keys);
    const bool array = spec.find("lane-stuck") == 0;
    const int64_t elements = array ? 4096 : int64_t{1} << 20;
    FaultSite site = SiteFor(spec, elements);
    if (array) site.c = 4096;
    const double p = UnitProbability(ParseFaultSpec(spec).terms[0], site);
    const FaultCounts counts = CountFaults(spec, site, p * static_cast<double>(elements), 150, 8);
    const Interval interval = WilsonInterval(static_cast<int64_t>(counts.delivered),
                                             static_cast<int64_t>(counts.exposed), 0.999);
    EXPECT_TRUE(interval.Contains(p))
        << spec << ": " << counts.delivered << " of " << counts.exposed << ", p = " << p;
    EXPECT_GT(counts.delivered, 80u) << spec;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, Rates,
    testing::Values(
        RateCase{"mibb", ",sampler=sparse"}, RateCase{"mibb", ",sampler=dense"},
        RateCase{"ibf-feature", ",sampler=sparse"}, RateCase{"ibf-feature", ",sampler=dense"},
        RateCase{"ibf-weight", ",sampler=sparse"}, RateCase{"ibf-weight", ",sampler=dense"},
        RateCase{"adsaf", ",sampler=sparse"}, RateCase{"adsaf", ",sampler=dense"},
        RateCase{"adsaf-bit", ",sampler=sparse"}, RateCase{"adsaf-bit", ",sampler=dense"},
        RateCase{"stuck-feature", ",sampler=sparse"}, RateCase{"stuck-feature", ",sampler=dense"},
        RateCase{"stuck-feature", ",bit=3,value=1"}, RateCase{"mibb", ",bit=6"},
        RateCase{"lane-stuck", ",cols=4096"}, RateCase{"mibb", ""}));

TEST(FaultRates, MacsRaiseTheRateOfBiases) {
  const FaultSite site = FeatureSite(1 << 20, 1, 576);
  const double p = 1 - std::pow(1 - 1e-4, 576);
  EXPECT_NEAR(UnitProbability(ParseFaultSpec("mibb:1e-4").terms[0], site), p, 1e-12);
  const FaultCounts counts = CountFaults("mibb:1e-4", site, 1e3, 1e3, 8);
  EXPECT_TRUE(WilsonInterval(static_cast<int64_t>(counts.delivered),
                             static_cast<int64_t>(counts.exposed), 0.999)
                  .Contains(p));
}

// Bits (and signs, where a model has them) are uniform: every width, both samplers.
TEST(FaultRates, BitsAndSignsAreUniform) {
  for (const char* model : {"mibb", "stuck-feature", "ibf-feature", "ibf-weight"}) {
    for (const char* sampler : {"sparse", "dense"}) {
      for (const int bits : {4, 5, 6, 8}) {
        const std::string spec = fmt::format("{}:0.02,sampler={}", model, sampler);
        const FaultSite site = SiteFor(spec, 1 << 19);
        const FaultCounts counts = CountFaults(spec, site, 1, 1, bits);
        const std::vector<double> used(counts.bit, counts.bit + bits);
        EXPECT_GT(UniformTail(used), 1e-3) << spec << " bits " << bits;
        for (int k = bits; k < 8; ++k) EXPECT_EQ(counts.bit[k], 0u) << spec << " bits " << bits;
        if (spec[0] == 'i') continue;
        EXPECT_GT(UniformTail(
                      {static_cast<double>(counts.positive), static_cast<double>(counts.negative)}),
                  1e-3)
            << spec << " bits " << bits;
        const double p = UnitProbability(ParseFaultSpec(spec).terms[0], site);
        EXPECT_TRUE(WilsonInterval(static_cast<int64_t>(counts.delivered),
                                   static_cast<int64_t>(counts.exposed), 0.999)
                        .Contains(p))
            << spec << " bits " << bits;
      }
    }
  }
}

// Bit and sign are independent of each other and of the place.
TEST(FaultRates, BitAndSignAreIndependent) {
  for (const char* sampler : {"sparse", "dense"}) {
    const std::string spec = fmt::format("mibb:0.05,sampler={}", sampler);
    const FaultSite site = FeatureSite(1 << 20);
    std::vector<double> joint(16 * 4);
    for (const FaultRow& row : RowsOf(Plan(spec, site), site)) {
      joint[static_cast<size_t>(row.cell + 8 * row.value) * 4 + row.element % 4] += 1;
    }
    EXPECT_GT(UniformTail(joint), 1e-3) << spec;
  }
}

// Sites of an i.i.d. process: uniform places, geometric gaps. The same test for both samplers says
// that they have the same distribution.
TEST(FaultRates, PlacesAreUniformAndGapsGeometric) {
  constexpr double kP = 0.03;
  for (const char* sampler : {"sparse", "dense"}) {
    const std::string spec = fmt::format("mibb:{},sampler={}", kP, sampler);
    const FaultSite site = FeatureSite(1 << 20);
    std::vector<double> in_tile(64), over_all(64), gaps(40), shares(40);
    double left = 1;
    for (size_t g = 0; g + 1 < gaps.size(); ++g)
      shares[g] = left * (1 - std::pow(1 - kP, 3)), left -= shares[g];
    shares.back() = left;
    int64_t last = -1;
    for (const FaultRow& row : RowsOf(Plan(spec, site), site)) {
      in_tile[row.element % 1024 / 16] += 1;
      over_all[row.element >> 14] += 1;
      const auto gap = static_cast<size_t>(row.element - last - 1);
      gaps[std::min(gap / 3, gaps.size() - 1)] += 1;
      last = row.element;
    }
    EXPECT_GT(UniformTail(in_tile), 1e-3) << sampler;
    EXPECT_GT(UniformTail(over_all), 1e-3) << sampler;
    EXPECT_GT(ChiSquareTail(gaps, shares), 1e-3) << sampler;
  }
}

// The number of faults of a tile is binomial: a Poisson process with replacement, thinned to
// distinct cells.
TEST(FaultRates, TileCountsAreBinomial) {
  for (const char* sampler : {"sparse", "dense"}) {
    const FaultSite site = FeatureSite(1 << 20);
    std::vector<double> per_tile(1 << 10);
    for (const FaultRow& row :
         RowsOf(Plan(fmt::format("mibb:0.3,sampler={}", sampler), site), site)) {
      per_tile[row.element >> 10] += 1;
    }
    double mean = 0, variance = 0;
    for (const double n : per_tile) mean += n / 1024;
    for (const double n : per_tile) variance += (n - mean) * (n - mean) / 1023;
    EXPECT_NEAR(mean, 1024 * 0.3, 4 * std::sqrt(1024 * 0.21 / 1024)) << sampler;
    EXPECT_NEAR(variance / (1024 * 0.21), 1, 4 * std::sqrt(2.0 / 1024)) << sampler;
  }
}

// Both flips of a bit pair happen as often as independence says.
TEST(FaultRates, FlipsOfOneCodeAreIndependent) {
  for (const char* sampler : {"sparse", "dense"}) {
    const FaultSite site = FeatureSite(1 << 20);
    std::vector<int8_t> codes(static_cast<size_t>(site.elements));
    Inject(Plan(fmt::format("ibf-feature:0.1,sampler={}", sampler), site), site, {}, 0, codes);
    std::vector<double> by_count(6), shares(6);
    for (const int8_t code : codes)
      by_count[static_cast<size_t>(std::min(5, std::popcount(static_cast<uint8_t>(code))))] += 1;
    double choose = 1, left = 1;
    for (int k = 0; k < 5; ++k) {
      shares[static_cast<size_t>(k)] = choose * std::pow(0.1, k) * std::pow(0.9, 8 - k);
      left -= shares[static_cast<size_t>(k)];
      choose = choose * (8 - k) / (k + 1);
    }
    shares[5] = left;
    EXPECT_GT(ChiSquareTail(by_count, shares), 1e-3) << sampler;
  }
}

TEST(FaultRates, StuckCellsSplitAsAsked) {
  for (const char* model : {"adsaf", "adsaf-bit"}) {
    for (const char* sampler : {"sparse", "dense"}) {
      for (const double saf1 : {0.163, 0.0, 1.0, 0.5}) {
        const std::string spec = fmt::format("{}:0.1,saf1={},sampler={}", model, saf1, sampler);
        const FaultCounts counts = CountFaults(spec, WeightSite(1 << 17), 1, 1, 8);
        EXPECT_TRUE(WilsonInterval(static_cast<int64_t>(counts.positive),
                                   static_cast<int64_t>(counts.delivered), 0.999)
                        .Contains(saf1))
            << spec << " " << counts.positive << " of " << counts.delivered;
        if (saf1 == 0) {
          EXPECT_EQ(counts.positive, 0u);
        }
        if (saf1 == 1) {
          EXPECT_EQ(counts.negative, 0u);
        }
      }
    }
  }
}

TEST(FaultRates, GaussWeightHasTheRightMeanAndVariance) {
  const FaultSite site = WeightSite(1 << 20);
  const SiteFaults faults = Plan("gauss-weight:0.1", site);
  std::vector<int8_t> codes(static_cast<size_t>(site.elements), 60);
  Inject(faults, site, {}, 0, codes);
  double sum = 0, squares = 0, fourth = 0;
  for (const int8_t code : codes) {
    const double d = code - 60;
    sum += d;
    squares += d * d;
    fourth += d * d * d * d;
  }
  const auto n = static_cast<double>(codes.size());
  const double variance = 36 + 1.0 / 12;  // sigma * 60 squared, and the rounding
  EXPECT_NEAR(sum / n, 0, 4 * 6 / std::sqrt(n));
  EXPECT_NEAR(squares / n / variance, 1, 4 * std::sqrt(2 / n));
  EXPECT_NEAR(fourth / n / (3 * variance * variance), 1, 0.03);
}

}  // namespace
}  // namespace ftt
