#include "search/controller.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
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

ControllerOptions SmallOptions() {
  ControllerOptions options;
  options.hidden = 6;
  options.attention = 5;
  options.temperature = 1.5;
  options.init_range = 0.8;  // far from uniform, so that every term of the gradient matters
  return options;
}

std::vector<ControllerStep> Replay(const ControllerNet& net, const std::vector<int>& decisions) {
  return net.Forward(net.Tables(), [&](int t, const std::vector<double>&) {
    return decisions[static_cast<size_t>(t)];
  });
}

// Every parameter's derivative against a central difference, log-probability and entropy
// separately.
void ExpectGradientMatches(const SearchSpace& space, const ControllerOptions& options,
                           const std::vector<int>& decisions) {
  ControllerNet net(space, options, 11, 0);
  const auto steps = Replay(net, decisions);
  std::vector<double> log_prob, entropy, both;
  net.Backward(steps, 1, 0, &log_prob);
  net.Backward(steps, 0, 1, &entropy);
  net.Backward(steps, -2, 0.5, &both);
  constexpr double kStep = 1e-5;
  for (const ControllerParam& p : net.Params()) {
    double largest = 0;
    for (size_t i = p.offset; i < p.offset + p.size; ++i) {
      const double value = net.Values()[i];
      net.Values()[i] = value + kStep;
      const auto above = Replay(net, decisions);
      net.Values()[i] = value - kStep;
      const auto below = Replay(net, decisions);
      net.Values()[i] = value;
      const double d_log_prob =
          (ControllerNet::LogProb(above) - ControllerNet::LogProb(below)) / (2 * kStep);
      const double d_entropy =
          (ControllerNet::Entropy(above) - ControllerNet::Entropy(below)) / (2 * kStep);
      ASSERT_NEAR(log_prob[i], d_log_prob, 1e-8) << p.name << " " << i - p.offset;
      ASSERT_NEAR(entropy[i], d_entropy, 1e-8) << p.name << " " << i - p.offset;
      ASSERT_NEAR(both[i], -2 * d_log_prob + 0.5 * d_entropy, 1e-7) << p.name;
      largest = std::max(largest, std::abs(d_log_prob));
    }
    EXPECT_GT(largest, 1e-4) << p.name << " has no gradient to check";
  }
}

const std::vector<int> kDecisions = {1, 0, 2, 1, 2, 1, 0, 2};

TEST(ControllerNet, GradientMatchesFiniteDifferences) {
  ExpectGradientMatches(Toy(), SmallOptions(), kDecisions);
  ExpectGradientMatches(Toy(), SmallOptions(), {0, 0, 0, 0, 0, 0, 0, 0});
}

TEST(ControllerNet, GradientWithTanhConstantMatchesFiniteDifferences) {
  ControllerOptions options = SmallOptions();
  options.tanh_constant = 1.1;
  options.temperature = 0.7;
  ExpectGradientMatches(Toy(), options, kDecisions);
}

TEST(ControllerNet, TemperatureAndTanhShapeTheDistribution) {
  ControllerOptions options = SmallOptions();
  // The widest gap between two options' log-probabilities over the decisions on inputs or on ops.
  const auto spread = [&](bool op) {
    double widest = 0;
    for (const auto& s : Replay(ControllerNet(Toy(), options, 11, 0), kDecisions)) {
      const auto [low, high] = std::minmax_element(s.log_probs.begin(), s.log_probs.end());
      if (s.is_op == op) widest = std::max(widest, *high - *low);
    }
    return widest;
  };
  options.temperature = 1;
  const double sharp = spread(true);
  options.temperature = 5;
  EXPECT_NEAR(spread(true), sharp / 5, 1e-12);
  options.temperature = 1e-6;  // scores beyond the bounds on both sides
  options.tanh_constant = 1.5;
  options.op_tanh_reduce = 2.5;
  EXPECT_NEAR(spread(false), 2 * 1.5, 1e-9);
  EXPECT_NEAR(spread(true), 2 * 1.5 / 2.5, 1e-9);
}

