// The end of a search: which candidates the halving leaves, and what the random baseline costs.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "data/dataset.h"
#include "search/search.h"
#include "tests/engine/engine_util.h"

namespace ftt {
namespace {

SearchConfig TinySearch() {
  SearchConfig c;
  c.space.primitives = {"none", "skip_connect", "max_pool_3x3", "conv_1x1"};
  c.network.init_channels = 4;
  c.network.cells = 3;
  c.network.stem_multiplier = 1;
  c.faults = ParseFaultSpec("mibb:1e-3");
  c.fault_loss_coeff = 0.5;
  c.epochs = 1;
  c.warmup_epochs = 0;
  c.batch = 16;
  c.controller_every = 2;
  c.seed = 3;
  return c;
}

// Each with the same supernet: derivation changes nothing of what went before.
SearchOutcome Derive(int draws, int samples, int batches) {
  static const Dataset data = LoadDataset("shapes:400,50");
  SearchConfig config = TinySearch();
  config.derive_draws = draws;
  config.derive_samples = samples;
  config.derive_batches = batches;
  const auto device = test::HostDevice("cpu", 1);
  ParamStore params(config.seed);
  SearchLoop loop(*device, data, params, config);
  SearchEpoch epoch;
  EXPECT_TRUE(loop.RunEpoch(&epoch));
  return loop.Finish();
}

int64_t Proposals() {  // of 320 images that train weights, in steps of 16, after every second one
  return 320 / 16 / 2;
}

bool Contains(const std::vector<Candidate>& all, const Candidate& c) {
  return std::any_of(all.begin(), all.end(),
                     [&](const Candidate& a) { return a.genotype == c.genotype; });
}

TEST(DerivationTest, OnOneBatchTheBestOfAllDrawsAreLeft) {
  const std::vector<Candidate> all = Derive(24, 24, 1).derived;
  ASSERT_EQ(all.size(), 24u);
  const SearchOutcome picked = Derive(24, 3, 1);
  ASSERT_EQ(picked.derived.size(), 3u);
  std::vector<double> values, left;
  double sum = 0;
  for (const Candidate& c : all) {
    values.push_back(c.reward.value);
    sum += c.reward.value;
  }
  for (const Candidate& c : picked.derived) left.push_back(c.reward.value);
  std::sort(values.rbegin(), values.rend());
  ASSERT_GT(values[0], values[23]);
  std::sort(left.rbegin(), left.rend());
  EXPECT_EQ(left, std::vector<double>(values.begin(), values.begin() + 3));
  EXPECT_NEAR(picked.drawn.value, sum / 24, 1e-12);
  EXPECT_EQ(picked.best.reward.value, values[0]);
}

TEST(DerivationTest, FinalistsAreDrawsMeasuredOnAllBatches) {
  const std::vector<Candidate> all = Derive(16, 16, 4).derived;
  const SearchOutcome picked = Derive(16, 2, 4);
  ASSERT_EQ(picked.derived.size(), 2u);
  for (const Candidate& c : picked.derived) {
    ASSERT_TRUE(Contains(all, c));
    for (const Candidate& a : all) {
      if (a.genotype != c.genotype) continue;
      EXPECT_EQ(a.reward.value, c.reward.value);
    }
  }
  // better than two draws as they come, on the same four batches
  double mean = 0;
  for (const Candidate& a : all) mean += a.reward.value / 16;
  EXPECT_GT((picked.derived[0].reward.value + picked.derived[1].reward.value) / 2, mean);
}

TEST(DerivationTest, BothSidesCostWhatTheReportSays) {
  EXPECT_EQ(Derive(8, 8, 4).reward_evaluations, Proposals() + 8 * 4);
  // 16 on one batch, 8 on a second one, 4 on two more, 2 on four more
  EXPECT_EQ(Derive(16, 2, 8).reward_evaluations, Proposals() + 16 + 8 + 4 * 2 + 2 * 4);
  // fewer draws than candidates: as many as candidates
  EXPECT_EQ(Derive(1, 5, 2).derived.size(), 5u);
}

TEST(DerivationTest, NeedsADraw) { EXPECT_THROW(Derive(0, 1, 1), Error); }

}  // namespace
}  // namespace ftt
