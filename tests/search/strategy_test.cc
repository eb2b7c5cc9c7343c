#include "search/strategy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <string>

#include "core/error.h"

namespace ftt {
namespace {

SearchSpace Toy() {
  SearchSpace space;
  space.primitives = {"skip_connect", "sep_conv_3x3", "conv_1x1"};
  space.nodes = 2;
  return space;
}

// A reward with one best genotype: every edge sep_conv_3x3 from the highest input.
double ToyReward(const Genotype& g) {
  double score = 0;
  for (const auto* cell : {&g.normal, &g.reduce}) {
    for (const GenotypeEdge& e : *cell) {
      score += (e.op == "sep_conv_3x3" ? 1 : 0) + (e.from == e.to - 1 ? 1 : 0);
    }
  }
  return score / 16;
}

std::unique_ptr<Strategy> Make(const std::string& name, uint64_t seed = 4) {
  if (name == "evolution") return MakeEvolutionStrategy(Toy(), seed, {12, 4});
  if (name == "reinforce") {
    ControllerOptions options;
    options.hidden = options.attention = 12;
    return MakeReinforceStrategy(Toy(), seed, options);
  }
  return MakeStrategy(name, Toy(), seed);
}

void RunSteps(Strategy* strategy, uint32_t first, uint32_t end) {
  for (uint32_t i = first; i < end; ++i) {
    const Genotype g = strategy->Propose(i);
    strategy->Tell(g, ToyReward(g));
  }
}

class EveryStrategy : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryStrategy, ProposalsAreInTheSpaceAndRepeatable) {
  const auto strategy = Make(GetParam()), again = Make(GetParam()), other = Make(GetParam(), 5);
  std::set<std::string> distinct;
  int equal = 0;
  for (uint32_t i = 0; i < 60; ++i) {
    const Genotype g = strategy->Propose(i);
    EXPECT_NO_THROW(EncodeGenotype(Toy(), g));
    EXPECT_EQ(strategy->Propose(i), g) << "asking changed the strategy";
    EXPECT_EQ(again->Propose(i), g);
    equal += other->Propose(i) == g ? 1 : 0;
    distinct.insert(FormatGenotype(g));
    strategy->Tell(g, ToyReward(g));
    again->Tell(g, ToyReward(g));
    other->Tell(g, ToyReward(g));
  }
  EXPECT_GT(distinct.size(), 30u);
  EXPECT_LT(equal, 10);
  EXPECT_EQ(strategy->Export(), again->Export());
}

TEST_P(EveryStrategy, ResumeAtAnyStepIsBitIdentical) {
  const auto straight = Make(GetParam());
  RunSteps(straight.get(), 0, 100);
  for (const uint32_t stop : {0u, 1u, 11u, 12u, 13u, 70u, 99u, 100u}) {
    const auto first = Make(GetParam());
    RunSteps(first.get(), 0, stop);
    const auto resumed = Make(GetParam());
    RunSteps(resumed.get(), 0, 3);  // Import must replace everything
    resumed->Import(first->Export());
    EXPECT_EQ(resumed->Export(), first->Export()) << stop;
    RunSteps(resumed.get(), stop, 100);
    EXPECT_EQ(resumed->Export(), straight->Export()) << stop;
    EXPECT_EQ(resumed->Propose(100), straight->Propose(100)) << stop;
    EXPECT_EQ(resumed->Candidates(8, 3), straight->Candidates(8, 3)) << stop;
    EXPECT_EQ(resumed->Entropy(), straight->Entropy()) << stop;
  }
}

TEST_P(EveryStrategy, CandidatesAreAsManyAsAsked) {
  const auto strategy = Make(GetParam());
  EXPECT_EQ(strategy->Candidates(8, 0).size(), 8u);  // before anything was told
  RunSteps(strategy.get(), 0, 5);
  const auto candidates = strategy->Candidates(8, 0);
  ASSERT_EQ(candidates.size(), 8u);
  for (const Genotype& g : candidates) EXPECT_NO_THROW(EncodeGenotype(Toy(), g));
  EXPECT_EQ(strategy->Candidates(8, 0), candidates);
  EXPECT_NE(strategy->Candidates(8, 1), candidates);
  EXPECT_EQ(strategy->Candidates(1, 0).size(), 1u);
}

TEST_P(EveryStrategy, EntropyLiesBetweenZeroAndUniform) {
  const auto strategy = Make(GetParam());
  for (const uint32_t end : {0u, 1u, 50u}) {
    RunSteps(strategy.get(), 0, end);
    EXPECT_GE(strategy->Entropy(), 0.0);
    EXPECT_LE(strategy->Entropy(), UniformEntropy(Toy()) + 1e-12);
  }
}

TEST_P(EveryStrategy, BadRewardsAndForeignStatesAreErrors) {
  const auto strategy = Make(GetParam());
  const Genotype g = strategy->Propose(0);
  EXPECT_THROW(strategy->Tell(g, std::nan("")), Error);
  EXPECT_THROW(strategy->Tell(Genotype{}, 0.5), Error);
  RunSteps(strategy.get(), 0, 5);
  const StateDict own = strategy->Export();
  EXPECT_THROW(strategy->Import({}), Error);
  SearchSpace other = Toy();
  other.primitives[0] = "none";
  EXPECT_THROW(strategy->Import(MakeStrategy(GetParam(), other, 4)->Export()), Error);
  EXPECT_THROW(strategy->Import(
                   Make(std::string(GetParam()) == "reinforce" ? "random" : "reinforce")->Export()),
               Error);
  EXPECT_EQ(strategy->Export(), own);
}

INSTANTIATE_TEST_SUITE_P(Strategies, EveryStrategy,
                         ::testing::Values("reinforce", "random", "evolution"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Strategy, TableAndFactoryAgree) {
  ASSERT_EQ(Strategies().size(), 3u);
  for (const StrategyEntry& entry : Strategies()) {
    EXPECT_NE(MakeStrategy(entry.name, PresetSpace("mibb"), 1), nullptr) << entry.name;
  }
  EXPECT_THROW(MakeStrategy("darts", Toy(), 1), Error);
  EXPECT_THROW(MakeStrategy("random", SearchSpace{}, 1), Error);
  EXPECT_THROW(MakeStrategy("evolution", SearchSpace{}, 1), Error);
  EXPECT_THROW(MakeStrategy("reinforce", SearchSpace{}, 1), Error);
  EXPECT_THROW(MakeEvolutionStrategy(Toy(), 1, {1, 1}), Error);
  EXPECT_THROW(MakeEvolutionStrategy(Toy(), 1, {10, 11}), Error);
}

TEST(RandomStrategy, CandidatesAreTheBestTold) {
  const auto strategy = Make("random");
  std::vector<double> rewards;
  std::set<std::string> seen;
  for (uint32_t i = 0; i < 200; ++i) {
    const Genotype g = strategy->Propose(i);
    strategy->Tell(g, ToyReward(g));
    if (seen.insert(FormatGenotype(g)).second) rewards.push_back(ToyReward(g));
  }
  std::sort(rewards.rbegin(), rewards.rend());
  const auto best = strategy->Candidates(8, 0);
  for (size_t i = 0; i < best.size(); ++i) EXPECT_EQ(ToyReward(best[i]), rewards[i]) << i;
}

TEST(EvolutionStrategy, FindsTheBestGenotypeOfAToySpace) {
  const auto strategy = MakeStrategy("evolution", Toy(), 2);
  RunSteps(strategy.get(), 0, 1500);
  EXPECT_EQ(ToyReward(strategy->Candidates(1, 0)[0]), 1.0);
}

TEST(EvolutionStrategy, TheOldestDiesEvenIfItIsTheBest) {
  const auto strategy = MakeEvolutionStrategy(Toy(), 2, {4, 4});
  std::vector<Genotype> told;
  for (uint32_t i = 0; i < 5; ++i) {
    PhiloxSequence draws(1, Stream::kSearch, i);
    told.push_back(RandomGenotype(Toy(), draws));
    strategy->Tell(told.back(), 1.0 - 0.1 * i);
    EXPECT_EQ(strategy->Candidates(1, 0)[0], told[i < 4 ? 0 : 1]) << i;
  }
  // Proposals now are one decision away from a living parent.
  const auto parents = strategy->Candidates(4, 0);
  for (uint32_t step = 0; step < 20; ++step) {
    const auto child = EncodeGenotype(Toy(), strategy->Propose(step));
    size_t nearest = child.size();
    for (const Genotype& parent : parents) {
      const auto p = EncodeGenotype(Toy(), parent);
      size_t changed = 0;
      for (size_t d = 0; d < p.size(); ++d) changed += p[d] != child[d] ? 1 : 0;
      nearest = std::min(nearest, changed);
    }
    EXPECT_EQ(nearest, 1u);
  }
}

TEST(ReinforceStrategy, TellingRaisesTheRewardOfProposals) {
  ControllerOptions options;
  options.hidden = options.attention = 24;
  options.temperature = 2;
  options.learning_rate = 5e-3;
  const auto strategy = MakeReinforceStrategy(Toy(), 8, options);
  const auto mean = [&] {
    double sum = 0;
    for (const Genotype& g : strategy->Candidates(40, 77)) sum += ToyReward(g) / 40;
    return sum;
  };
  const double before = mean(), entropy = strategy->Entropy();
  RunSteps(strategy.get(), 0, 800);
  EXPECT_GT(mean(), before + 0.3);
  EXPECT_LT(strategy->Entropy(), 0.5 * entropy);
}

}  // namespace
}  // namespace ftt
