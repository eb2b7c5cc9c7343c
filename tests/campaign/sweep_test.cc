#include "campaign/sweep.h"

#include <gtest/gtest.h>

#include "tests/data/temp_dir.h"
#include "tests/engine/engine_util.h"

namespace ftt {
namespace {

using test::EveryOpNetwork;
using test::FreshModel;
using test::HostDevice;
using test::Noise;

class SweepTest : public ::testing::Test {
 protected:
  SweepTest() : device_(HostDevice("cpu")) {
    data_.name = "noise";
    data_.classes = 10;
    data_.test = Noise({8, 8, 3}, 11);
    config_.trials = 3;
    config_.seed = 5;
    config_.version = "1";
  }
  CampaignNetwork Network(const std::string& name, float gain = 1) const {
    CampaignNetwork n;
    n.name = name;
    n.trained.spec.name = "every-op";
    n.trained.model = FreshModel(*device_, EveryOpNetwork({8, 8, 3}), data_.test);
    for (float& v : n.trained.model.norms.back().shift) v *= gain;
    n.trained.model.norms.back().shift[3] += gain;
    return n;
  }
  std::vector<SweepPoint> Points() const {
    return SweepPoints(2, {FaultCurve("mibb"), FaultCurve("adsaf:0.05")}, {1e-4, 1e-3});
  }
  Campaign Open(CampaignStore& store, const SweepConfig& config) const {
    return {*device_, store, data_, 0, {Network("a"), Network("b", 0.5f)}, config};
  }
  // Every row as text, without what may differ between machines.
  static std::vector<std::string> Rows(const CampaignStore& store) {
    std::vector<std::string> rows;
    for (const PointRow& p : store.Points()) {
      for (const TrialRow& t : store.Trials(p.id)) {
        rows.push_back(fmt::format("{} {} {} {} | {} {} {} {} {} {}/{}", p.network, p.model,
                                   p.fault, p.scope, t.trial, t.correct, t.sdc1, t.sdc5, t.masked,
                                   t.delivered, t.exposed));
      }
    }
    return rows;
  }
  std::vector<std::string> RunAll(const std::string& file, const SweepConfig& config,
                                  const std::vector<SweepPoint>& points) const {
    CampaignStore store(dir_ / file, CampaignStore::Access::kCreate);
    EXPECT_TRUE(Open(store, config).Run(points, nullptr, nullptr));
    return Rows(store);
  }

