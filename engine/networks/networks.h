// The table of fixed networks, and genotype files as networks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/networks/cell.h"
#include "engine/program.h"

namespace ftt {

struct NetworkEntry {
  const char* name;
  const char* help;  // one line
  Program (*build)(Shape input, int classes);
};

// All fixed networks, in the order in which help lists them.
const std::vector<NetworkEntry>& Networks();

// Builds the network of a name in Networks(), of a genotype file, or of genotype text given in
// place of a name (it contains a '['). `options` shape genotypes only; fixed networks, w-ftt-net
// among them, ignore them. Throws ftt::Error on an unknown name (listing the known ones), a bad
// genotype, or images below 8x8 pixels.
Program BuildNetwork(const std::string& name_or_file, Shape input, int classes,
                     const CellNetOptions& options = {});

// Floating-point operations of one forward pass of one image: two per multiply-add of convolutions
// and the classifier; pools, sums, batch norms and biases are not counted.
int64_t Flops(const Program& program);

// One line for people, e.g. "resnet-20: 82.1 MFLOPs, 0.275 M parameters, 33 ops, input 32x32x3, 10
// classes".
std::string NetworkSummary(const Program& program);

// The reference's weight-fault genotype (FTT-NAS, arXiv 2003.10375), the cells of w-ftt-net.
const Genotype& WFttGenotype();

}  // namespace ftt
