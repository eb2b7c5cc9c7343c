#include "faults/audit.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "tests/faults/fault_test_util.h"

namespace ftt {
namespace {

FaultCounts Deliver(const std::string& spec, const FaultSite& site, uint32_t images) {
  const SiteFaults faults = Plan(spec, site);
  FaultCounts counts;
  for (uint32_t i = 0; i < images; ++i) {
    std::vector<int8_t> codes(static_cast<size_t>(site.elements));
    Inject(faults, site, {}, i, codes, &counts);
  }
  return counts;
}

TEST(FaultAudit, RowsPerTermAndProbability) {
  const std::string spec = "mibb:1e-3+ibf-feature:1e-3";
  const FaultSite small = FeatureSite(20000, 1, 9, 1), large = FeatureSite(20000, 1, 90, 2),
                  twin = FeatureSite(20000, 1, 9, 3);
  FaultAudit audit(ParseFaultSpec(spec), 10);
  for (const FaultSite& site : {small, large, twin}) audit.Add(site, Deliver(spec, site, 10));
  const std::vector<AuditRow> rows = audit.Rows();
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].sites, "conv, M=9");
  EXPECT_EQ(rows[0].counts.exposed, 400000u);
  EXPECT_EQ(rows[1].sites, "conv, M=90");
  EXPECT_EQ(rows[1].counts.exposed, 200000u);
  EXPECT_NEAR(rows[1].requested, 1 - std::pow(0.999, 90), 1e-12);
  EXPECT_EQ(rows[2].model, "ibf-feature");
  EXPECT_EQ(rows[2].counts.exposed, 3u * 8 * 200000);
  EXPECT_NEAR(rows[2].requested, 1e-3, 1e-15);
  for (const AuditRow& row : rows) {
    EXPECT_NEAR(row.achieved / row.requested, 1, 0.1) << row.sites;
    EXPECT_TRUE(row.interval.Contains(row.achieved));
    EXPECT_LT(row.interval.high - row.interval.low, row.requested * 0.2);
  }
  EXPECT_EQ(audit.Warning(), "");
  const std::string table = audit.Table();
  EXPECT_NE(table.find("conv, M=90"), std::string::npos);
  EXPECT_NE(table.find("bits 0:"), std::string::npos);
}

// The same permanent faults on many images are no more evidence than on one.
TEST(FaultAudit, PermanentFaultsCountOnce) {
  const FaultSite site = FeatureSite(20000);
  const std::string spec = "stuck-feature:0.01";
  FaultAudit once(ParseFaultSpec(spec), 1), often(ParseFaultSpec(spec), 50);
  once.Add(site, Deliver(spec, site, 1));
  often.Add(site, Deliver(spec, site, 50));
  EXPECT_EQ(often.Rows()[0].counts.exposed, 50u * 20000);
  EXPECT_EQ(often.Rows()[0].interval.low, once.Rows()[0].interval.low);
  EXPECT_EQ(often.Rows()[0].interval.high, once.Rows()[0].interval.high);
}

TEST(FaultAudit, NothingDeliveredIsLoud) {
  const FaultSite site = FeatureSite(100);
  FaultAudit audit(ParseFaultSpec("mibb:1e-9+adsaf:0.1+ibf-weight:0"), 1);
  audit.Add(site, Deliver("mibb:1e-9", site, 1));
  const std::string warning = audit.Warning();
  EXPECT_NE(warning.find("NO FAULT WAS DELIVERED by 'mibb:1e-09'"), std::string::npos) << warning;
  EXPECT_NE(warning.find("100 places exposed"), std::string::npos) << warning;
  EXPECT_NE(warning.find("'adsaf:0.1'"), std::string::npos) << warning;
  EXPECT_NE(warning.find("no site"), std::string::npos) << warning;
  EXPECT_EQ(warning.find("ibf-weight"), std::string::npos) << warning;
  EXPECT_EQ(FaultAudit(ParseFaultSpec("none"), 1).Warning(), "");
  EXPECT_EQ(FaultAudit(ParseFaultSpec("none"), 1).Table(), "");
  EXPECT_THROW(FaultAudit(ParseFaultSpec("none"), 0), Error);
}

TEST(FaultAudit, CountsAddUp) {
  const FaultSite site = FeatureSite(5000);
  const FaultCounts a = Deliver("mibb:0.1+mibb:0.1", site, 3);
  FaultCounts b;
  for (int i = 0; i < 2; ++i) b.Merge(a);
  EXPECT_EQ(b.delivered, 2 * a.delivered);
  EXPECT_EQ(b.term[1].bit[7], 2 * a.term[1].bit[7]);
  EXPECT_EQ(a.delivered, a.term[0].delivered + a.term[1].delivered);
  EXPECT_EQ(a.positive + a.negative, a.delivered);
}

}  // namespace
}  // namespace ftt