TEST(ControllerNet, ProbabilitiesOfAllSequencesSumToOne) {
  SearchSpace space = Toy();
  space.nodes = 1;
  const ControllerNet net(space, SmallOptions(), 3, 1);
  double sum = 0;
  for (int code = 0; code < 36; ++code) {
    sum += std::exp(ControllerNet::LogProb(
        Replay(net, {code & 1, (code >> 1) & 1, (code >> 2) % 3, (code >> 2) / 3})));
  }
  EXPECT_NEAR(sum, 1.0, 1e-12);
}

TEST(Controller, SamplesFollowTheirProbabilities) {
  SearchSpace space = Toy();
  space.nodes = 1;
  const Controller controller(space, SmallOptions(), 21);
  std::map<std::string, std::pair<int, double>> seen;
  constexpr int kDraws = 4000;
  for (uint32_t i = 0; i < kDraws; ++i) {
    const ControllerSample s = controller.Sample(i);
    const std::string key = FormatGenotype({s.genotype.normal, {}});
    auto& entry = seen[key];
    ++entry.first;
    entry.second = std::exp(ControllerNet::LogProb(
        Replay(ControllerNet(space, SmallOptions(), 21, 0), EncodeGenotype(space, s.genotype))));
  }
  double chi_square = 0, covered = 0;
  for (const auto& [key, entry] : seen) {
    const double expected = kDraws * entry.second;
    chi_square += (entry.first - expected) * (entry.first - expected) / expected;
    covered += entry.second;
  }
  EXPECT_GT(covered, 0.999);
  EXPECT_LT(chi_square, 66.6);  // 35 degrees of freedom, 99.9 %
}

TEST(Controller, SampleIsAPureFunction) {
  const Controller a(Toy(), SmallOptions(), 5), b(Toy(), SmallOptions(), 5);
  const Controller other(Toy(), SmallOptions(), 6);
  int equal_draws = 0, equal_variants = 0, equal_seeds = 0;
  for (uint32_t i = 0; i < 50; ++i) {
    const ControllerSample s = a.Sample(i);
    EXPECT_EQ(s.genotype, b.Sample(i).genotype);
    EXPECT_EQ(s.log_prob, b.Sample(i).log_prob);
    EXPECT_NEAR(s.log_prob, a.LogProb(s.genotype), 1e-12);
    EXPECT_NEAR(s.entropy, a.Entropy(s.genotype), 1e-12);
    equal_draws += s.genotype == a.Sample(i + 1).genotype ? 1 : 0;
    equal_variants += s.genotype == a.Sample(i, 1).genotype ? 1 : 0;
    equal_seeds += s.genotype == other.Sample(i).genotype ? 1 : 0;
  }
  EXPECT_LT(equal_draws, 5);
  EXPECT_LT(equal_variants, 5);
  EXPECT_LT(equal_seeds, 5);
}

TEST(Controller, RewardAboveTheBaselineRaisesTheProbability) {
  ControllerOptions options = SmallOptions();
  options.entropy_coeff = 0;
  Controller controller(Toy(), options, 5);
  const Genotype g = controller.Sample(0).genotype;
  double before = controller.LogProb(g);
  controller.Reinforce(g, 0.5);  // the first reward is the baseline
  EXPECT_EQ(controller.LogProb(g), before);
  EXPECT_DOUBLE_EQ(controller.Baseline(), 0.5);
  controller.Reinforce(g, 1.0);
  EXPECT_GT(controller.LogProb(g), before);
  EXPECT_DOUBLE_EQ(controller.Baseline(), 0.99 * 0.5 + 0.01 * 1.0);
  Controller falling(Toy(), options, 5);
  falling.Reinforce(g, 0.5);
  falling.Reinforce(g, 0.0);
  EXPECT_LT(falling.LogProb(g), before);
}

