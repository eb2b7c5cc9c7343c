#include "search/space.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>

#include "core/error.h"
#include "engine/networks/cell.h"
#include "engine/networks/networks.h"

namespace ftt {
namespace {

SearchSpace Toy() {
  SearchSpace space;
  space.primitives = {"skip_connect", "sep_conv_3x3", "conv_1x1"};
  space.nodes = 2;
  return space;
}

TEST(SearchSpace, PresetsHoldTheReferencesPrimitives) {
  const auto mibb = PresetSpace("mibb").primitives, adsaf = PresetSpace("adsaf").primitives;
  EXPECT_EQ(
      std::set<std::string>(mibb.begin(), mibb.end()),
      (std::set<std::string>{"none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3",
                             "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"}));
  EXPECT_EQ(adsaf.size(), PrimitiveNames().size());
  for (const char* preset : {"mibb", "adsaf"}) {
    EXPECT_NO_THROW(CheckSpace(PresetSpace(preset))) << preset;
    EXPECT_EQ(PresetSpace(preset).nodes, 4);
  }
  EXPECT_THROW(PresetSpace("small"), Error);
}

TEST(SearchSpace, BadSpacesAreErrors) {
  const auto expect_error = [](auto change) {
    SearchSpace space = Toy();
    change(space);
    EXPECT_THROW(CheckSpace(space), Error);
  };
  expect_error([](SearchSpace& s) { s.primitives = {}; });
  expect_error([](SearchSpace& s) { s.primitives = {"none"}; });
  expect_error([](SearchSpace& s) { s.primitives = {"conv_3x3"}; });
  expect_error([](SearchSpace& s) { s.primitives = {"conv_1x1", "none", "conv_1x1"}; });
  expect_error([](SearchSpace& s) { s.nodes = 0; });
  expect_error([](SearchSpace& s) { s.nodes = kMaxInternalNodes + 1; });
  expect_error([](SearchSpace& s) { s.inputs_per_node = 3; });
}

TEST(SearchSpace, DecisionsRoundTrip) {
  const SearchSpace space = PresetSpace("adsaf");
  const std::vector<int> decisions = EncodeGenotype(space, WFttGenotype());
  ASSERT_EQ(decisions.size(), 32u);
  // Node 2: inputs 0 and 0, ops relu_conv_bn_3x3 and relu_conv_bn_5x5.
  EXPECT_EQ(decisions[0], 0);
  EXPECT_EQ(decisions[1], 0);
  EXPECT_EQ(space.primitives[static_cast<size_t>(decisions[2])], "relu_conv_bn_3x3");
  EXPECT_EQ(space.primitives[static_cast<size_t>(decisions[31])], "skip_connect");
  EXPECT_EQ(decisions[29], 2);
  EXPECT_EQ(DecodeGenotype(space, decisions), WFttGenotype());
}

TEST(SearchSpace, ACoverHasEveryOpOnEveryEdge) {
  for (const int nodes : {1, 2, 3, 4}) {
    SearchSpace space = PresetSpace("mibb");
    space.nodes = nodes;
    std::set<std::string> edges;
    for (const Genotype& g : CoverSpace(space)) {
      EXPECT_NO_THROW(EncodeGenotype(space, g));
      for (const GenotypeEdge& e : g.normal)
        edges.insert(fmt::format("{} {} {}", e.op, e.from, e.to));
    }
    size_t inputs = 0;
    for (int node = 2; node < 2 + nodes; ++node) inputs += static_cast<size_t>(node);
    EXPECT_EQ(edges.size(), inputs * space.primitives.size());
  }
}

TEST(SearchSpace, GenotypesOutsideTheSpaceAreErrors) {
  EXPECT_THROW(EncodeGenotype(PresetSpace("mibb"), WFttGenotype()), Error);
  SearchSpace space = PresetSpace("adsaf");
  space.nodes = 3;
  EXPECT_THROW(EncodeGenotype(space, WFttGenotype()), Error);
  std::vector<int> decisions(16, 0);
  EXPECT_NO_THROW(DecodeGenotype(Toy(), decisions));
  decisions.back() = 3;
  EXPECT_THROW(DecodeGenotype(Toy(), decisions), Error);
  decisions.back() = -1;
  EXPECT_THROW(DecodeGenotype(Toy(), decisions), Error);
  decisions.pop_back();
  EXPECT_THROW(DecodeGenotype(Toy(), decisions), Error);
}

TEST(SearchSpace, RandomGenotypesAreUniform) {
  const SearchSpace space = Toy();
  const int per_cell = DecisionsPerCell(space);
  constexpr int kDraws = 6000;
  std::vector<std::vector<double>> counts(2 * static_cast<size_t>(per_cell),
                                          std::vector<double>(3, 0.0));
  for (uint32_t i = 0; i < kDraws; ++i) {
    PhiloxSequence draws(7, Stream::kSearch, i);
    const auto decisions = EncodeGenotype(space, RandomGenotype(space, draws));
    for (size_t d = 0; d < decisions.size(); ++d) {
      counts[d][static_cast<size_t>(decisions[d])] += 1;
    }
  }
  for (size_t d = 0; d < counts.size(); ++d) {
    const int options = OptionsOf(space, static_cast<int>(d) % per_cell);
    const double expected = double{kDraws} / options;
    for (int j = 0; j < options; ++j) {  // five standard deviations
      EXPECT_NEAR(counts[d][static_cast<size_t>(j)], expected, 5 * std::sqrt(expected)) << d;
    }
  }
}

TEST(SearchSpace, RandomGenotypesBuildNetworks) {
  CellNetOptions options;
  options.init_channels = 4;
  options.cells = 5;
  for (const char* preset : {"mibb", "adsaf"}) {
    const SearchSpace space = PresetSpace(preset);
    for (uint32_t i = 0; i < 100; ++i) {
      PhiloxSequence draws(3, Stream::kSearch, i);
      const Genotype g = RandomGenotype(space, draws);
      EXPECT_EQ(ParseGenotype(FormatGenotype(g)), g);
      options.shared = i % 2 == 0;
      EXPECT_NO_THROW(BuildCellNetwork(g, options, {15, 9, 3}, 10)) << FormatGenotype(g);
    }
  }
}

TEST(SearchSpace, MutationChangesExactlyOneDecisionAndReachesAll) {
  const SearchSpace space = Toy();
  PhiloxSequence start(5, Stream::kSearch, 0);
  const Genotype parent = RandomGenotype(space, start);
  const std::vector<int> before = EncodeGenotype(space, parent);
  std::set<std::pair<size_t, int>> reached;
  for (uint32_t i = 0; i < 2000; ++i) {
    PhiloxSequence draws(5, Stream::kSearch, 1 + i);
    const auto after = EncodeGenotype(space, MutateGenotype(space, parent, draws));
    int changed = 0;
    for (size_t d = 0; d < after.size(); ++d) {
      if (after[d] == before[d]) continue;
      ++changed;
      reached.insert({d, after[d]});
    }
    EXPECT_EQ(changed, 1);
  }
  size_t neighbours = 0;
  for (int d = 0; d < DecisionsPerCell(space); ++d) {
    neighbours += 2 * static_cast<size_t>(OptionsOf(space, d) - 1);
  }
  EXPECT_EQ(reached.size(), neighbours);
}

TEST(SearchSpace, MutationWithOnePrimitiveChangesInputs) {
  SearchSpace space = Toy();
  space.primitives = {"conv_1x1"};
  for (uint32_t i = 0; i < 50; ++i) {
    PhiloxSequence draws(5, Stream::kSearch, i);
    const Genotype parent = RandomGenotype(space, draws);
    EXPECT_NE(MutateGenotype(space, parent, draws), parent);
  }
}

TEST(SearchSpace, Counts) {
  SearchSpace space = Toy();
  space.nodes = 1;  // 2 inputs x 3 ops: 6 edges, 21 pairs, in two cells
  EXPECT_EQ(CountArchitectures(space), 21.0 * 21.0);
  std::set<std::string> seen;
  std::vector<int> d(8, 0);
  for (int code = 0; code < 36; ++code) {  // all of one cell, by its unordered edges
    d = {code & 1, (code >> 1) & 1, (code >> 2) % 3, (code >> 2) / 3, 0, 0, 0, 0};
    auto cell = DecodeGenotype(space, d).normal;
    if (FormatGenotype({{cell[1]}, {}}) < FormatGenotype({{cell[0]}, {}}))
      std::swap(cell[0], cell[1]);
    seen.insert(FormatGenotype({cell, {}}));
  }
  EXPECT_EQ(seen.size(), 21u);
  EXPECT_NEAR(UniformEntropy(space), (std::log(2.0) + std::log(3.0)) / 2, 1e-12);
  EXPECT_NE(SpaceHash(space), SpaceHash(Toy()));
  EXPECT_EQ(SpaceHash(Toy()), SpaceHash(Toy()));
}

}  // namespace
}  // namespace ftt
