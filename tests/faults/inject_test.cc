// What injection does to codes: against the oracle, and the rules of semantics sections 3 and 4.
#include "faults/inject.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "core/error.h"
#include "faults/bias_strikes.h"
#include "tests/faults/fault_test_util.h"

namespace ftt {
namespace {

constexpr int64_t kOddSizes[] = {1, 3, 1023, 1025, 7 * 7 * 17, 20480};

struct Outcome {
  std::vector<int8_t> codes;
  std::vector<uint8_t> pass, moved;
  FaultCounts counts;
  std::vector<FaultRow> rows;
};

enum class Path { kFast, kRecorded, kOracle };

Outcome RunPath(const SiteFaults& faults, const FaultSite& site, int bits, Path path) {
  Outcome o;
  o.codes = MixedCodes(site.elements, bits);
  o.pass.assign(static_cast<size_t>(site.elements + 7) / 8, 0xFF);
  o.moved.assign(o.codes.size(), 0);
  FaultRecorder recorder;
  FaultRecorder* record = path == Path::kFast ? nullptr : &recorder;
  const bool oracle = path == Path::kOracle;
  const FaultMoment moment{.trial = 3};
  if ((SiteBit(site.kind) & kWeightSites) != 0) {
    (oracle ? InjectWeightsRef : InjectWeights)(faults, moment, o.codes.data(), site.elements,
                                                o.moved.data(), &o.counts, record);
  } else {
    (oracle ? InjectFeatureRef : InjectFeature)(faults, moment, 77, o.codes.data(), site.elements,
                                                site.c, o.pass.data(), &o.counts, record);
  }
  o.rows = recorder.TakeSorted();
  return o;
}

class AllSpecs : public testing::TestWithParam<const char*> {};

TEST_P(AllSpecs, EqualsTheOracleBitForBit) {
  for (const int64_t n : kOddSizes) {
    for (const int bits : {8, 5, 4}) {
      const std::string spec = GetParam();
      FaultSite site = SiteFor(spec, n);
      if (n % 17 == 0) site.c = 17;
      if (n % 32 == 0) site.c = 32;
      const SiteFaults faults = Plan(spec, site, 0x123456789ABCDEFu, bits);
      const Outcome fast = RunPath(faults, site, bits, Path::kFast);
      const Outcome recorded = RunPath(faults, site, bits, Path::kRecorded);
      const Outcome oracle = RunPath(faults, site, bits, Path::kOracle);
      const std::string where = fmt::format("{} n={} bits={}", spec, n, bits);
      ASSERT_EQ(fast.codes, oracle.codes) << where;
      ASSERT_EQ(fast.pass, oracle.pass) << where;
      ASSERT_EQ(fast.moved, oracle.moved) << where;
      ASSERT_EQ(std::memcmp(&fast.counts, &oracle.counts, sizeof(FaultCounts)), 0) << where;
      ASSERT_EQ(recorded.codes, oracle.codes) << where;
      ASSERT_EQ(recorded.pass, oracle.pass) << where;
      ASSERT_EQ(std::memcmp(&recorded.counts, &oracle.counts, sizeof(FaultCounts)), 0) << where;
      ASSERT_EQ(recorded.rows, oracle.rows) << where;
      if (n == 20480) {
        EXPECT_GT(oracle.counts.delivered, 0u) << where;
      }
      for (const int8_t code : fast.codes)
        ASSERT_TRUE(code >= -(1 << (bits - 1)) && code < 1 << (bits - 1)) << where;
    }
  }
}

// Chunks of 64 tiles at low rates, of fewer at high ones; the last tile whole or not.
TEST(BiasStrikes, EqualTheOracleBitForBit) {
  if (!CanStrikeBiases(Plan("mibb:0.002", FeatureSite(1)).steps.at(0)))
    GTEST_SKIP() << "this CPU has no AVX2";
  for (const char* spec : {"mibb:1e-5", "mibb:0.002", "mibb:0.05", "mibb:0.4,sampler=sparse",
                           "mibb:0.99,sampler=sparse"}) {
    for (const int64_t n :
         {1, 1023, 1024, 1025, 833, 20480, 64 * 1024, 64 * 1024 + 5, 130 * 1024}) {
      const FaultSite site = FeatureSite(n);
      const SiteFaults faults = Plan(spec, site, 99);
      const FaultStep& step = faults.steps.at(0);
      ASSERT_TRUE(CanStrikeBiases(step)) << spec;
      const Outcome oracle = RunPath(faults, site, 8, Path::kOracle);
      const PhiloxBatch batch{FaultWord1(step, 77, false), 3, step.word3, step.key0, step.key1};
      for (const bool masked : {false, true}) {
        std::vector<int8_t> codes = MixedCodes(n, 8);
        std::vector<uint8_t> pass(static_cast<size_t>(n + 7) / 8, 0xFF);
        uint32_t histogram[16] = {};
        StrikeBiases(step, batch, codes.data(), n, masked ? pass.data() : nullptr, histogram);
        const std::string where = fmt::format("{} n={} masked={}", spec, n, masked);
        ASSERT_EQ(codes, oracle.codes) << where;
        if (masked) {
          ASSERT_EQ(pass, oracle.pass) << where;
        }
        uint64_t positive = 0;
        for (int bit = 0; bit < 8; ++bit) {
          ASSERT_EQ(histogram[bit] + histogram[bit + 8], oracle.counts.bit[bit]) << where;
          positive += histogram[bit + 8];
        }
        ASSERT_EQ(positive, oracle.counts.positive) << where;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Specs, AllSpecs,
    testing::Values("mibb:1e-3", "mibb:0.02", "mibb:0.15", "mibb:0.5", "mibb:1",
                    "mibb:0.5,sampler=sparse", "mibb:1e-3,sampler=dense", "mibb:0.1,bit=3",
                    "mibb:0.4,bit=3", "ibf-feature:1e-3", "ibf-feature:0.1",
                    "ibf-feature:0.01,bit=2", "ibf-feature:0.5", "stuck-feature:0.01",
                    "stuck-feature:0.3", "stuck-feature:0.05,bit=3,value=1",
                    "stuck-feature:0.6,value=0", "lane-stuck:0.08",
                    "lane-stuck:0.1,mode=max,cols=5", "lane-stuck:0.08,mode=bit,bit=3",
                    "lane-stuck:0.08,mode=bit,bit=3,value=0", "ibf-weight:1e-3", "ibf-weight:0.3",
                    "adsaf:0.08", "adsaf:0.4", "adsaf:0.01,lifetime=transient", "adsaf-bit:0.01",
                    "adsaf-bit:0.3", "gauss-weight:0.2", "gauss-weight:1",
                    "mibb:0.01+ibf-feature:0.01+stuck-feature:0.1+mibb:0.1",
                    "adsaf:0.08+ibf-weight:0.01+gauss-weight:0.1+adsaf-bit:0.02"));

// With enough moments every code is hit, the first and the last included, and nothing beyond the
// last.
TEST(Inject, FirstAndLastElementAreReached) {
  for (const char* model :
       {"mibb", "ibf-feature", "stuck-feature", "ibf-weight", "adsaf", "adsaf-bit"}) {
    for (const char* sampler : {"sparse", "dense"}) {
      const std::string spec = fmt::format("{}:0.05,sampler={}", model, sampler);
      const FaultSite site = SiteFor(spec, 1025);
      const SiteFaults faults = Plan(spec, site);
      std::vector<int> hits(1026);
      for (uint32_t trial = 0; trial < 400; ++trial) {
        for (const FaultRow& row : RowsOf(faults, site, {.trial = trial}, trial))
          ++hits.at(row.element);
      }
      EXPECT_GT(*std::min_element(hits.begin(), hits.end() - 1), 0) << spec;
      EXPECT_EQ(hits[1025], 0) << spec;
      EXPECT_GT(hits[0], 3) << spec;
      EXPECT_GT(hits[1024], 3) << spec;
    }
  }
}

TEST(Inject, RateOneHitsEverything) {
  for (const char* spec :
       {"mibb:1", "ibf-feature:1", "stuck-feature:1", "ibf-weight:1", "adsaf:1", "adsaf-bit:1"}) {
    const FaultSite site = SiteFor(spec, 1025);
    FaultCounts counts;
    std::vector<int8_t> codes(1025);
    Inject(Plan(spec, site), site, {}, 0, codes, &counts);
    EXPECT_EQ(counts.delivered, counts.exposed) << spec;
    EXPECT_GE(counts.exposed, 1025u) << spec;
  }
}

TEST(Inject, FlipsAreTwosComplement) {
  const FaultSite site = FeatureSite(256);
  for (const int bits : {8, 6}) {
    std::vector<int8_t> codes = MixedCodes(256, bits);
    const std::vector<int8_t> before = codes;
    const SiteFaults sign = Plan(fmt::format("ibf-feature:1,bit={}", bits - 1), site, 1, bits);
    Inject(sign, site, {}, 0, codes);
    const int half = 1 << (bits - 1);
    for (size_t i = 0; i < codes.size(); ++i) {
      EXPECT_EQ(codes[i], before[i] < 0 ? before[i] + half : before[i] - half)
          << static_cast<int>(before[i]);
    }
    Inject(Plan("ibf-feature:1", site, 1, bits), site, {}, 0, codes = before);
    for (size_t i = 0; i < codes.size(); ++i) EXPECT_EQ(codes[i], ~before[i]);
  }
}

TEST(Inject, BiasSaturatesAndStopsTheGradientThere) {
  const FaultSite site = FeatureSite(1024);
  const SiteFaults faults = Plan("mibb:1,bit=6", site);
  std::vector<int8_t> codes(1024);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = i % 3 == 0 ? 100 : i % 3 == 1 ? -100 : 0;
  const std::vector<int8_t> before = codes;
  std::vector<uint8_t> pass(128, 0xFF);
  pass[127] = 0;  // bits that are clear stay clear
  InjectFeature(faults, {}, 0, codes.data(), 1024, 1, pass.data(), nullptr, nullptr);
  std::set<int> seen;
  for (size_t i = 0; i < codes.size(); ++i) {
    const int up = std::min(127, before[i] + 64), down = std::max(-128, before[i] - 64);
    ASSERT_TRUE(codes[i] == up || codes[i] == down) << i;
    const bool saturated = codes[i] == 127 || codes[i] == -128;
    EXPECT_EQ(pass[i / 8] >> (i % 8) & 1, i / 8 != 127 && !saturated ? 1 : 0) << i;
    seen.insert(codes[i]);
  }
  EXPECT_EQ(seen, (std::set<int>{127, 36, -128, -36, 64, -64}));
}

TEST(Inject, AdsafCells) {
  const FaultStep step = Plan("adsaf:0.5", WeightSite(10)).steps[0];
  const auto apply = [&](int code, uint32_t cells, uint32_t ones) {
    return ApplyFault(step, code, {cells, ones}).code;
  };
  EXPECT_EQ(apply(5, 1, 0), 0);     // P stuck at zero
  EXPECT_EQ(apply(5, 1, 1), 127);   // P at the top
  EXPECT_EQ(apply(5, 2, 2), -122);  // N at the top
  EXPECT_EQ(apply(5, 2, 0), 5);     // N was zero
  EXPECT_EQ(apply(-128, 2, 2), -127);
  EXPECT_EQ(apply(-128, 1, 1), -1);
  EXPECT_EQ(apply(-7, 3, 3), 0);    // both at the top
  EXPECT_EQ(apply(5, 3, 2), -127);  // P at zero, N at the top: from the code before either
  const FaultStep bit = Plan("adsaf-bit:0.5", WeightSite(10)).steps[0];
  EXPECT_EQ(bit.valid_cells, 0x7F7F);
  EXPECT_EQ(ApplyFault(bit, 5, {0x0003, 0x0002}).code, 6);        // 101 -> 110
  EXPECT_EQ(ApplyFault(bit, 5, {0x4000, 0x4000}).code, -59);      // N gains 64
  EXPECT_EQ(ApplyFault(bit, -128, {0x0100, 0x0000}).code, -126);  // N = 127 at most
}

TEST(Inject, MovedWeightsLoseTheirGradient) {
  for (const char* spec : {"adsaf:0.3", "adsaf-bit:0.1", "ibf-weight:0.1", "gauss-weight:0.5"}) {
    const FaultSite site = WeightSite(5000);
    std::vector<int8_t> codes = MixedCodes(5000);
    const std::vector<int8_t> before = codes;
    std::vector<uint8_t> moved(5000);
    InjectWeights(Plan(spec, site), {}, codes.data(), 5000, moved.data(), nullptr, nullptr);
    const std::string name = spec;
    const int limit = name.find("adsaf:") == 0 ? 0 : name.find("adsaf-bit:") == 0 ? 8 : 1000;
    int masked = 0;
    for (size_t i = 0; i < codes.size(); ++i) {
      ASSERT_EQ(moved[i], std::abs(codes[i] - before[i]) > limit ? 1 : 0) << spec << " " << i;
      masked += moved[i];
    }
    EXPECT_EQ(masked > 0, limit < 1000) << spec;
  }
}

TEST(Inject, GaussRoundsToNearestEven) {
  FaultStep step = Plan("gauss-weight:0.5", WeightSite(10)).steps[0];
  const auto apply = [&](int code, int n256) {
    return ApplyFault(step, code, {1, static_cast<uint32_t>(n256)}).code;
  };
  EXPECT_EQ(apply(10, 0), 10);
  EXPECT_EQ(apply(10, 256), 15);  // 10 * (1 + 0.5)
  EXPECT_EQ(apply(5, 256), 8);    // 7.5 -> 8
  EXPECT_EQ(apply(-5, 256), -8);  // -7.5 -> -8
  EXPECT_EQ(apply(3, 256), 4);    // 4.5 -> 4
  EXPECT_EQ(apply(-3, 256), -4);  // -4.5 -> -4
  EXPECT_EQ(apply(100, 512), 127);
  EXPECT_EQ(apply(-100, 512), -128);
  EXPECT_EQ(apply(100, -512), 0);
  EXPECT_EQ(apply(0, 1000), 0);
}

TEST(Inject, StuckColumnsAreSharedByLayers) {
  FaultSite first = FeatureSite(16 * 32, 32, 9, 4), second = FeatureSite(4 * 64, 64, 9, 90);
  std::vector<int8_t> a(512, 1), b(256, 1);
  Inject(Plan("lane-stuck:0.02", first), first, {}, 0, a);
  Inject(Plan("lane-stuck:0.02", second), second, {}, 9, b);
  int stuck = 0;
  for (size_t c = 0; c < 16; ++c) {
    stuck += a[c] == 0 ? 1 : 0;
    for (size_t i = c; i < a.size(); i += 16) EXPECT_EQ(a[i], a[c]);
    for (size_t i = c; i < b.size(); i += 16) EXPECT_EQ(b[i], a[c]);
  }
  EXPECT_GT(stuck, 0);
  EXPECT_LT(stuck, 16);
}

// Element, cell and value of each fault, sorted.
std::vector<uint64_t> PlacesOf(const SiteFaults& faults, const FaultSite& site,
                               FaultMoment moment = {}, uint32_t image = 0) {
  std::vector<uint64_t> places;
  for (const FaultRow& r : RowsOf(faults, site, moment, image)) {
    places.push_back(uint64_t{r.element} << 8 | uint64_t{r.cell} << 1 | r.value);
  }
  return places;
}

TEST(Inject, LowerRatesAreNested) {
  for (const char* model :
       {"mibb", "ibf-feature", "stuck-feature", "ibf-weight", "adsaf", "adsaf-bit"}) {
    for (const char* sampler : {"sparse", "dense"}) {
      for (const int bits : {8, 5}) {
        std::vector<uint64_t> lower;
        for (const double rate : {1e-4, 1e-3, 1.1e-3, 0.01, 0.05, 0.051, 0.3}) {
          const std::string spec = fmt::format("{}:{},sampler={}", model, rate, sampler);
          const FaultSite site = SiteFor(spec, 6000);
          const std::vector<uint64_t> places = PlacesOf(Plan(spec, site, 7, bits), site);
          EXPECT_TRUE(std::includes(places.begin(), places.end(), lower.begin(), lower.end()))
              << spec << " " << bits;
          EXPECT_GE(places.size(), lower.size());
          lower = places;
        }
        EXPECT_GT(lower.size(), 1500u);
      }
    }
  }
}

TEST(Inject, SeedsTrialsImagesAndSitesDiffer) {
  const FaultSite site = FeatureSite(20000);
  const auto base = PlacesOf(Plan("mibb:0.01", site), site);
  const auto overlap = [&](const std::vector<uint64_t>& other) {
    std::vector<uint64_t> both;
    std::set_intersection(base.begin(), base.end(), other.begin(), other.end(),
                          std::back_inserter(both));
    return both.size();
  };
  EXPECT_GT(base.size(), 150u);
  const FaultSite neighbour = FeatureSite(20000, 1, 1, 6);
  EXPECT_LT(overlap(PlacesOf(Plan("mibb:0.01", site, 2), site)), 8u);
  EXPECT_LT(overlap(PlacesOf(Plan("mibb:0.01", site, 1 + (uint64_t{1} << 32)), site)), 8u);
  EXPECT_LT(overlap(PlacesOf(Plan("mibb:0.01", site), site, {.trial = 1})), 8u);
  EXPECT_LT(overlap(PlacesOf(Plan("mibb:0.01", site), site, {}, 1)), 8u);
  EXPECT_LT(overlap(PlacesOf(Plan("mibb:0.01", neighbour), neighbour)), 8u);
  EXPECT_EQ(overlap(PlacesOf(Plan("mibb:0.01", site), site)), base.size());
}

TEST(Inject, Lifetimes) {
  const FaultSite site = FeatureSite(20000);
  const auto at = [&](const char* spec, uint32_t trial, uint32_t image, bool training = false) {
    return PlacesOf(Plan(spec, site), site, {.trial = trial, .training = training}, image);
  };
  const char* permanent = "mibb:0.01,lifetime=permanent";
  EXPECT_EQ(at(permanent, 0, 3), at(permanent, 0, 4000000000u));
  EXPECT_NE(at(permanent, 0, 3), at(permanent, 1, 3));
  const char* window = "mibb:0.01,lifetime=intermittent,window=10";
  EXPECT_EQ(at(window, 0, 10), at(window, 0, 19));
  EXPECT_NE(at(window, 0, 9), at(window, 0, 10));
  EXPECT_NE(at(window, 0, 10), at(window, 1, 10));
  EXPECT_EQ(at(window, 5, 10, true), at(window, 5, 123, true));
  EXPECT_NE(at(window, 5, 10, true), at(window, 6, 10, true));
  EXPECT_NE(at("mibb:0.01", 0, 3), at("mibb:0.01", 0, 4));
}

// A fault map is a function of its address: neither the order of calls nor the length of the tensor
// matters.
TEST(Inject, OrderAndNeighboursDoNotMatter) {
  const FaultSite site = FeatureSite(5000);
  const SiteFaults faults = Plan("mibb:0.05+ibf-feature:0.01", site);
  std::vector<std::vector<int8_t>> forward(20, MixedCodes(5000)), backward = forward;
  for (uint32_t i = 0; i < 20; ++i) Inject(faults, site, {}, i, forward[i]);
  for (uint32_t i = 20; i-- > 0;) Inject(faults, site, {}, i, backward[i]);
  EXPECT_EQ(forward, backward);
  for (const char* spec : {"mibb:0.05", "mibb:0.5", "ibf-feature:0.05,sampler=dense"}) {
    std::vector<int8_t> whole = MixedCodes(5000), part(whole.begin(), whole.begin() + 1500);
    Inject(Plan(spec, site), site, {}, 0, whole);
    const FaultSite small = FeatureSite(1500);
    Inject(Plan(spec, small), small, {}, 0, part);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin())) << spec;
  }
}

TEST(Inject, TermsComposeInOrderAndKeepTheirOwnFaults) {
  const FaultSite site = FeatureSite(20000);
  std::vector<int8_t> both = MixedCodes(20000), apart = both;
  FaultCounts counts, mibb, ibf;
  Inject(Plan("mibb:0.05+ibf-feature:0.01", site), site, {}, 0, both, &counts);
  Inject(Plan("mibb:0.05", site), site, {}, 0, apart, &mibb);
  Inject(Plan("ibf-feature:0.01", site), site, {}, 0, apart, &ibf);
  EXPECT_EQ(both, apart);
  EXPECT_EQ(counts.term[0].delivered, mibb.delivered);
  EXPECT_EQ(counts.term[1].delivered, ibf.delivered);
  EXPECT_EQ(counts.delivered, mibb.delivered + ibf.delivered);
  // The same model twice is two independent maps.
  FaultCounts twice;
  std::vector<int8_t> codes(20000);
  FaultRecorder recorder;
  Inject(Plan("mibb:0.05+mibb:0.05", site), site, {}, 0, codes, &twice, &recorder);
  std::set<uint32_t> elements;
  for (const FaultRow& row : recorder.TakeSorted()) elements.insert(row.element);
  EXPECT_GT(elements.size(), 1800u);
}

TEST(Inject, LogitsTakeBiasesOfTheirCodes) {
  FaultSite site = FeatureSite(10);
  site.kind = SiteKind::kLogits;
  const SiteFaults faults = Plan("mibb:0.5,sites=conv,linear", site);
  std::vector<float> logits = {3.1f, -2.7f, 0.4f, 1.0f, -4.0f, 0.0f, 2.2f, 2.3f, -0.1f, 3.9f},
                     before = logits;
  FaultCounts counts;
  InjectLogits(faults, {}, 0, logits.data(), 10, &counts, nullptr);
  ASSERT_GT(counts.delivered, 0u);
  size_t changed = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] == before[i]) continue;
    ++changed;
    // 4.0 = 2^2 gives the exponent 2 - 7: steps of 1/32, range [-4, 4).
    const double bias = std::fabs(logits[i] * 32 - std::nearbyint(before[i] * 32));
    const bool saturated = logits[i] == -4.0f || logits[i] == 127.0f / 32;
    EXPECT_TRUE(saturated || std::exp2(std::round(std::log2(bias))) == bias) << i;
    EXPECT_LE(std::fabs(logits[i]), 4.0f);
  }
  EXPECT_GT(changed, 0u);
  EXPECT_LE(changed, counts.delivered);
}

}  // namespace
}  // namespace ftt