// The steps of the last draw are kept for its reward; whatever lies between them must not matter.
TEST(Controller, ReinforceDoesNotDependOnWhatWasDrawnBefore) {
  const auto state_after = [](auto between) {
    Controller controller(Toy(), SmallOptions(), 5);
    for (uint32_t i = 0; i < 3; ++i) {
      const ControllerSample sample = controller.Sample(i);
      between(&controller, i);
      controller.Reinforce(sample, 0.25 * (i + 1));
    }
    return controller.Export();
  };
  const StateDict at_once = state_after([](Controller*, uint32_t) {});
  EXPECT_EQ(state_after([](Controller* c, uint32_t i) { c->Sample(i + 10); }), at_once);
  EXPECT_EQ(state_after([](Controller* c, uint32_t) { c->Import(c->Export()); }), at_once);
  EXPECT_NE(state_after([](Controller* c, uint32_t) { c->Reinforce(c->Greedy(), 0.1); }), at_once);
}

TEST(Controller, EntropyBonusRaisesTheEntropy) {
  ControllerOptions options = SmallOptions();
  options.entropy_coeff = 1;
  Controller controller(Toy(), options, 5);
  const Genotype g = controller.Sample(0).genotype;
  const double before = controller.Entropy(g);
  for (int i = 0; i < 20; ++i) controller.Reinforce(g, 0.5);
  EXPECT_GT(controller.Entropy(g), before + 0.01);
}

// Adam's steps do not depend on the gradient's scale, but its epsilon and the clip's threshold do.
TEST(Controller, GradientClipBoundsTheGradient) {
  ControllerOptions options = SmallOptions();
  const auto moments = [&](double clip) {
    options.gradient_clip = clip;
    Controller controller(Toy(), options, 5);
    const Genotype g = controller.Sample(0).genotype;
    controller.Reinforce(g, 0.0);
    const StateDict first = controller.Export();
    double square = 0;
    for (const StateTensor& t : first) {
      if (t.name.find(".adam.m") == std::string::npos) continue;
      for (const double m : t.values) square += m * m / (0.1 * 0.1);
    }
    return std::sqrt(square);
  };
  const double free = moments(0);
  EXPECT_GT(free, 0);
  EXPECT_NEAR(moments(free / 4), free / 4, 1e-12);
  EXPECT_NEAR(moments(free * 2), free, 1e-12);
}

// Share of a genotype's decisions that agree with the target.
double Agreement(const SearchSpace& space, const Genotype& target, const Genotype& genotype) {
  const auto a = EncodeGenotype(space, target), b = EncodeGenotype(space, genotype);
  double same = 0;
  for (size_t i = 0; i < a.size(); ++i) same += a[i] == b[i] ? 1 : 0;
  return same / static_cast<double>(a.size());
}

TEST(Controller, ReinforceFindsTheBestGenotypeOfAToySpace) {
  const SearchSpace space = Toy();
  for (const uint64_t seed : {1u, 2u}) {
    PhiloxSequence draws(100 + seed, Stream::kSearch, 0);
    const Genotype target = RandomGenotype(space, draws);
    ControllerOptions options;
    options.hidden = options.attention = 24;
    options.temperature = 1;
    options.learning_rate = 4e-3;
    options.baseline_decay = 0.95;
    // Small parameters leave the attention's tanh linear, and then its ranking of the inputs cannot
    // depend on the state: a node's two inputs would be drawn from one distribution and could not
    // settle on different ones.
    options.init_range = 0.6;
    Controller controller(space, options, seed);
    for (uint32_t step = 0; step < 1500; ++step) {
      const ControllerSample sample = controller.Sample(step);
      controller.Reinforce(sample, Agreement(space, target, sample.genotype));
    }
    EXPECT_EQ(controller.Greedy(), target) << "seed " << seed;
    EXPECT_GT(std::exp(controller.LogProb(target)), 0.5) << "seed " << seed;
  }
}

