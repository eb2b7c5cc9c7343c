#include <gtest/gtest.h>

#include <cmath>

#include "campaign/report/campaign_page.h"
#include "tests/data/temp_dir.h"

namespace ftt {
namespace {

NetworkRow Network(int64_t id, const std::string& name, int64_t correct) {
  NetworkRow n;
  n.id = id;
  n.name = name;
  n.hash = "0123456789abcdef";
  n.golden_correct = correct;
  return n;
}

CampaignPoint Point(int64_t id, int64_t network, double rate, const std::string& scope,
                    const std::vector<int64_t>& correct) {
  CampaignPoint p;
  p.point = {id, network, "mibb:*", "mibb:" + std::to_string(rate), rate, scope};
  for (const int64_t c : correct) {
    TrialRow t;
    t.trial = static_cast<int>(p.trials.size());
    t.correct = c;
    t.sdc1 = 1000 - c;
    t.exposed = 1000000;
    t.delivered = 1000;
    p.trials.push_back(t);
  }
  return p;
}

CampaignRecord TwoNetworks() {
  CampaignRecord c;
  c.key = {"shapes", "", 1000, 7};
  c.networks = {Network(1, "with", 800), Network(2, "without", 900)};
  // Rates out of order; the last point has no trial.
  c.points = {Point(1, 1, 1e-3, "", {600, 620}), Point(2, 1, 1e-4, "", {780, 790}),
              Point(3, 2, 1e-4, "", {700, 720}), Point(4, 2, 1e-3, "", {300, 300}),
              Point(5, 2, 1e-2, "", {})};
  return c;
}

template <typename T>
const T* Find(const Section& s, const std::string& title) {
  for (const Block& b : s.blocks) {
    const auto* item = std::get_if<T>(&b);
    if (item != nullptr && item->title.find(title) != std::string::npos) return item;
  }
  return nullptr;
}

TEST(CampaignSection, DrawsAccuracyAgainstRate) {
  const Section s = CampaignSection(TwoNetworks(), "c");
  EXPECT_EQ(s.headline.find("Under mibb:1e-3 with keeps 61.0 % ("), 0U) << s.headline;
  EXPECT_NE(s.headline.find(") of 80.0 %, without keeps 30.0"), std::string::npos) << s.headline;
  ASSERT_EQ(s.warnings.size(), 1U);
  EXPECT_EQ(s.warnings[0].find("1 of 5 points"), 0U);
  const Chart* chart = Find<Chart>(s, "Accuracy under mibb:*");
  ASSERT_NE(chart, nullptr);
  EXPECT_TRUE(chart->x.log);
  ASSERT_EQ(chart->series.size(), 4U);
  const ChartSeries &with = chart->series[0], &golden = chart->series[3];
  ASSERT_EQ(with.points.size(), 2U);
  EXPECT_EQ(with.points[0].x, 1e-4);
  EXPECT_NEAR(with.points[0].y, 78.5, 1e-9);
  EXPECT_LT(with.points[0].low, 78.5);
  EXPECT_GT(with.points[0].high, 78.5);
  EXPECT_EQ(with.points[1].x, 1e-3);
  EXPECT_TRUE(golden.dashed);
  EXPECT_EQ(golden.color, chart->series[1].color);
  EXPECT_NEAR(golden.points[0].y, 90, 1e-9);
  EXPECT_EQ(golden.points[1].x, 1e-3);
}

TEST(CampaignSection, PointsThatAMarginEndedHaveWiderIntervals) {
  CampaignRecord stopped = TwoNetworks();
  stopped.points[1].stopped_at = 2;
  const Section plain = CampaignSection(TwoNetworks(), "c"), wide = CampaignSection(stopped, "c");
  const auto half = [](const Section& s) {
    const Chart* chart = Find<Chart>(s, "Accuracy under mibb:*");
    return chart == nullptr ? 0 : 78.5 - chart->series[0].points[0].low;
  };
  EXPECT_NEAR(half(wide) / half(plain), std::sqrt(3.0), 1e-9);
}

TEST(CampaignSection, PairsTrialsOfNetworks) {
  const Section s = CampaignSection(TwoNetworks(), "c");
  const Chart* chart = Find<Chart>(s, "Differences between networks");
  ASSERT_NE(chart, nullptr);
  ASSERT_EQ(chart->series.size(), 1U);
  EXPECT_EQ(chart->series[0].name, "with − without");
  ASSERT_EQ(chart->series[0].points.size(), 2U);
  EXPECT_NEAR(chart->series[0].points[0].y, 7.5, 1e-9);
  EXPECT_NEAR(chart->series[0].points[1].y, 31, 1e-9);
}

TEST(CampaignSection, TabulatesOutcomes) {
  const Section s = CampaignSection(TwoNetworks(), "c");
  const Table* table = Find<Table>(s, "Outcomes");
  ASSERT_NE(table, nullptr);
  ASSERT_EQ(table->rows.size(), 4U);
  EXPECT_EQ(table->rows[3][0], "without");
  EXPECT_EQ(table->rows[3][2], "2");
  EXPECT_EQ(table->rows[3][3].find("30.0"), 0U);
  EXPECT_EQ(table->rows[3][4], "90.0 %");
  EXPECT_EQ(table->rows[3][5].find("70.0"), 0U);
  EXPECT_EQ(table->rows[3][6], "0.00 %");
  EXPECT_EQ(table->rows[3][9], "1e-3");
}

// Edges of the cells of a genotype: the mean over the cells of their kind.
TEST(CampaignSection, DrawsWhatEdgesCost) {
  CampaignRecord c = TwoNetworks();
  c.networks[0].architecture =
      "normal_0=[('sep_conv_3x3', 0, 2), ('none', 1, 2)], "
      "reduce_1=[('max_pool_3x3', 0, 2), ('sep_conv_3x3', 1, 2)]";
  // Five cells: 1 and 3 reduce. Clean: 80 %.
  c.points = {Point(1, 1, 1e-3, "edge:stem", {100, 100}),
              Point(2, 1, 1e-3, "edge:cell0.pre0", {100, 100}),
              Point(3, 1, 1e-3, "edge:cell0.n2.from0.sep_conv_3x3", {750, 770}),
              Point(4, 1, 1e-3, "edge:cell4.n2.from0.sep_conv_3x3", {700, 700}),
              Point(5, 1, 1e-3, "edge:cell1.n2.from0.max_pool_3x3", {600, 600}),
              Point(6, 1, 1e-3, "edge:cell3.n2.from1.sep_conv_3x3", {810, 810})};
  const Section s = CampaignSection(c, "c");
  const auto* normal = Find<CellDrawing>(s, "with, mibb:1e-3: normal cell");
  ASSERT_NE(normal, nullptr);
  EXPECT_EQ(normal->text, "0 -> 2  sep_conv_3x3  -7.0\n1 -> 2  none\n");
  const auto* reduce = Find<CellDrawing>(s, "with, mibb:1e-3: reduction cell");
  ASSERT_NE(reduce, nullptr);
  EXPECT_EQ(reduce->text, "0 -> 2  max_pool_3x3  -20.0\n1 -> 2  sep_conv_3x3  +1.0\n");
}

TEST(CampaignSection, OneRateGivesBars) {
  CampaignRecord c = TwoNetworks();
  c.points = {Point(1, 1, 1e-3, "", {600}), Point(2, 2, 1e-3, "", {300})};
  const Section s = CampaignSection(c, "c");
  const Chart* chart = Find<Chart>(s, "Accuracy under");
  ASSERT_NE(chart, nullptr);
  EXPECT_EQ(chart->categories, (std::vector<std::string>{"with", "without"}));
  EXPECT_NEAR(chart->series.at(1).points.at(1).y, 30, 1e-9);
  EXPECT_TRUE(std::isnan(chart->series[1].points[1].low));  // one trial has no interval
}

TEST(Scope, Parses) {
  EXPECT_EQ(ParseScope("").kind, "");
  EXPECT_EQ(ParseScope("only:cells.0/op,1").kind, "only");
  EXPECT_EQ(ParseScope("only:cells.0/op,1").names, std::vector<std::string>{"cells.0/op,1"});
  EXPECT_EQ(ParseScope("edge:cell1.n2.from0.sep_conv_3x3").kind, "edge");
  EXPECT_EQ(ParseScope("protect:a,b").names, (std::vector<std::string>{"a", "b"}));
}

TEST(BitFault, Splits) {
  EXPECT_EQ(SplitBit("mibb:0.001,bit=12,lifetime=permanent").base, "mibb:0.001,lifetime=permanent");
  EXPECT_EQ(SplitBit("mibb:0.001,bit=12,lifetime=permanent").bit, 12);
  EXPECT_EQ(SplitBit("mibb:0.001").bit, -1);
  EXPECT_EQ(SplitBit("mibb:0.001,bit=x").base, "mibb:0.001,bit=x");
}

CampaignPoint Part(int64_t id, const std::string& scope, int bit, int64_t correct) {
  CampaignPoint p = Point(id, 1, 1e-3, scope, {correct, correct + 10});
  p.point.fault = bit < 0 ? "mibb:0.001" : "mibb:0.001,bit=" + std::to_string(bit);
  p.point.model = p.point.fault;
  return p;
}

TEST(CampaignSection, ShowsWhichPartsMatter) {
  CampaignRecord c = TwoNetworks();
  c.networks.pop_back();
  // Points arrive sorted by scope; ids say in which order layers follow each other.
  c.points = {Part(1, "", -1, 600),
              Part(8, "", 0, 790),
              Part(9, "", 1, 700),
              Part(3, "only:body", -1, 695),
              Part(6, "only:body", 1, 745),
              Part(2, "only:stem", -1, 780),
              Part(4, "only:stem", 0, 795),
              Part(5, "only:stem", 1, 785),
              Part(7, "kind:conv3x3", -1, 650),
              Part(10, "protect:stem", -1, 640),
              Part(11, "protect:stem,body", -1, 795)};
  c.plans = {{1,
              "mibb:0.001",
              {{"stem", "protect:stem", 25, 200, "multiply-adds"},
               {"body", "protect:stem,body", 200, 200, "multiply-adds"}}}};
  const Section s = CampaignSection(c, "c");
  const Chart* layers = Find<Chart>(s, "Faults in one layer only");
  ASSERT_NE(layers, nullptr);
  EXPECT_EQ(layers->categories, (std::vector<std::string>{"stem", "body"}));
  EXPECT_NEAR(layers->series.at(0).points.at(1).y, 10, 1e-9);
  EXPECT_LT(layers->series[0].points[1].low, 10);
  EXPECT_GT(layers->series[0].points[1].high, 10);
  const HeatMap* map = Find<HeatMap>(s, "Layers and bits");
  ASSERT_NE(map, nullptr);
  EXPECT_EQ(map->rows, (std::vector<std::string>{"stem", "body"}));
  EXPECT_EQ(map->columns, (std::vector<std::string>{"0", "1"}));
  EXPECT_NEAR(map->values[0][1], 1, 1e-9);
  EXPECT_TRUE(std::isnan(map->values[1][0]));
  EXPECT_NEAR(map->values[1][1], 5, 1e-9);
  const Chart* bits = Find<Chart>(s, "Faults in one bit only");
  ASSERT_NE(bits, nullptr);
  EXPECT_EQ(bits->categories, (std::vector<std::string>{"0", "1"}));
  EXPECT_NEAR(bits->series.at(0).points.at(1).y, 9.5, 1e-9);
  ASSERT_NE(Find<Chart>(s, "one kind of layer"), nullptr);
  const Chart* gains = Find<Chart>(s, "One layer protected");
  ASSERT_NE(gains, nullptr);
  ASSERT_EQ(gains->categories.size(), 1U);
  EXPECT_NEAR(gains->series.at(0).points.at(0).y, 4, 1e-9);
  const Chart* hardening = Find<Chart>(s, "Hardening (");
  ASSERT_NE(hardening, nullptr);
  ASSERT_EQ(hardening->series.at(0).points.size(), 3U);
  EXPECT_EQ(hardening->series[0].points[0].x, 0);
  EXPECT_NEAR(hardening->series[0].points[0].y, 60.5, 1e-9);
  EXPECT_EQ(hardening->series[0].points[1].x, 12.5);
  EXPECT_NEAR(hardening->series[0].points[2].y, 80, 1e-9);
  EXPECT_EQ(hardening->x.title, "Protected multiply-adds (% of the network's)");
  // Bits are no curves of their own.
  EXPECT_EQ(Find<Chart>(s, "Accuracy under mibb:0.001,bit"), nullptr);
  EXPECT_EQ(s.headline.find("60.5 % ("), 0U) << s.headline;
}

TEST(ReadCampaign, ReadsAStore) {
  const TempDir temp;
  const std::string path = temp / "campaign.sqlite";
  {
    CampaignStore store(path, CampaignStore::Access::kCreate);
    EXPECT_ERROR(ReadCampaign(path), "holds no results yet");
    const CampaignRecord c = TwoNetworks();
    store.SetKey(c.key);
    const int64_t network = store.AddNetwork(c.networks[0]);
    PointRow point = c.points[0].point;
    point.network = network;
    store.AddTrials(store.AddPoint(point), c.points[0].trials);
    point.scope = "protect:stem";
    store.AddTrials(store.AddPoint(point), c.points[0].trials);
    store.SetNote("sweep", "[sweep]\n");
    store.SetNote(
        "plan with " + point.fault,
        R"([{"layer":"stem","scope":"protect:stem","cost":5,"total_cost":20,"unit":"weight bits"}])");
  }
  const CampaignRecord back = ReadCampaign(path);
  EXPECT_EQ(back.key.seed, 7U);
  ASSERT_EQ(back.points.size(), 2U);
  EXPECT_EQ(back.points[0].trials.size(), 2U);
  ASSERT_EQ(back.configs.size(), 1U);
  EXPECT_EQ(back.configs[0].first, "sweep");
  ASSERT_EQ(back.plans.size(), 1U);
  EXPECT_EQ(back.plans[0].steps.at(0).cost, 5);
  EXPECT_EQ(back.plans[0].steps[0].unit, "weight bits");
}

}  // namespace
}  // namespace ftt
