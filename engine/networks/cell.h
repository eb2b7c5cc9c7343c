// Cell-based networks: a genotype and a few numbers make a Program.
#pragma once

#include <string>

#include "engine/genotype.h"
#include "engine/program.h"

namespace ftt {

struct CellNetOptions {
  int init_channels = 20;   // width of the first cells' nodes, >= 2
  int cells = 8;            // >= 1; reduction cells at cells/3 and 2*cells/3 (integer division)
  int stem_multiplier = 3;  // the stem has stem_multiplier * init_channels channels, >= 1
  bool affine = true;       // batch norms have gamma and beta; the supernet's have not
  std::string preprocess = "relu_conv_bn_1x1";  // or relu_conv_bn_3x3
  float dropout = 0.1f;  // on the classifier's input, training only, in [0, 1)
  // Sub-network of a supernet: an (op, from, to) that a node chose twice is one op, counted twice
  // in the sum, so that every parameter's name is one of (cell, to, from, op). Otherwise the second
  // copy has weights of its own.
  bool shared = false;
};

// Builds the network of `genotype`: a 3x3 stem with batch norm; `cells` cells, each fed by the two
// cells before it through a preprocess op (factorized reduce where the resolution differs); global
// average pooling and the classifier.
//
// Ops are named cell3.n4.from1.sep_conv_3x3.dw1 (cell index, node, input node, primitive, part).
// Cells and preprocess ops whose output no edge uses are left out. Any input shape of at least 8x8
// pixels works, odd sizes too. Throws ftt::Error on a bad genotype or an option out of range.
Program BuildCellNetwork(const Genotype& genotype, const CellNetOptions& options, Shape input,
                         int classes);

}  // namespace ftt
