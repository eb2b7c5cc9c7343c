#include "engine/genotype.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "core/error.h"
#include "engine/networks/networks.h"

namespace ftt {
namespace {

constexpr const char* kReduce = "reduce_1=[('skip_connect', 0, 2), ('sep_conv_5x5', 1, 2)]";
constexpr const char* kNormal = "normal_0=[('sep_conv_3x3', 0, 2), ('conv_1x1', 1, 2)]";

std::string Both(const std::string& normal) { return normal + ", " + kReduce; }

// The message of the ftt::Error that `text` causes; empty where it is accepted.
std::string MessageOf(const std::string& text) {
  try {
    ParseGenotype(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void ExpectError(const std::string& text, const std::string& part) {
  const std::string message = MessageOf(text);
  EXPECT_NE(message.find(part), std::string::npos) << "input: " << text << "\ngot: " << message;
}

TEST(Genotype, ReferenceNotationRoundTrips) {
  const Genotype& g = WFttGenotype();
  ASSERT_EQ(g.normal.size(), 8u);
  ASSERT_EQ(g.reduce.size(), 8u);
  EXPECT_EQ(g.normal.front(), (GenotypeEdge{"relu_conv_bn_3x3", 0, 2}));
  EXPECT_EQ(g.normal.back(), (GenotypeEdge{"relu_conv_bn_5x5", 1, 5}));
  EXPECT_EQ(g.reduce.back(), (GenotypeEdge{"skip_connect", 2, 5}));
  EXPECT_EQ(ParseGenotype(FormatGenotype(g)), g);
  EXPECT_EQ(FormatGenotype(g).rfind("normal_0=[('relu_conv_bn_3x3', 0, 2), ", 0), 0u);
  EXPECT_NE(FormatGenotype(g).find("], reduce_1=[('skip_connect', 0, 2), "), std::string::npos);
}

TEST(Genotype, EdgeOrderSurvivesAndDartsOrdersByNode) {
  Genotype g = WFttGenotype();
  std::swap(g.normal.front(), g.normal.back());
  EXPECT_EQ(ParseGenotype(FormatGenotype(g)), g);
  const Genotype darts = ParseGenotype(FormatDartsGenotype(g));
  EXPECT_EQ(darts.normal.front().to, 2);
  EXPECT_EQ(darts.normal.back().to, 5);
  EXPECT_EQ(darts.reduce, g.reduce);
}

TEST(Genotype, ReadsDartsNotation) {
  const Genotype g = ParseGenotype(
      "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
      "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
      "('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
      "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
      "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], "
      "reduce_concat=range(2, 6))");
  EXPECT_EQ(g.normal[7], (GenotypeEdge{"dil_conv_3x3", 2, 5}));
  EXPECT_EQ(g.reduce[2], (GenotypeEdge{"skip_connect", 2, 3}));
  EXPECT_EQ(ParseGenotype(FormatDartsGenotype(g)), g);
}

TEST(Genotype, ReadsWrappersCommentsAndConcats) {
  const Genotype plain = ParseGenotype(Both(kNormal));
  EXPECT_EQ(ParseGenotype("CNNGenotype(" + Both(kNormal) +
                          ", normal_0_concat=[2], reduce_1_concat=list(range(2, 3)))"),
            plain);
  EXPECT_EQ(ParseGenotype("# found 'today'\n" + std::string(kNormal) + " # [the normal cell\n" +
                          kReduce + ",\n"),
            plain);
  std::string quoted = Both(kNormal);
  for (char& ch : quoted) ch = ch == '\'' ? '"' : ch;
  EXPECT_EQ(ParseGenotype(quoted), plain);
}

TEST(Genotype, ErrorsNameTheOffendingPart) {
  ExpectError("", "normal cell is missing");
  ExpectError(kNormal, "reduction cell is missing");
  ExpectError(Both("normal_0=[]"), "normal cell has no edges");
  ExpectError(Both("normal_0=[('sep_conv_9x9', 0, 2), ('conv_1x1', 1, 2)]"),
              "edge ('sep_conv_9x9', 0, 2): unknown op 'sep_conv_9x9'");
  ExpectError(Both("normal_0=[('conv_1x1', 2, 2), ('conv_1x1', 1, 2)]"), "2 >= 2");
  ExpectError(Both("normal_0=[('conv_1x1', -1, 2), ('conv_1x1', 1, 2)]"), "('conv_1x1', -1, 2)");
  ExpectError(Both("normal_0=[('conv_1x1', 0, 1), ('conv_1x1', 0, 1)]"), "not an internal node");
  ExpectError(Both("normal_0=[('conv_1x1', 0, 99), ('conv_1x1', 0, 99)]"), "99");
  ExpectError(Both("normal_0=[('conv_1x1', 0, 2)]"), "node 2 has 1 edge;");
  ExpectError(Both("normal_0=[('conv_1x1', 0, 2), ('none', 0, 2), ('none', 1, 2)]"), "has 3 edges");
  ExpectError(Both("normal_0=[('conv_1x1', 0, 3), ('none', 0, 3)]"), "node 2 has 0 edges");
  ExpectError(Both("normal_0=[('conv_1x1', 0), ('none', 0, 2)]"), "mixes");
  ExpectError(Both("normal_0=[('conv_1x1', 0), ('none', 0), ('none', 0)]"), "3 edges");
  ExpectError(Both("normal_0=[('conv_1x1', x, 2)]"), "found 'x'");
  ExpectError(Both("normal_0=[('conv_1x1', 99999999999, 2)]"), "found '99999999999'");
  ExpectError(Both("normal_0=[('conv_1x1, 0, 2)]"), "not closed");
  ExpectError(Both("usual_0=[]"), "unknown cell 'usual_0'");
  ExpectError(Both("normal_x=[]"), "unknown cell 'normal_x'");
  ExpectError(Both(Both(kNormal)), "given twice");
  ExpectError(Both(kNormal) + " ]", "found ']'");
  ExpectError("Genotype(" + Both(kNormal), "end of text");
  ExpectError(Both(kNormal) + ", normal_0_concat=[3]", "normal_concat");
  ExpectError("\n\nnormal_0={", "line 3");
}

TEST(Genotype, SameInputAndSameOpTwiceAreAccepted) {
  EXPECT_EQ(MessageOf(Both("normal_0=[('conv_1x1', 1, 2), ('sep_conv_3x3', 1, 2)]")), "");
  EXPECT_EQ(MessageOf(Both("normal_0=[('conv_1x1', 1, 2), ('conv_1x1', 1, 2)]")), "");
}

TEST(Genotype, FileErrorsNameTheFile) {
  const std::string path = ::testing::TempDir() + "ftt_genotype_test.txt";
  std::ofstream(path) << "# header\n" << FormatGenotype(WFttGenotype()) << "\n";
  EXPECT_EQ(ReadGenotypeFile(path), WFttGenotype());
  std::ofstream(path) << "normal_0=[('bad', 0, 2)]";
  try {
    ReadGenotypeFile(path);
    ADD_FAILURE() << "a bad file was accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(path), std::string::npos);
  }
  std::remove(path.c_str());
  EXPECT_THROW(ReadGenotypeFile(path), Error);
}

TEST(Genotype, CollapseHeuristic) {
  EXPECT_FALSE(CollapsesToSkipsAndPools(WFttGenotype()));
  EXPECT_EQ(CollapseWarning(WFttGenotype()), "");
  Genotype g = WFttGenotype();
  for (size_t i = 0; i < 5; ++i) g.normal[i].op = "skip_connect";
  EXPECT_TRUE(CollapsesToSkipsAndPools(g));  // with the pool of the genotype: 6 of 8
  EXPECT_NE(CollapseWarning(g).find("6 of the 8 edges of the normal cell"), std::string::npos);
  g.normal[0].op = "conv_1x1";
  EXPECT_FALSE(CollapsesToSkipsAndPools(g));
  for (GenotypeEdge& e : g.reduce) e.op = "avg_pool_3x3";
  EXPECT_NE(CollapseWarning(g).find("the reduction cell has no convolution"), std::string::npos);
}

}  // namespace
}  // namespace ftt
