#include "campaign/curve.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace ftt {
namespace {

TEST(CurveTest, LeavesRatesOpen) {
  for (const char* text : {"mibb", "mibb:*"}) {
    const FaultCurve curve(text);
    EXPECT_TRUE(curve.Open());
    EXPECT_EQ(curve.Text(), "mibb:*");
    EXPECT_EQ(curve.At(1e-4).Text(), ParseFaultSpec("mibb:0.0001").Text());
    EXPECT_EQ(curve.RateOf(curve.At(1e-4)), 1e-4);
  }
}

TEST(CurveTest, KeepsKeysAndFixedRates) {
  const FaultCurve curve("adsaf:0.0625+ibf-weight,bit=7+mibb:*,sampler=dense");
  EXPECT_EQ(curve.Text(), "adsaf:0.0625+ibf-weight:*,bit=7+mibb:*,sampler=dense");
  EXPECT_EQ(curve.At(0.01).Text(), "adsaf:0.0625+ibf-weight:0.01,bit=7+mibb:0.01,sampler=dense");
  EXPECT_EQ(curve.RateOf(curve.At(0.01)), 0.01);
  const FaultCurve fixed("adsaf:0.08+mibb:1e-04");
  EXPECT_FALSE(fixed.Open());
  EXPECT_EQ(fixed.At(0.5).Text(), ParseFaultSpec("adsaf:0.08+mibb:0.0001").Text());
  EXPECT_EQ(fixed.RateOf(fixed.At(0.5)), 0.08);
  EXPECT_FALSE(FaultCurve("mibb:1e+0").Open());
}

TEST(CurveTest, RefusesWhatIsNoFault) {
  for (const char* text :
       {"", "none", "mibbb", "mibb:2", "mibb:*,bits=3", "mibb:**", "mibb+", "+mibb"})
    EXPECT_THROW(FaultCurve{text}, Error) << text;
  EXPECT_THROW(FaultCurve("mibb").At(1e-30), Error);
}

TEST(RatesTest, ListsAndRanges) {
  using Rates = std::vector<double>;
  EXPECT_EQ(ParseRates("1e-4,1e-6,1e-4", "--rates"), (Rates{1e-6, 1e-4}));
  EXPECT_EQ(ParseRates("1e-6:1e-3:log10", "--rates"), (Rates{1e-6, 1e-5, 1e-4, 1e-3}));
  EXPECT_EQ(ParseRates("1e-4:1e-3:log10/2", "--rates"), (Rates{1e-4, 3.16e-4, 1e-3}));
  EXPECT_EQ(ParseRates("0.02:0.1:lin5", "--rates"), (Rates{0.02, 0.04, 0.06, 0.08, 0.1}));
  EXPECT_EQ(ParseRates("5e-5:9e-4:log10", "--rates"), (Rates{5e-5, 5e-4}));
  EXPECT_EQ(ParseRates("0.5:0.5:log10", "--rates"), (Rates{0.5}));
}

TEST(RatesTest, SaysWhatIsWrong) {
  for (const char* text : {"", "x", "0", "1.5", "-1", "1e-3,", "1e-3:1e-6:log10", "1e-6:1e-3",
                           "1e-6:1e-3:log2", "1e-6:1e-3:log10/0", "1e-6:1e-3:lin1", "1:2:3:4"}) {
    try {
      ParseRates(text, "--rates");
      ADD_FAILURE() << "'" << text << "' was taken";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("--rates"), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace ftt
