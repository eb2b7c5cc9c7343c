// The cell search space: which genotypes exist, how to draw one, how to change one.
//
// A genotype is a sequence of decisions, the normal cell's first: for each internal node in order
// its input nodes, then its ops, e.g. (from, from, op, op). Strategies work on that sequence.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/philox.h"
#include "engine/genotype.h"

namespace ftt {

struct SearchSpace {
  std::vector<std::string> primitives;  // names from PrimitiveNames(), each at most once
  int nodes = 4;                        // internal nodes per cell, 1 to 16
  int inputs_per_node = 2;              // a node sums two edges; no other value is supported
};

// The reference's space for faults of features, "mibb", or of weights, "adsaf". Throws ftt::Error
// on another name.
SearchSpace PresetSpace(const std::string& preset);

// Throws ftt::Error that names the field: no or unknown or repeated primitives, a space of nothing
// but `none`, nodes or inputs_per_node out of range.
void CheckSpace(const SearchSpace& space);

// Decisions of one cell: 2 * nodes * inputs_per_node.
int DecisionsPerCell(const SearchSpace& space);
// Number of options of decision `index` of a cell (0 <= index < DecisionsPerCell); `*is_op`, where
// not null, tells an op from an input.
int OptionsOf(const SearchSpace& space, int index, bool* is_op = nullptr);

// Decisions of both cells, normal first. Encode throws ftt::Error that names the cell and edge
// where the genotype is not in the space; it takes edges in any order of nodes and keeps the order
// of a node's two edges.
std::vector<int> EncodeGenotype(const SearchSpace& space, const Genotype& genotype);
Genotype DecodeGenotype(const SearchSpace& space, const std::vector<int>& decisions);

// Every decision uniform over its options, from the next numbers of `draws`.
Genotype RandomGenotype(const SearchSpace& space, PhiloxSequence& draws);

// `genotype` with one decision changed to another of its options: first an edge is drawn uniformly,
// then whether its op or its input changes (the input where there is one primitive only), then the
// new value.
Genotype MutateGenotype(const SearchSpace& space, const Genotype& genotype, PhiloxSequence& draws);

// Genotypes that together have every primitive on every edge, each with one primitive only: the
// heaviest networks of a space are among them or near them.
std::vector<Genotype> CoverSpace(const SearchSpace& space);

// Number of distinct architectures (the order of a node's two edges does not count); a double, as
// it exceeds 2^64.
double CountArchitectures(const SearchSpace& space);

// Mean over all decisions of the entropy of a uniform choice, in nats: the highest that a strategy
// can have.
double UniformEntropy(const SearchSpace& space);

// A 32-bit hash of the space; states of one space do not fit another.
uint32_t SpaceHash(const SearchSpace& space);

}  // namespace ftt
