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
  EXPECT_EQ(s.headline.find("Under mibb:0.001000 with keeps 61.0 % ("), 0U) << s.headline;
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
  EXPECT_EQ(ParseScope("layer:cells.0/op 1").layer, "cells.0/op 1");
  EXPECT_EQ(ParseScope("layer:cells.0/op 1").bit, -1);
  EXPECT_EQ(ParseScope("layer:stem bit:7").layer, "stem");
  EXPECT_EQ(ParseScope("layer:stem bit:7").bit, 7);
  EXPECT_EQ(ParseScope("bit:0").bit, 0);
  EXPECT_EQ(ParseScope("bit:x").bit, -1);
  EXPECT_EQ(ParseScope("protect:a,b").kept_whole, (std::vector<std::string>{"a", "b"}));
}

TEST(CampaignSection, ShowsWhichSitesMatter) {
  CampaignRecord c = TwoNetworks();
  c.networks.pop_back();
  // Points arrive sorted by scope; ids say in which order layers follow each other.
  c.points = {Point(1, 1, 1e-3, "", {600, 620}),
              Point(3, 1, 1e-3, "layer:body", {700, 700}),
              Point(6, 1, 1e-3, "layer:body bit:1", {750, 750}),
              Point(2, 1, 1e-3, "layer:stem", {780, 780}),
              Point(4, 1, 1e-3, "layer:stem bit:0", {800, 800}),
              Point(5, 1, 1e-3, "layer:stem bit:1", {790, 790}),
              Point(7, 1, 1e-3, "bit:0", {795, 795}),
              Point(8, 1, 1e-3, "protect:stem", {640, 640}),
              Point(9, 1, 1e-3, "protect:stem,body", {800, 800})};
  const Section s = CampaignSection(c, "c");
  const Chart* layers = Find<Chart>(s, "Faults in one layer only");
  ASSERT_NE(layers, nullptr);
  EXPECT_EQ(layers->categories, (std::vector<std::string>{"stem", "body"}));
  EXPECT_NEAR(layers->series.at(0).points.at(1).y, 10, 1e-9);
  const HeatMap* map = Find<HeatMap>(s, "Layers and bits");
  ASSERT_NE(map, nullptr);
  EXPECT_EQ(map->rows, (std::vector<std::string>{"stem", "body"}));
  EXPECT_EQ(map->columns, (std::vector<std::string>{"0", "1"}));
  EXPECT_NEAR(map->values[0][1], 1, 1e-9);
  EXPECT_TRUE(std::isnan(map->values[1][0]));
  EXPECT_NEAR(map->values[1][1], 5, 1e-9);
  EXPECT_NE(Find<Chart>(s, "Faults in one bit only"), nullptr);
  EXPECT_NE(Find<Chart>(s, "everywhere but in one layer"), nullptr);
  const Chart* hardening = Find<Chart>(s, "Hardening");
  ASSERT_NE(hardening, nullptr);
  ASSERT_EQ(hardening->series.at(0).points.size(), 2U);
  EXPECT_EQ(hardening->series[0].points[0].x, 0);
  EXPECT_NEAR(hardening->series[0].points[0].y, 61, 1e-9);
  EXPECT_EQ(hardening->series[0].points[1].x, 2);
  EXPECT_EQ(s.headline.find("61.0 % ("), 0U) << s.headline;
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
    store.SetNote("command", "ftt-cuda sweep");
  }
  const CampaignRecord back = ReadCampaign(path);
  EXPECT_EQ(back.key.seed, 7U);
  ASSERT_EQ(back.points.size(), 1U);
  EXPECT_EQ(back.points[0].trials.size(), 2U);
  EXPECT_EQ(back.command, "ftt-cuda sweep");
}

}  // namespace
}  // namespace ftt
