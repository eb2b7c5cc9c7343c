#include "core/text_plot.h"

#include <gtest/gtest.h>

#include <sstream>

namespace ftt {
namespace {

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

size_t Count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(TextPlotTest, PutsPointsWhereTheyBelong) {
  const std::string plot =
      PlotCurves({{"net", {1e-6, 1e-5, 1e-4}, {0.9, 0.5, 0.1}, {}, {}}}, 60, 9);
  const std::vector<std::string> lines = Lines(plot);
  ASSERT_EQ(lines.size(), 11u);
  EXPECT_NE(lines[0].find("90 % ┤●"), std::string::npos) << plot;
  EXPECT_NE(lines[4].find("●"), std::string::npos) << plot;
  EXPECT_EQ(lines[8].substr(lines[8].size() - 3), "●") << plot;
  EXPECT_NE(lines[8].find("10 %"), std::string::npos);
  EXPECT_EQ(Count(plot, "●"), 4u) << plot;  // and once in the legend
  EXPECT_NE(lines[9].find("1e-06"), std::string::npos);
  EXPECT_NE(lines[9].find("0.0001"), std::string::npos);
  EXPECT_NE(lines[10].find("● net"), std::string::npos);
}

TEST(TextPlotTest, DrawsIntervalsAndSeveralCurves) {
  const std::string plot =
      PlotCurves({{"a", {1e-3}, {0.5}, {0.2}, {0.8}}, {"b", {1e-2}, {0.25}, {}, {}}}, 50, 7);
  EXPECT_EQ(Count(plot, "●"), 2u);
  EXPECT_EQ(Count(plot, "○"), 2u);
  // 20..80 % on seven rows: the interval covers all of them but the one with the point; the axis
  // has a bar on its four rows without a label.
  EXPECT_EQ(Count(plot, "│"), 6u + 4u) << plot;
}

TEST(TextPlotTest, SurvivesOddInput) {
  EXPECT_EQ(PlotCurves({}, 60, 9), "");
  EXPECT_EQ(PlotCurves({{"empty", {}, {}, {}, {}}}, 60, 9), "");
  for (const double y : {0.0, 1.0, 0.3}) {
    const std::string plot =
        PlotCurves({{"flat", {1e-3, 1e-2}, {y, y}, {y - 2, y}, {y + 2, y}}}, 10, 1);
    EXPECT_EQ(Count(plot, "●"), 3u) << plot;
  }
}

}  // namespace
}  // namespace ftt