  TempDir dir_;
  std::unique_ptr<Device> device_;
  Dataset data_;
  SweepConfig config_;
};

TEST_F(SweepTest, RowsDoNotDependOnLanesBatchOrderOrInterruptions) {
  const std::vector<std::string> want = RunAll("plain", config_, Points());
  EXPECT_EQ(want.size(), 2u * 3 * 3);
  SweepConfig other = config_;
  other.lanes = 2;
  other.batch = 4;
  std::vector<SweepPoint> reversed = Points();
  std::reverse(reversed.begin(), reversed.end());
  EXPECT_EQ(RunAll("lanes", other, reversed), want);

  CampaignStore store(dir_ / "stopped", CampaignStore::Access::kCreate);
  for (int limit = 1; limit < 40; limit += 7) {
    int batches = 0;
    Open(store, config_).Run(Points(), nullptr, [&] { return ++batches >= limit; });
  }
  EXPECT_TRUE(Open(store, config_).Run(Points(), nullptr, nullptr));
  EXPECT_EQ(Rows(store), want);
}

TEST_F(SweepTest, FinishedTrialsAreNotComputedAgain) {
  CampaignStore store(dir_ / "c", CampaignStore::Access::kCreate);
  Open(store, config_).Run(Points(), nullptr, nullptr);
  int batches = 0;
  const auto count = [&](const SweepProgress&) { ++batches; };
  Open(store, config_).Run(Points(), count, nullptr);
  EXPECT_EQ(batches, 0);
  SweepConfig more = config_;
  more.trials = 4;
  Open(store, more).Run(Points(), count, nullptr);
  EXPECT_EQ(batches, 2 * 3);  // one trial a point, one batch each
  for (const PointRow& p : store.Points()) EXPECT_EQ(store.Trials(p.id).size(), 4u);
}

TEST_F(SweepTest, RowsAreThoseOfAPlainEvaluation) {
  RunAll("c", config_, Points());
  const CampaignStore store(dir_ / "c", CampaignStore::Access::kRead);
  const CampaignNetwork network = Network("a");
  const FaultSpec spec = ParseFaultSpec("mibb:0.001");
  EvaluateOptions options;
  options.trials = 3;
  options.seed = config_.seed;
  const EvaluateResult want = Evaluate(*device_, network.trained.model, data_.test, &spec, options);
  EXPECT_EQ(store.Networks()[0].golden_correct, want.golden_correct);
  bool found = false;
  for (const PointRow& p : store.Points()) {
    if (p.network != store.Networks()[0].id || p.fault != "mibb:0.001") continue;
    found = true;
    const std::vector<TrialRow> rows = store.Trials(p.id);
    for (size_t t = 0; t < 3; ++t) {
      EXPECT_EQ(rows[t].correct, want.trials[t].correct);
      EXPECT_EQ(rows[t].sdc1, want.trials[t].changed);
      EXPECT_EQ(rows[t].masked, want.trials[t].masked);
      EXPECT_EQ(rows[t].delivered, want.trials[t].faults.delivered);
    }
  }
  EXPECT_TRUE(found);
}

TEST_F(SweepTest, AMarginDecidesHowManyTrials) {
  SweepConfig config = config_;
  config.trials = 2;
  config.margin = 0.9;
  config.max_trials = 16;
  const std::vector<SweepPoint> points = SweepPoints(1, {FaultCurve("mibb:0.01")}, {});
  CampaignStore wide(dir_ / "wide", CampaignStore::Access::kCreate);
  EXPECT_TRUE(Open(wide, config).Run(points, nullptr, nullptr));
  const size_t few = wide.Trials(wide.Points()[0].id).size();
  config.lanes = 5;  // more than go into the looks without a rest
  CampaignStore lanes(dir_ / "lanes", CampaignStore::Access::kCreate);
  EXPECT_TRUE(Open(lanes, config).Run(points, nullptr, nullptr));
  EXPECT_EQ(lanes.Trials(lanes.Points()[0].id).size(), few);
  config.margin = 1e-6;
  CampaignStore narrow(dir_ / "narrow", CampaignStore::Access::kCreate);
  EXPECT_TRUE(Open(narrow, config).Run(points, nullptr, nullptr));
  EXPECT_EQ(narrow.Trials(narrow.Points()[0].id).size(), 16u);
  EXPECT_EQ(few, 12u);  // the look after the first
  EXPECT_EQ(wide.StoppedAt(wide.Points()[0].id), static_cast<int>(few));
  EXPECT_EQ(narrow.StoppedAt(narrow.Points()[0].id), 0);
}

TEST_F(SweepTest, OnlyTheScopesSitesAreStruck) {
  std::vector<SweepPoint> points = SweepPoints(1, {FaultCurve("ibf-feature:0.05")}, {});
  points[0].scope = "nothing";
  const Program program = EveryOpNetwork({8, 8, 3});
  points[0].sites = {std::vector<char>(program.values.size()),
                     std::vector<char>(program.ops.size())};
  CampaignStore store(dir_ / "c", CampaignStore::Access::kCreate);
  EXPECT_TRUE(Open(store, config_).Run(points, nullptr, nullptr));
  for (const TrialRow& t : store.Trials(store.Points()[0].id)) {
    EXPECT_EQ(t.masked, 11);
    EXPECT_EQ(t.delivered, 0u);
  }
}

TEST_F(SweepTest, RefusesWhatDoesNotFit) {
  CampaignStore store(dir_ / "c", CampaignStore::Access::kCreate);
  EXPECT_NE(ErrorOf([&] { SweepPoints(1, {FaultCurve("mibb")}, {}); }).find("--rates"),
            std::string::npos);
  EXPECT_NE(ErrorOf([&] {
              Campaign(*device_, store, data_, 0, {Network("a"), Network("a", 0.5f)}, config_);
            }).find("two networks"),
            std::string::npos);
  Campaign campaign = Open(store, config_);
  campaign.Run(SweepPoints(1, {FaultCurve("ibf-feature")}, {1e-3}), nullptr, nullptr);
  const std::string message = ErrorOf([&] {
    campaign.Run(SweepPoints(1, {FaultCurve("ibf-feature")}, {1e-3, 0.5}), nullptr, nullptr);
  });
  EXPECT_NE(message.find("another sampler"), std::string::npos) << message;
}

TEST(ModelDigestTest, FeelsEveryPart) {
  const auto device = HostDevice("cpu");
  const DeployModel model = FreshModel(*device, EveryOpNetwork({8, 8, 3}), Noise({8, 8, 3}, 3));
  const std::string digest = ModelDigest(model);
  EXPECT_EQ(ModelDigest(model), digest);
  std::vector<DeployModel> others(5, model);
  others[0].weights[1].codes.back() ^= 1;
  others[1].norms[1].shift.back() += 1;
  others[2].exponents.back() += 1;
  others[3].program.ops[2].inputs[0].relu = !others[3].program.ops[2].inputs[0].relu;
  others[4].bits = 7;
  for (const DeployModel& other : others) EXPECT_NE(ModelDigest(other), digest);
}

}  // namespace
}  // namespace ftt
