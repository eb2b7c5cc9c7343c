#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "campaign/report/charts_gnuplot.h"
#include "campaign/report/charts_js.h"
#include "campaign/report/child_process.h"
#include "tests/data/temp_dir.h"

namespace ftt {
namespace {

Chart Curves() {
  Chart chart;
  chart.title = "Accuracy under mibb:*";
  chart.x.title = "Rate of mibb:*";
  chart.x.log = true;
  chart.y.title = "Accuracy (%)";
  chart.y.min = 0;
  chart.y.digits = 2;
  ChartSeries a, golden;
  a.name = "with 'faults' </script><!--";
  a.points = {
      {0, 95, kNoValue, kNoValue}, {1e-5, 90.5, 89.25, 91.75}, {1e-4, 40, kNoValue, kNoValue}};
  golden.name = "golden";
  golden.dashed = true;
  golden.in_legend = false;
  golden.points = {{1e-5, 95, kNoValue, kNoValue}, {1e-4, 95, kNoValue, kNoValue}};
  chart.series = {a, golden};
  return chart;
}

TEST(ChartJson, ReadsBackTheSame) {
  const std::string text = ChartJson(Curves());
  EXPECT_EQ(text.find_first_of("<>&"), std::string::npos);
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["x"]["title"], "Rate of mibb:*");
  EXPECT_EQ(json["x"]["log"], true);
  EXPECT_EQ(json["x"].contains("min"), false);
  EXPECT_EQ(json["y"]["min"], 0.0);
  ASSERT_EQ(json["series"].size(), 2U);
  const auto& a = json["series"][0];
  EXPECT_EQ(a["name"], "with 'faults' </script><!--");
  ASSERT_EQ(a["points"].size(), 2U);  // no place for 0 on a logarithmic axis
  EXPECT_EQ(a["points"][0], nlohmann::json({1e-5, 90.5, 89.25, 91.75}));
  EXPECT_EQ(a["points"][1], nlohmann::json({1e-4, 40.0, nullptr, nullptr}));
  EXPECT_EQ(json["series"][1]["dashed"], true);
  EXPECT_EQ(json["series"][1]["legend"], false);
}

TEST(ChartJson, TakesBytesThatAreNoText) {
  Chart chart = Curves();
  chart.series[0].name = "\xFF";
  EXPECT_EQ(nlohmann::json::parse(ChartJson(chart))["series"][0]["name"], "\xEF\xBF\xBD");
}

TEST(Gnuplot, ScriptHoldsDataAndAxes) {
  const std::string script = GnuplotScript(Curves(), ImageFormat::kSvg);
  EXPECT_NE(script.find("set logscale x"), std::string::npos);
  EXPECT_NE(script.find("set yrange [0:*]"), std::string::npos);
  EXPECT_NE(script.find("$d0 << END_OF_DATA\n1e-05 90.5 89.25 91.75\n0.0001 40 NaN NaN\n"),
            std::string::npos)
      << script;
  EXPECT_NE(script.find("title 'with ''faults'' </script><!--'"), std::string::npos);
  EXPECT_NE(script.find("$d1 using 1:2 with lines lc rgb '#0072b2' lw 2 dt 2 notitle"),
            std::string::npos)
      << script;
  EXPECT_NE(script.find("filledcurves"), std::string::npos);
  EXPECT_NE(GnuplotScript(Curves(), ImageFormat::kPng).find("pngcairo"), std::string::npos);
}

TEST(Gnuplot, NothingInATitleIsACommand) {
  Chart chart = Curves();
  chart.title = "a'\nsystem 'touch owned'\n";
  const std::string script = GnuplotScript(chart, ImageFormat::kSvg);
  EXPECT_NE(script.find("set title 'a'' system ''touch owned'' '\n"), std::string::npos) << script;
}

TEST(Gnuplot, RefusesAnEmptyChart) {
  Chart chart = Curves();
  chart.series.resize(1);
  chart.series[0].points.resize(1);
  EXPECT_ERROR(GnuplotScript(chart, ImageFormat::kSvg), "no data");
}

TEST(Gnuplot, NamesItsPackageWhereItIsMissing) {
  EXPECT_ERROR(RunGnuplot("", "ftt-no-such-gnuplot"), "gnuplot-nox");
}

class DrawnByGnuplot : public testing::Test {
 protected:
  void SetUp() override {
    if (!RunChild({"gnuplot", "--version"}, "").started) GTEST_SKIP() << "gnuplot is not installed";
  }
};

TEST_F(DrawnByGnuplot, Curves) {
  const std::string svg = RunGnuplot(GnuplotScript(Curves(), ImageFormat::kSvg));
  EXPECT_NE(svg.find("<svg"), std::string::npos);
  EXPECT_NE(svg.find("Accuracy (%)"), std::string::npos);
  EXPECT_NE(svg.find("1e-5"), std::string::npos);
  EXPECT_EQ(RunGnuplot(GnuplotScript(Curves(), ImageFormat::kPng)).substr(1, 3), "PNG");
}

TEST_F(DrawnByGnuplot, Bars) {
  Chart chart = Curves();
  chart.x = {"Layer", false, {}, {}, -1};
  chart.categories = {"stem", "it's"};
  chart.series = {{"lost", {{0, 1, 0.5, 1.5}, {1, 3, 2.5, 3.5}}}};
  const std::string svg = RunGnuplot(GnuplotScript(chart, ImageFormat::kSvg));
  EXPECT_NE(svg.find("it's"), std::string::npos);
}

TEST_F(DrawnByGnuplot, HeatMaps) {
  HeatMap map;
  map.title = "Layers and bits";
  map.value_title = "lost (points)";
  map.rows = {"stem"};
  map.columns = {"0", "1"};
  map.values = {{0.5, kNoValue}};
  EXPECT_NE(RunGnuplot(GnuplotScript(map, ImageFormat::kSvg)).find("stem"), std::string::npos);
}

TEST_F(DrawnByGnuplot, SaysWhatFailed) {
  EXPECT_ERROR(RunGnuplot("no such command\n"), "no such command");
}

TEST(ChildProcess, PassesInputArgumentsAndStatus) {
  const ChildResult cat = RunChild({"cat"}, std::string(1 << 20, 'x'));
  EXPECT_TRUE(cat.started);
  EXPECT_EQ(cat.output.size(), size_t{1} << 20);
  const ChildResult shell = RunChild({"sh", "-c", "echo \"$0\" >&2; exit 3", "a b'c"}, "");
  EXPECT_EQ(shell.status, 3);
  EXPECT_EQ(shell.errors, "a b'c\n");
  EXPECT_FALSE(RunChild({"ftt-no-such-program"}, "").started);
}

}  // namespace
}  // namespace ftt
