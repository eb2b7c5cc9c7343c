#include "faults/spec.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "faults/models.h"
#include "tests/faults/fault_test_util.h"

namespace ftt {
namespace {

// The message of the error that the text causes; "" if none.
std::string ErrorOf(const std::string& text) {
  try {
    ParseFaultSpec(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void ExpectError(const std::string& text, const std::string& part) {
  const std::string message = ErrorOf(text);
  EXPECT_NE(message.find(part), std::string::npos) << "'" << text << "' gave: " << message;
}

TEST(FaultSpec, EmptyTexts) {
  EXPECT_TRUE(ParseFaultSpec("").Empty());
  EXPECT_TRUE(ParseFaultSpec("none").Empty());
  EXPECT_EQ(ParseFaultSpec("none").Text(), "none");
}

TEST(FaultSpec, DefaultsComeFromTheModel) {
  const FaultSpec spec = ParseFaultSpec("mibb:1e-4+adsaf:0.08");
  ASSERT_EQ(spec.terms.size(), 2u);
  EXPECT_EQ(FaultModels()[spec.terms[0].model].name, "mibb");
  EXPECT_EQ(spec.terms[0].rate, 1e-4);
  EXPECT_EQ(spec.terms[0].lifetime, Lifetime::kTransient);
  EXPECT_EQ(spec.terms[1].lifetime, Lifetime::kPermanent);
  EXPECT_EQ(spec.terms[1].saf1, 0.163);
  EXPECT_EQ(spec.terms[1].window, 64u);
}

TEST(FaultSpec, KeysAndCanonicalText) {
  const FaultSpec spec = ParseFaultSpec(
      "mibb:0.0001,window=16,sites=conv,linear,lifetime=intermittent,sampler=sparse+lane-stuck:0."
      "01,bit=7,mode=bit,"
      "rows=32,cols=8,value=1");
  EXPECT_TRUE(spec.terms[0].linear);
  EXPECT_EQ(spec.terms[0].window, 16u);
  EXPECT_EQ(spec.terms[0].sampler, SamplerChoice::kSparse);
  EXPECT_EQ(spec.terms[1].rows, 32);
  EXPECT_EQ(spec.terms[1].cols, 8);
  EXPECT_EQ(spec.terms[1].bit, 7);
  EXPECT_EQ(spec.Text(),
            "mibb:1e-04,lifetime=intermittent,sampler=sparse,window=16,sites=conv,linear+"
            "lane-stuck:0.01,rows=32,cols=8,mode=bit,bit=7,value=1");
  EXPECT_EQ(ParseFaultSpec(spec.Text()).Text(), spec.Text());
  EXPECT_EQ(ParseFaultSpec("mibb:1e-4,lifetime=transient,window=64").Text(), "mibb:1e-04");
  EXPECT_EQ(ParseFaultSpec("mibb:1e+0+ibf-weight:0").terms.size(), 2u);
}

TEST(FaultSpec, EveryModelParsesAndIsInTheHelp) {
  const std::string help = FaultHelpText();
  for (const FaultModelInfo& info : FaultModels()) {
    const std::string text = std::string(info.name) + ":0.5";
    EXPECT_EQ(ParseFaultSpec(text).Text(), text);
    EXPECT_NE(help.find("  " + std::string(info.name) + " "), std::string::npos) << info.name;
  }
  EXPECT_EQ(FaultModels().size(), 8u);
}

TEST(FaultSpec, Errors) {
  ExpectError("mibbb:1e-4", "did you mean 'mibb'");
  ExpectError("mibbb:1e-4", "ibf-feature");
  ExpectError("quux-quux-quux:1e-4", "Known models");
  ExpectError("mibb", "no rate");
  ExpectError("mibb:", "not a number");
  ExpectError("mibb:1e-4x", "not a number");
  ExpectError("mibb:nan", "not a number");
  ExpectError("mibb:1.0001", "outside [0, 1]");
  ExpectError("mibb:-1e-4", "outside [0, 1]");
  ExpectError("mibb:1e-300", "resolution");
  ExpectError("adsaf:1e-20", "resolution");
  ExpectError("ibf-weight:1e-11,sampler=dense", "resolution");
  ExpectError("gauss-weight:1e-13", "resolution");
  ExpectError("mibb:1e-4,colour=red", "no key 'colour'");
  ExpectError("mibb:1e-4,saf1=0.2", "no key 'saf1'");
  ExpectError("mibb:1e-4,sites=pool", "sites=pool");
  ExpectError("mibb:1e-4,window=0", "window=0");
  ExpectError("mibb:1e-4,window=2.5", "not a whole number");
  ExpectError("mibb:1e-4,lifetime=forever", "transient, intermittent and permanent");
  ExpectError("mibb:1e-4,bit=8", "outside [0, 7]");
  ExpectError("mibb:1e-4,window=2,window=3", "twice");
  ExpectError("mibb:1e-4,", "not key=value");
  ExpectError("mibb:1e-4,=3", "not key=value");
  ExpectError("mibb:1e-4+", "empty term");
  ExpectError("mibb:1e-4++adsaf:0.1", "empty term");
  ExpectError("adsaf:0.1,saf1=1.5", "outside [0, 1]");
  ExpectError("lane-stuck:0.1,mode=bit", "belong together");
  ExpectError("lane-stuck:0.1,bit=3", "belong together");
  ExpectError("lane-stuck:0.1,value=1", "needs mode=bit");
  ExpectError("lane-stuck:0.1,sampler=dense", "no choice of sampler");
  ExpectError("mibb:.1+mibb:.1+mibb:.1+mibb:.1+mibb:.1", "at most 4");
}

TEST(FaultPlan, TermsWithoutBusinessGiveNoStep) {
  EXPECT_TRUE(Plan("none", FeatureSite(100)).Empty());
  EXPECT_TRUE(Plan("mibb:0", FeatureSite(100)).Empty());
  EXPECT_TRUE(Plan("mibb:0.1", WeightSite(100)).Empty());
  EXPECT_TRUE(Plan("adsaf:0.1+ibf-weight:0.1+gauss-weight:0.1", FeatureSite(100)).Empty());
  FaultSite site = FeatureSite(100);
  for (const SiteKind kind : {SiteKind::kPool, SiteKind::kAdd, SiteKind::kConcat,
                              SiteKind::kGlobalPool, SiteKind::kInput, SiteKind::kLogits}) {
    site.kind = kind;
    EXPECT_TRUE(Plan("mibb:0.1+lane-stuck:0.1", site).Empty()) << SiteKindName(kind);
    EXPECT_EQ(Plan("ibf-feature:0.1+stuck-feature:0.1", site).Empty(), kind == SiteKind::kLogits);
    EXPECT_EQ(Plan("mibb:0.1,sites=conv,linear", site).Empty(), kind != SiteKind::kLogits);
  }
  site.kind = SiteKind::kLinearWeight;
  EXPECT_TRUE(Plan("adsaf:0.1+adsaf-bit:0.1+gauss-weight:0.1", site).Empty());
  EXPECT_FALSE(Plan("ibf-weight:0.1", site).Empty());
}

TEST(FaultPlan, RatesBelowTheResolutionOfASiteAreErrors) {
  const FaultSite site = FeatureSite(100);
  EXPECT_NO_THROW(Plan("mibb:1e-12", site));
  EXPECT_THROW(Plan("mibb:1e-14", site), Error);
  EXPECT_NO_THROW(Plan("mibb:1e-14", FeatureSite(100, 1, 576)));  // 576 chances of 1e-14
  EXPECT_THROW(Plan("mibb:1e-10,sampler=dense", site), Error);
  EXPECT_THROW(Plan("ibf-feature:0.9999,sampler=sparse", site), Error);
  EXPECT_NO_THROW(Plan("ibf-feature:1", site));
  EXPECT_THROW(Plan("stuck-feature:0.1,bit=5", site, 1, 5), Error);
  EXPECT_NO_THROW(Plan("stuck-feature:0.1,bit=4", site, 1, 5));
}

TEST(FaultPlan, TheHighestRateOfASweepChoosesTheSampler) {
  const FaultSpec spec = ParseFaultSpec("mibb:1e-4");
  EXPECT_EQ(PlanSite(spec, FeatureSite(100), 8, 1).steps[0].sampler, Sampler::kSparse);
  EXPECT_EQ(PlanSite(spec, FeatureSite(100), 8, 1, 0.5).steps[0].sampler, Sampler::kDense);
  EXPECT_EQ(PlanSite(spec, FeatureSite(100), 8, 1, 1e-6).steps[0].sampler, Sampler::kSparse);
}

}  // namespace
}  // namespace ftt
