#include <gtest/gtest.h>

#include "campaign/report/cells.h"
#include "campaign/report/child_process.h"
#include "tests/data/temp_dir.h"

namespace ftt {
namespace {

const std::vector<GenotypeEdge> kCell = {
    {"sep_conv_3x3", 0, 2}, {"skip_connect", 1, 2}, {"none", 2, 3}, {"max_pool_3x3", 0, 3}};
constexpr char kGenotype[] =
    "normal_0=[('sep_conv_3x3', 0, 2), ('skip_connect', 1, 2)], "
    "reduce_1=[('max_pool_3x3', 0, 2), ('none', 1, 2)]";

TEST(CellDot, LabelsEdgesAndShowsTheLighterOnes) {
  const std::string dot = CellDot(kCell);
  EXPECT_NE(dot.find("n0 -> n2 [label=\" sep_conv_3x3 \" class=conv];"), std::string::npos) << dot;
  EXPECT_NE(dot.find("n1 -> n2 [label=\" skip_connect \" style=dashed class=skip];"),
            std::string::npos);
  EXPECT_NE(dot.find("n2 -> n3 [label=\" none \" style=dotted class=none];"), std::string::npos);
  EXPECT_NE(dot.find("n0 -> n3 [label=\" max_pool_3x3 \" class=pool];"), std::string::npos);
  EXPECT_NE(dot.find("n2 -> out"), std::string::npos);
  EXPECT_NE(dot.find("n3 -> out"), std::string::npos);
  EXPECT_EQ(dot.find("n4"), std::string::npos);
}

TEST(CellDot, MarksEdges) {
  const std::string dot = CellDot(kCell, {{"-3.2", 6}, {"", 1}, {"", 1}, {"-0.1", 1.25}});
  EXPECT_NE(dot.find("n0 -> n2 [label=\" sep_conv_3x3 \\n-3.2\" class=conv penwidth=6.0];"),
            std::string::npos)
      << dot;
  EXPECT_NE(dot.find("[label=\" skip_connect \" style=dashed class=skip penwidth=1.0];"),
            std::string::npos);
}

TEST(CellDot, QuotesNames) {
  EXPECT_NE(CellDot({{"a\"]; n9 -> \\", 0, 2}}).find("label=\" a\\\"]; n9 -> \\\\ \""),
            std::string::npos);
}

TEST(InlineSvg, KeepsOnlyTheDrawing) {
  const std::string svg = InlineSvg(
      "<?xml version=\"1.0\"?>\n<!DOCTYPE svg PUBLIC \"x\" \"http://www.w3.org/x.dtd\">\n"
      "<svg width=\"10pt\" height=\"20pt\" viewBox=\"0 0 10 20\" "
      "xmlns=\"http://www.w3.org/2000/svg\">\n"
      "<g id=\"node1\" class=\"node\"><text font-family=\"Helvetica\">2</text>"
      "<path fill=\"none\" stroke=\"black\"/></g>\n</svg>\n");
  EXPECT_EQ(svg,
            "<svg width=\"10pt\" viewBox=\"0 0 10 20\">\n"
            "<g class=\"node\"><text fill=\"currentColor\">2</text>"
            "<path fill=\"none\" stroke=\"currentColor\"/></g>\n</svg>");
}

TEST(InlineSvg, RefusesWhatCouldRun) {
  EXPECT_ERROR(InlineSvg("<svg><SCRIPT>alert(1)</SCRIPT></svg>"), "<script");
  EXPECT_ERROR(InlineSvg("<svg><image xlink:href=\"http://x\"/></svg>"), "<image");
  EXPECT_ERROR(InlineSvg("usage: dot"), "no SVG");
}

TEST(DrawCells, SaysWhatIsMissing) {
  const auto cells = DrawCells("Winner", kGenotype, "ftt-no-such-dot");
  ASSERT_EQ(cells.size(), 2U);
  EXPECT_EQ(cells[0].title, "Winner: normal cell");
  EXPECT_EQ(cells[0].svg, "");
  EXPECT_NE(cells[0].note.find("package graphviz"), std::string::npos);
  EXPECT_EQ(cells[0].text, "0 -> 2  sep_conv_3x3\n1 -> 2  skip_connect\n");
}

TEST(DrawCells, ShowsWhatIsNoGenotype) {
  const auto cells = DrawCells("Winner", "<script>alert(1)</script>");
  ASSERT_EQ(cells.size(), 1U);
  EXPECT_EQ(cells[0].svg, "");
  EXPECT_EQ(cells[0].text, "<script>alert(1)</script>");
  EXPECT_NE(cells[0].note.find("Not drawn"), std::string::npos);
}

TEST(DrawCells, Draws) {
  if (!RunChild({"dot", "-V"}, "").started) GTEST_SKIP() << "Graphviz is not installed";
  const auto cells = DrawCells("Winner", kGenotype);
  ASSERT_EQ(cells.size(), 2U);
  EXPECT_EQ(cells[1].title, "Winner: reduction cell");
  EXPECT_NE(cells[1].svg.find("max_pool_3x3"), std::string::npos);
  EXPECT_NE(cells[1].svg.find("class=\"edge none\""), std::string::npos);
  EXPECT_EQ(cells[1].svg.find(" id="), std::string::npos);
  EXPECT_EQ(cells[1].svg.find("http"), std::string::npos);
}

}  // namespace
}  // namespace ftt
