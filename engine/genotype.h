// Genotypes: which two (op, input) edges feed each internal node of the normal and of the reduction
// cell.
//
// Nodes 0 and 1 are the cell's inputs (the outputs of the two previous cells); internal nodes count
// from 2. Each internal node is the sum of exactly two edges that come from earlier nodes. The
// cell's output concatenates all internal nodes.
#pragma once

#include <string>
#include <vector>

namespace ftt {

struct GenotypeEdge {
  std::string op;  // one of PrimitiveNames()
  int from = 0, to = 0;
  friend bool operator==(const GenotypeEdge&, const GenotypeEdge&) = default;
};

struct Genotype {
  std::vector<GenotypeEdge> normal, reduce;
  friend bool operator==(const Genotype&, const Genotype&) = default;
};

// The eleven primitives of the search space in canonical order, `none` first.
const std::vector<std::string>& PrimitiveNames();
bool IsPrimitive(const std::string& name);
// True for sep_conv, dil_conv, relu_conv_bn and conv_1x1; false for none, skip_connect and the
// pools.
bool IsConvolution(const std::string& primitive);

// A bound that catches typing errors; the published cells have 4 internal nodes.
inline constexpr int kMaxInternalNodes = 16;

// Number of internal nodes of a cell: its highest `to`, less one; 0 for no edges.
int InternalNodes(const std::vector<GenotypeEdge>& cell);

// Throws ftt::Error that names the cell and the edge: unknown op, from >= to, from < 0, to < 2, an
// internal node whose edges are not exactly two, an empty cell. The two edges of a node may share
// their input, and even their op (the reference samples with replacement).
void CheckGenotype(const Genotype& genotype);

// Reads and checks a genotype in the reference's notation, (op, from, to),
//   normal_0=[('sep_conv_3x3', 0, 2), ...], reduce_1=[...]
// or in DARTS notation, (op, from) with two edges per node in order,
//   Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), reduce=[...],
//   reduce_concat=[2, 3, 4, 5])
// A surrounding NAME(...) is optional in both, and so are concat lists, which must name every
// internal node. `#` starts a comment that runs to the end of its line. Throws ftt::Error that
// names the offending token, op or edge.
Genotype ParseGenotype(const std::string& text);

// Reads a genotype file. Throws ftt::Error that names the file where it cannot be read or its text
// is wrong.
Genotype ReadGenotypeFile(const std::string& path);

// The reference's notation on one line, without a line end. ParseGenotype reads it back unchanged.
std::string FormatGenotype(const Genotype& genotype);

// DARTS notation on one line. Edges are ordered by node, as that notation has to have them.
std::string FormatDartsGenotype(const Genotype& genotype);

// Heuristic for a search that has collapsed (weight sharing favours ops without weights, which
// learn nothing): true where the normal or the reduction cell has no convolution, or three quarters
// of the edges of the normal cell or of both cells together are `none`, skips and pools.
bool CollapsesToSkipsAndPools(const Genotype& genotype);

// A sentence for the user that says what collapsed and what to do; empty where
// CollapsesToSkipsAndPools is false.
std::string CollapseWarning(const Genotype& genotype);

}  // namespace ftt
