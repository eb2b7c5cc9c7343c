#include "campaign/report/html.h"

#include <gtest/gtest.h>

#include <limits>
#include <regex>

#include "campaign/report/format.h"
#include "campaign/report/page.h"

namespace ftt {
namespace {

TEST(Html, EscapesWhatMarkupIsMadeOf) {
  EXPECT_EQ(EscapeHtml("<script>alert('a') && \"b\"</script>"),
            "&lt;script&gt;alert(&#39;a&#39;) &amp;&amp; &quot;b&quot;&lt;/script&gt;");
  EXPECT_EQ(EscapeHtml("a\tb\n"), "a\tb\n");
  EXPECT_EQ(EscapeHtml("é–𝛼"), "é–𝛼");
}

TEST(Html, KeepsFiguresTogether) {
  EXPECT_EQ(UnbrokenHtml("27.3 % under mibb:1e-4; <b>"),
            "27.3&nbsp;% under <span class=\"nb\">mibb:1e-4;</span> &lt;b&gt;");
  EXPECT_EQ(UnbrokenHtml("a-name-that-is-longer-than-a-phone"),
            "a-name-that-is-longer-than-a-phone");
}

TEST(Html, ReplacesWhatIsNoText) {
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(EscapeHtml(std::string("a\0b", 3)), "a" + bad + "b");
  EXPECT_EQ(EscapeHtml("\x1b\x7f"), bad + bad);
  EXPECT_EQ(EscapeHtml("\xFFz"), bad + "z");
  EXPECT_EQ(EscapeHtml("\xC3"), bad);            // cut off
  EXPECT_EQ(EscapeHtml("\xC0\xBC"), bad + bad);  // an overlong '<'
  EXPECT_EQ(EscapeHtml("\xED\xA0\x80"), bad + bad + bad);
}

TEST(Format, Numbers) {
  EXPECT_EQ(PercentText(0.49376), "49.4 %");
  EXPECT_EQ(PercentText(0.49376, 2), "49.38 %");
  EXPECT_EQ(NumberText(1e-5), "1e-5");
  EXPECT_EQ(NumberText(1e-4), "1e-4");
  EXPECT_EQ(NumberText(0.00031), "3.1e-4");
  EXPECT_EQ(NumberText(0.001), "1e-3");
  EXPECT_EQ(NumberText(0), "0");
  EXPECT_EQ(NumberText(0.0031665), "0.003167");
  EXPECT_EQ(NumberText(3.14159, 2), "3.14");
  EXPECT_EQ(NumberText(1e-10), "1e-10");
  EXPECT_EQ(NumberText(std::numeric_limits<double>::quiet_NaN()), "–");
  EXPECT_EQ(CountText(999), "999");
  EXPECT_EQ(CountText(1234567), "1,234,567");
  EXPECT_EQ(CountText(-1000), "-1,000");
  EXPECT_EQ(DurationText(48.2), "48 s");
  EXPECT_EQ(DurationText(2831), "47 min");
  EXPECT_EQ(DurationText(7500), "2 h 5 min");
  EXPECT_EQ(FaultText("mibb:1e-04+adsaf:0.08"), "mibb:1e-4+adsaf:0.08");
  EXPECT_EQ(FaultText("site-04,e-05"), "site-04,e-05");
  EXPECT_EQ(FaultText("mibb:0.001"), "mibb:1e-3");
}

TEST(Format, Intervals) {
  EXPECT_EQ(PercentText({0.4939, 0.002, {0.4909, 0.497}, 5}), "49.4 % (49.1..49.7)");
  EXPECT_EQ(PercentText({0.52972, 0.001, {0.5290, 0.5305}, 5}), "52.97 % (52.90..53.05)");
  EXPECT_EQ(PercentText({0.99, 0.1, {0.9, 1.2}, 3}), "99.0 % (90.0..100.0)");
  EXPECT_EQ(PercentText(EstimateMean(std::vector<double>{0.25}, 0.95)), "25.0 % (one trial)");
  EXPECT_EQ(PercentText(MeanEstimate{}), "–");
}

TEST(Format, Slugs) {
  EXPECT_EQ(Slug("Accuracy under mibb:*"), "accuracy-under-mibb");
  EXPECT_EQ(Slug("../../etc"), "etc");
  EXPECT_EQ(Slug("*"), "x");
}

Chart TwoCurves() {
  Chart chart;
  chart.title = "A <b>title</b>";
  chart.x.title = "Rate";
  chart.x.log = true;
  chart.y.title = "Accuracy (%)";
  chart.y.digits = 1;
  chart.series = {{"first", {{1e-5, 90, 89, 91}, {1e-4, 80.04, kNoValue, kNoValue}}},
                  {"second", {{1e-4, 50, 49.96, 50.04}}}};
  return chart;
}

TEST(Table, HasARowForEachX) {
  const Table table = TableOf(TwoCurves());
  EXPECT_EQ(table.header,
            (std::vector<std::string>{"Rate", "first: Accuracy (%)", "second: Accuracy (%)"}));
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(table.rows[0], (std::vector<std::string>{"1e-5", "90.0 (89.0..91.0)", "–"}));
  EXPECT_EQ(table.rows[1], (std::vector<std::string>{"1e-4", "80.0", "50.0 (50.0..50.0)"}));
}

TEST(Table, NamesCategories) {
  Chart chart = TwoCurves();
  chart.x.log = false;
  chart.categories = {"stem", "cell 1"};
  chart.series = {{"lost", {{0, 1.5, kNoValue, kNoValue}, {1, 2, kNoValue, kNoValue}}}};
  const Table table = TableOf(chart);
  EXPECT_EQ(table.rows[1], (std::vector<std::string>{"cell 1", "2.0"}));
  EXPECT_EQ(table.text_columns, 1);
}

TEST(Table, EscapesCells) {
  Table table;
  table.title = "t\"";
  table.header = {"<h>"};
  table.rows = {{"<img src=x onerror=alert(1)>"}};
  const std::string html = TableHtml(table);
  EXPECT_EQ(html.find("<img"), std::string::npos);
  EXPECT_NE(html.find("&lt;img src=x"), std::string::npos);
  EXPECT_NE(html.find("aria-label=\"t&quot;\""), std::string::npos);
}

TEST(HeatMap, ColoursByValue) {
  HeatMap map;
  map.title = "m";
  map.rows = {"stem", "head"};
  map.columns = {"0", "7"};
  map.values = {{-1, 10}, {4.96, kNoValue}};
  const std::string html = HeatMapHtml(map);
  EXPECT_NE(html.find("<td class=\"h0\">-1.0</td><td class=\"h9\">10.0</td>"), std::string::npos)
      << html;
  EXPECT_NE(html.find("<td class=\"h4\">5.0</td><td>–</td>"), std::string::npos) << html;
}

Report Hostile() {
  const std::string bad = "</script><script>alert(1)</script>";
  Report report;
  report.title = bad;
  report.made = bad;
  Section s;
  s.name = s.kind = s.headline = bad;
  s.figures = {{bad, bad, bad}};
  s.warnings = {bad};
  Chart chart = TwoCurves();
  chart.title = chart.note = chart.x.title = chart.series[0].name = bad;
  HeatMap map{bad, bad, bad, bad, bad, {bad}, {bad}, {{1}}, 1};
  s.blocks = {Heading{bad},
              chart,
              map,
              Table{bad, {bad}, {{bad}}, 1, bad},
              CellDrawing{bad, "", bad, bad},
              Listing{bad, bad, true},
              Listing{bad, bad, false}};
  report.sections = {s, s};
  return report;
}

TEST(Page, RunsOnlyItsOwnScripts) {
  const std::string html = PageHtml(Hostile());
  EXPECT_EQ(html.find("<script>alert"), std::string::npos);
  size_t scripts = 0;
  for (size_t at = 0; (at = html.find("<script>", at)) != std::string::npos; ++at) ++scripts;
  EXPECT_EQ(scripts, 2U);
  const std::regex policy("script-src 'sha256-[A-Za-z0-9+/]{43}=' 'sha256-[A-Za-z0-9+/]{43}='\"");
  EXPECT_TRUE(std::regex_search(html.substr(0, 1000), policy));
}

TEST(Page, FetchesNothing) {
  const std::string html = PageHtml(Hostile());
  std::string head = html.substr(0, html.find("<script>/*!"));
  for (const std::regex& resource :
       {std::regex("(src|href|action|data|poster|srcset)\\s*=\\s*[\"']?\\s*(https?:)?//"),
        std::regex("url\\("), std::regex("@import"),
        std::regex("<(iframe|object|embed|base|form)")})
    EXPECT_FALSE(std::regex_search(head, resource));
  EXPECT_NE(html.find("default-src 'none'"), std::string::npos);
}

TEST(Page, GivesEverySectionAnAnchor) {
  Report report = Hostile();
  report.sections[0].name = "one run";
  const std::string html = PageHtml(report);
  EXPECT_NE(html.find("<a href=\"#s1-one-run\">one run</a>"), std::string::npos);
  EXPECT_NE(html.find("<section id=\"s1-one-run\""), std::string::npos);
  report.sections.pop_back();
  EXPECT_EQ(PageHtml(report).find("<nav"), std::string::npos);
}

}  // namespace
}  // namespace ftt