TEST(Controller, ImportContinuesBitForBit) {
  Controller straight(Toy(), SmallOptions(), 9), interrupted(Toy(), SmallOptions(), 9);
  const auto train = [](Controller* c, uint32_t first, uint32_t end) {
    for (uint32_t i = first; i < end; ++i) {
      c->Reinforce(c->Sample(i), 0.1 * static_cast<double>(i % 7));
    }
  };
  train(&straight, 0, 40);
  train(&interrupted, 0, 17);
  Controller resumed(Toy(), SmallOptions(), 9);
  resumed.Import(interrupted.Export());
  EXPECT_EQ(resumed.Export(), interrupted.Export());
  train(&resumed, 17, 40);
  EXPECT_EQ(resumed.Export(), straight.Export());
  EXPECT_EQ(resumed.Sample(99).log_prob, straight.Sample(99).log_prob);
}

TEST(Controller, ThreadsChangeNoBit) {
  ControllerOptions two = SmallOptions();
  two.threads = 2;
  Controller one_by_one(Toy(), SmallOptions(), 12), side_by_side(Toy(), two, 12);
  for (uint32_t i = 0; i < 5; ++i) {
    const Genotype g = one_by_one.Sample(i).genotype;
    ASSERT_EQ(side_by_side.Sample(i).genotype, g);
    one_by_one.Reinforce(g, 0.1 * i);
    side_by_side.Reinforce(g, 0.1 * i);
    ASSERT_EQ(one_by_one.Export(), side_by_side.Export());
  }
}

TEST(Controller, ForeignStatesAreRejectedUnchanged) {
  Controller controller(Toy(), SmallOptions(), 9);
  const StateDict own = controller.Export();
  SearchSpace wider = Toy();
  wider.primitives.back() = "max_pool_3x3";
  EXPECT_THROW(controller.Import(Controller(wider, SmallOptions(), 9).Export()), Error);
  ControllerOptions larger = SmallOptions();
  larger.hidden = 7;
  EXPECT_THROW(controller.Import(Controller(Toy(), larger, 9).Export()), Error);
  StateDict damaged = Controller(Toy(), SmallOptions(), 10).Export();
  damaged.erase(damaged.end() - 2);  // the baseline, read last
  EXPECT_THROW(controller.Import(damaged), Error);
  damaged = Controller(Toy(), SmallOptions(), 10).Export();
  damaged[3].values.pop_back();
  EXPECT_THROW(controller.Import(damaged), Error);
  EXPECT_EQ(controller.Export(), own);
}

TEST(Controller, BadInputIsAnError) {
  Controller controller(Toy(), SmallOptions(), 9);
  const Genotype g = controller.Greedy();
  EXPECT_THROW(controller.Reinforce(g, std::nan("")), Error);
  EXPECT_THROW(controller.Reinforce(Genotype{}, 1.0), Error);
  const auto expect_error = [](auto change) {
    ControllerOptions options;
    change(options);
    EXPECT_THROW(Controller(Toy(), options, 1), Error);
  };
  expect_error([](ControllerOptions& o) { o.hidden = 0; });
  expect_error([](ControllerOptions& o) { o.attention = 0; });
  expect_error([](ControllerOptions& o) { o.temperature = 0; });
  expect_error([](ControllerOptions& o) { o.tanh_constant = -1; });
  expect_error([](ControllerOptions& o) { o.learning_rate = 0; });
  expect_error([](ControllerOptions& o) { o.baseline_decay = 1; });
  expect_error([](ControllerOptions& o) { o.entropy_coeff = -0.1; });
  expect_error([](ControllerOptions& o) { o.gradient_clip = -1; });
  expect_error([](ControllerOptions& o) { o.threads = 0; });
}

}  // namespace
}  // namespace ftt
