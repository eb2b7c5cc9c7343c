#include "engine/genotype.h"

#include <algorithm>

#include "core/error.h"

namespace ftt {
namespace {

std::string EdgeText(const GenotypeEdge& e) {
  return fmt::format("('{}', {}, {})", e.op, e.from, e.to);
}

std::string KnownPrimitives() {
  std::string list;
  for (const std::string& name : PrimitiveNames()) list += (list.empty() ? "" : ", ") + name;
  return list;
}

void CheckCell(const char* kind, const std::vector<GenotypeEdge>& cell) {
  FTT_CHECK(!cell.empty(), "genotype: the {} cell has no edges", kind);
  for (const GenotypeEdge& e : cell) {
    const std::string where = fmt::format("genotype: {} cell, edge {}", kind, EdgeText(e));
    FTT_CHECK(IsPrimitive(e.op), "{}: unknown op '{}'; known ops: {}", where, e.op,
              KnownPrimitives());
    FTT_CHECK(e.from >= 0, "{}: the input node is negative; nodes 0 and 1 are the cell's inputs",
              where);
    FTT_CHECK(e.to >= 2 && e.to < 2 + kMaxInternalNodes,
              "{}: node {} is not an internal node; they count from 2 to at most {}", where, e.to,
              1 + kMaxInternalNodes);
    FTT_CHECK(e.from < e.to, "{}: an edge must come from an earlier node, but {} >= {}", where,
              e.from, e.to);
  }
  for (int node = 2; node < 2 + InternalNodes(cell); ++node) {
    const auto edges = std::count_if(cell.begin(), cell.end(),
                                     [&](const GenotypeEdge& e) { return e.to == node; });
    FTT_CHECK(edges == 2, "genotype: {} cell, node {} has {} edge{}; every internal node has two",
              kind, node, edges, edges == 1 ? "" : "s");
  }
}

size_t WithoutConvolution(const std::vector<GenotypeEdge>& cell) {
  return static_cast<size_t>(std::count_if(
      cell.begin(), cell.end(), [](const GenotypeEdge& e) { return !IsConvolution(e.op); }));
}

std::string CellText(const std::vector<GenotypeEdge>& cell, bool with_target) {
  std::string text;
  for (const GenotypeEdge& e : cell) {
    text += text.empty() ? "" : ", ";
    text += with_target ? EdgeText(e) : fmt::format("('{}', {})", e.op, e.from);
  }
  return "[" + text + "]";
}

std::string DartsCellText(const char* kind, std::vector<GenotypeEdge> cell) {
  std::stable_sort(cell.begin(), cell.end(),
                   [](const GenotypeEdge& a, const GenotypeEdge& b) { return a.to < b.to; });
  return fmt::format("{0}={1}, {0}_concat=range(2, {2})", kind, CellText(cell, false),
                     2 + InternalNodes(cell));
}

}  // namespace

const std::vector<std::string>& PrimitiveNames() {
  static const std::vector<std::string> names = {
      "none",         "skip_connect",     "max_pool_3x3",    "avg_pool_3x3",
      "sep_conv_3x3", "sep_conv_5x5",     "dil_conv_3x3",    "dil_conv_5x5",
      "conv_1x1",     "relu_conv_bn_3x3", "relu_conv_bn_5x5"};
  return names;
}

bool IsPrimitive(const std::string& name) {
  const auto& names = PrimitiveNames();
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool IsConvolution(const std::string& primitive) {
  return primitive.find("conv") != std::string::npos;
}

int InternalNodes(const std::vector<GenotypeEdge>& cell) {
  int last = 1;
  for (const GenotypeEdge& e : cell) last = std::max(last, e.to);
  return last - 1;
}

void CheckGenotype(const Genotype& genotype) {
  CheckCell("normal", genotype.normal);
  CheckCell("reduce", genotype.reduce);
}

std::string FormatGenotype(const Genotype& genotype) {
  return "normal_0=" + CellText(genotype.normal, true) +
         ", reduce_1=" + CellText(genotype.reduce, true);
}

std::string FormatDartsGenotype(const Genotype& genotype) {
  return fmt::format("Genotype({}, {})", DartsCellText("normal", genotype.normal),
                     DartsCellText("reduce", genotype.reduce));
}

std::string CollapseWarning(const Genotype& genotype) {
  const size_t normal = WithoutConvolution(genotype.normal);
  const size_t reduce = WithoutConvolution(genotype.reduce);
  const size_t edges = genotype.normal.size() + genotype.reduce.size();
  std::string what;
  if (normal == genotype.normal.size() || reduce == genotype.reduce.size()) {
    what = fmt::format("the {} cell has no convolution",
                       normal == genotype.normal.size() ? "normal" : "reduction");
  } else if (4 * normal >= 3 * genotype.normal.size()) {
    what = fmt::format("{} of the {} edges of the normal cell are skips, pools or none", normal,
                       genotype.normal.size());
  } else if (4 * (normal + reduce) >= 3 * edges) {
    what = fmt::format("{} of the {} edges of both cells are skips, pools or none", normal + reduce,
                       edges);
  } else {
    return "";
  }
  return "the genotype has collapsed to ops without weights: " + what +
         "; search longer, raise the entropy bonus, or take `none` and the pools out of the "
         "primitives";
}

bool CollapsesToSkipsAndPools(const Genotype& genotype) {
  return !CollapseWarning(genotype).empty();
}

}  // namespace ftt
