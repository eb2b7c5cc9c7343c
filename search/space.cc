#include "search/space.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"

namespace ftt {
namespace {

std::vector<int> EncodeCell(const SearchSpace& space, const char* kind,
                            const std::vector<GenotypeEdge>& cell) {
  FTT_CHECK(InternalNodes(cell) == space.nodes,
            "genotype: the {} cell has {} internal nodes, the search space {}", kind,
            InternalNodes(cell), space.nodes);
  std::vector<int> decisions;
  for (int node = 2; node < 2 + space.nodes; ++node) {
    std::vector<int> ops;
    for (const GenotypeEdge& e : cell) {
      if (e.to != node) continue;
      const auto at = std::find(space.primitives.begin(), space.primitives.end(), e.op);
      FTT_CHECK(at != space.primitives.end(),
                "genotype: {} cell, edge ('{}', {}, {}): the op is not in the search space", kind,
                e.op, e.from, e.to);
      decisions.push_back(e.from);
      ops.push_back(static_cast<int>(at - space.primitives.begin()));
    }
    decisions.insert(decisions.end(), ops.begin(), ops.end());
  }
  return decisions;
}

std::vector<GenotypeEdge> DecodeCell(const SearchSpace& space, const int* decisions) {
  const int inputs = space.inputs_per_node;
  std::vector<GenotypeEdge> cell;
  for (int node = 0; node < space.nodes; ++node) {
    const int* from = decisions + 2 * inputs * node;
    const int* op = from + inputs;
    for (int k = 0; k < inputs; ++k) {
      cell.push_back({space.primitives[static_cast<size_t>(op[k])], from[k], 2 + node});
    }
  }
  return cell;
}

}  // namespace

SearchSpace PresetSpace(const std::string& preset) {
  SearchSpace space;
  if (preset == "mibb" || preset == "adsaf") {
    space.primitives = {"none",         "max_pool_3x3", "avg_pool_3x3", "skip_connect",
                        "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"};
    if (preset == "adsaf") {
      space.primitives.insert(space.primitives.end(),
                              {"relu_conv_bn_3x3", "relu_conv_bn_5x5", "conv_1x1"});
    }
  } else {
    Fail("unknown preset '{}'; known: mibb, adsaf", preset);
  }
  return space;
}

void CheckSpace(const SearchSpace& space) {
  FTT_CHECK(space.nodes >= 1 && space.nodes <= kMaxInternalNodes,
            "search space: nodes is {}; allowed is 1 to {}", space.nodes, kMaxInternalNodes);
  FTT_CHECK(space.inputs_per_node == 2,
            "search space: inputs_per_node is {}; a node sums exactly 2 edges",
            space.inputs_per_node);
  const auto& names = space.primitives;
  for (size_t i = 0; i < names.size(); ++i) {
    FTT_CHECK(IsPrimitive(names[i]), "search space: unknown primitive '{}'; known: {}", names[i],
              fmt::format("{}", fmt::join(PrimitiveNames(), ", ")));
    FTT_CHECK(std::count(names.begin(), names.end(), names[i]) == 1,
              "search space: primitive '{}' is listed twice", names[i]);
  }
  FTT_CHECK(!names.empty() && (names.size() > 1 || names[0] != "none"),
            "search space: needs at least one primitive other than none");
}

int DecisionsPerCell(const SearchSpace& space) { return 2 * space.nodes * space.inputs_per_node; }

int OptionsOf(const SearchSpace& space, int index, bool* is_op) {
  const int per_node = 2 * space.inputs_per_node;
  const bool op = index % per_node >= space.inputs_per_node;
  if (is_op != nullptr) *is_op = op;
  return op ? static_cast<int>(space.primitives.size()) : 2 + index / per_node;
}

std::vector<int> EncodeGenotype(const SearchSpace& space, const Genotype& genotype) {
  CheckGenotype(genotype);
  std::vector<int> decisions = EncodeCell(space, "normal", genotype.normal);
  const std::vector<int> reduce = EncodeCell(space, "reduce", genotype.reduce);
  decisions.insert(decisions.end(), reduce.begin(), reduce.end());
  return decisions;
}

Genotype DecodeGenotype(const SearchSpace& space, const std::vector<int>& decisions) {
  const int per_cell = DecisionsPerCell(space);
  FTT_CHECK(decisions.size() == 2 * static_cast<size_t>(per_cell),
            "search space: {} decisions do not make a genotype; {} are needed", decisions.size(),
            2 * per_cell);
  for (size_t i = 0; i < decisions.size(); ++i) {
    const int options = OptionsOf(space, static_cast<int>(i) % per_cell);
    FTT_CHECK(decisions[i] >= 0 && decisions[i] < options,
              "search space: decision {} is {}; it has {} options", i, decisions[i], options);
  }
  return {DecodeCell(space, decisions.data()), DecodeCell(space, decisions.data() + per_cell)};
}

Genotype RandomGenotype(const SearchSpace& space, PhiloxSequence& draws) {
  const int per_cell = DecisionsPerCell(space);
  std::vector<int> decisions(2 * static_cast<size_t>(per_cell));
  for (size_t i = 0; i < decisions.size(); ++i) {
    const int options = OptionsOf(space, static_cast<int>(i) % per_cell);
    decisions[i] = static_cast<int>(draws.Below(static_cast<uint32_t>(options)));
  }
  return DecodeGenotype(space, decisions);
}

Genotype MutateGenotype(const SearchSpace& space, const Genotype& genotype, PhiloxSequence& draws) {
  std::vector<int> decisions = EncodeGenotype(space, genotype);
  const int inputs = space.inputs_per_node;
  const auto edges = static_cast<uint32_t>(decisions.size() / 2);
  const int edge = static_cast<int>(draws.Below(edges));
  const bool change_op = draws.Below(2) == 1 && space.primitives.size() > 1;
  const int at = edge / inputs * 2 * inputs + edge % inputs + (change_op ? inputs : 0);
  const auto options = static_cast<uint32_t>(OptionsOf(space, at % DecisionsPerCell(space)));
  int& value = decisions[static_cast<size_t>(at)];
  const int other = static_cast<int>(draws.Below(options - 1));
  value = other < value ? other : other + 1;
  return DecodeGenotype(space, decisions);
}

std::vector<Genotype> CoverSpace(const SearchSpace& space) {
  CheckSpace(space);
  const int inputs = space.inputs_per_node;
  std::vector<Genotype> all;
  for (const std::string& op : space.primitives) {
    for (int first = 0; first < space.nodes + 1; first += inputs) {
      std::vector<GenotypeEdge> cell;
      for (int node = 2; node < 2 + space.nodes; ++node) {
        for (int k = 0; k < inputs; ++k) cell.push_back({op, (first + k) % node, node});
      }
      all.push_back({cell, cell});
    }
  }
  return all;
}

double CountArchitectures(const SearchSpace& space) {
  double cell = 1;
  for (int node = 0; node < space.nodes; ++node) {
    const double edges = (2.0 + node) * static_cast<double>(space.primitives.size());
    cell *= edges * (edges + 1) / 2;
  }
  return cell * cell;
}

double UniformEntropy(const SearchSpace& space) {
  const int per_cell = DecisionsPerCell(space);
  double sum = 0;
  for (int i = 0; i < per_cell; ++i) sum += std::log(static_cast<double>(OptionsOf(space, i)));
  return sum / per_cell;
}

uint32_t SpaceHash(const SearchSpace& space) {
  uint32_t hash = 0x811C9DC5u;  // FNV-1a
  const auto add = [&](uint8_t byte) { hash = (hash ^ byte) * 0x01000193u; };
  add(static_cast<uint8_t>(space.nodes));
  add(static_cast<uint8_t>(space.inputs_per_node));
  for (const std::string& name : space.primitives) {
    for (const char ch : name) add(static_cast<uint8_t>(ch));
    add(0);
  }
  return hash;
}

}  // namespace ftt
