#include "engine/networks/cell.h"

#include <map>
#include <optional>
#include <vector>

#include "core/error.h"
#include "engine/networks/cell_ops.h"

namespace ftt {
namespace {

bool UsesNode(const std::vector<GenotypeEdge>& cell, int node) {
  for (const GenotypeEdge& e : cell) {
    if (e.from == node && e.op != "none") return true;
  }
  return false;
}

// The output of the stem or of a cell. Dead cells (no later cell uses them) have a shape but no
// value.
struct Feature {
  std::optional<int> value;
  Shape shape;
};

class CellNet {
 public:
  CellNet(const Genotype& genotype, const CellNetOptions& options, Shape input, int classes)
      : genotype_(genotype),
        options_(options),
        builder_(FormatGenotype(genotype), input, classes) {}

  Program Build() && {
    FindLiveCells();
    Feature before = Stem(), last = before;
    int width = options_.init_channels;
    for (int i = 0; i < options_.cells; ++i) {
      if (IsReduction(i)) width *= 2;
      Feature out = Cell(i, width, before, last);
      before = last;
      last = out;
    }
    builder_.SetDropout(options_.dropout);
    builder_.Linear("classifier", builder_.GlobalPool("pool", {*last.value, false}));
    return std::move(builder_).Finish();
  }

 private:
  bool IsReduction(int cell) const {
    return cell == options_.cells / 3 || cell == 2 * options_.cells / 3;
  }

  const std::vector<GenotypeEdge>& Edges(int cell) const {
    return IsReduction(cell) ? genotype_.reduce : genotype_.normal;
  }

  void FindLiveCells() {
    live_.assign(static_cast<size_t>(options_.cells), false);
    live_.back() = true;
    for (int i = options_.cells - 1; i >= 0; --i) {
      if (!live_[static_cast<size_t>(i)]) continue;
      for (int node = 0; node < 2; ++node) {
        const int source = i - 2 + node;
        if (source >= 0 && UsesNode(Edges(i), node)) live_[static_cast<size_t>(source)] = true;
      }
    }
  }

  Feature Stem() {
    ProgramBuilder::ConvOptions conv;
    conv.kernel = 3;
    conv.affine = options_.affine;
    const int value =
        builder_.Conv("stem", 0, options_.stem_multiplier * options_.init_channels, conv);
    return {value, builder_.ShapeOf(value)};
  }

  // Appends cell `index` and returns the concatenation of its internal nodes.
  Feature Cell(int index, int width, const Feature& input0, const Feature& input1) {
    const auto& edges = Edges(index);
    const int stride = IsReduction(index) ? 2 : 1;
    const Shape& near = input1.shape;
    const int nodes = InternalNodes(edges);
    const Shape node_shape = {(near.h + stride - 1) / stride, (near.w + stride - 1) / stride,
                              width};
    const Shape out = {node_shape.h, node_shape.w, width * nodes};
    if (!live_[static_cast<size_t>(index)]) return {std::nullopt, out};
    const std::string prefix = fmt::format("cell{}.", index);
    std::vector<int> values(static_cast<size_t>(2 + nodes), -1);
    if (UsesNode(edges, 0)) values[0] = Preprocess(prefix + "pre0", input0, near, width);
    if (UsesNode(edges, 1)) values[1] = Preprocess(prefix + "pre1", input1, near, width);
    std::vector<OpInput> parts;
    for (int node = 2; node < 2 + nodes; ++node) {
      values[static_cast<size_t>(node)] = Node(prefix, node, edges, values, stride, node_shape);
      parts.push_back({values[static_cast<size_t>(node)], false});
    }
    return {builder_.Concat(prefix + "out", parts), out};
  }

  int Preprocess(const std::string& name, const Feature& from, const Shape& target, int width) {
    if (from.shape.h != target.h || from.shape.w != target.w) {
      return FactorizedReduce(builder_, name, *from.value, width, options_.affine);
    }
    ProgramBuilder::ConvOptions conv;
    conv.kernel = options_.preprocess == "relu_conv_bn_3x3" ? 3 : 1;
    conv.relu = true;
    conv.affine = options_.affine;
    return builder_.Conv(name, *from.value, width, conv);
  }

  int Node(const std::string& prefix, int node, const std::vector<GenotypeEdge>& edges,
           const std::vector<int>& values, int cell_stride, const Shape& shape) {
    const std::string node_name = fmt::format("{}n{}", prefix, node);
    std::vector<OpInput> terms;
    std::map<std::string, int> built;  // the node's ops so far, by name
    for (const GenotypeEdge& e : edges) {
      if (e.to != node || e.op == "none") continue;
      std::string name = fmt::format("{}.from{}.{}", node_name, e.from, e.op);
      if (built.count(name) != 0) {
        if (options_.shared) {
          terms.push_back({built[name], false});
          continue;
        }
        name += ".copy";
      }
      const int stride = e.from < 2 ? cell_stride : 1;
      const int value = AppendPrimitive(builder_, name, e.op, values[static_cast<size_t>(e.from)],
                                        shape.c, stride, options_.affine);
      built[name] = value;
      terms.push_back({value, false});
    }
    return builder_.Add(node_name, terms, shape);
  }

  const Genotype& genotype_;
  const CellNetOptions& options_;
  ProgramBuilder builder_;
  std::vector<bool> live_;
};

void CheckOptions(const CellNetOptions& o, const Shape& input) {
  FTT_CHECK(o.init_channels >= 2 && o.init_channels <= 4096,
            "cell network: init_channels is {}; allowed is 2 to 4096", o.init_channels);
  FTT_CHECK(o.cells >= 1 && o.cells <= 256, "cell network: cells is {}; allowed is 1 to 256",
            o.cells);
  FTT_CHECK(o.stem_multiplier >= 1 && o.stem_multiplier <= 64,
            "cell network: stem_multiplier is {}; allowed is 1 to 64", o.stem_multiplier);
  FTT_CHECK(o.preprocess == "relu_conv_bn_1x1" || o.preprocess == "relu_conv_bn_3x3",
            "cell network: unknown preprocess '{}'; known: relu_conv_bn_1x1, relu_conv_bn_3x3",
            o.preprocess);
  FTT_CHECK(o.dropout >= 0 && o.dropout < 1, "cell network: dropout is {}; allowed is 0 to below 1",
            o.dropout);
  FTT_CHECK(input.h >= 8 && input.w >= 8,
            "cell network: the images are {}x{} pixels; at least 8x8 are needed", input.h, input.w);
}

}  // namespace

Program BuildCellNetwork(const Genotype& genotype, const CellNetOptions& options, Shape input,
                         int classes) {
  CheckGenotype(genotype);
  CheckOptions(options, input);
  return CellNet(genotype, options, input, classes).Build();
}

}  // namespace ftt
