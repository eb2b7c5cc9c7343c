// Where a network is vulnerable: campaigns whose faults are restricted to parts of it.
#pragma once

#include <string>
#include <vector>

#include "campaign/sweep.h"

namespace ftt {

// What an analysis may restrict faults to. The scope of a point says which part it was:
//   only:NAME            one layer (an op that faults of the specification can strike)
//   protect:A,B,...      everything but these layers
//   kind:NAME            layers of one kind, e.g. kind:conv3x3
//   edge:NAME            one edge of a cell, or another part of the network, e.g.
//   edge:stage1.block2
struct NetworkPart {
  std::string scope;
  std::vector<size_t> ops;  // indices of the layers that are struck
};

// The layers of a program at which faults of the specification have something to strike, in
// execution order, as op indices.
std::vector<size_t> StruckLayers(const TrainedNetwork& network, const FaultSpec& faults);
// "conv3x3", "depthwise5x5", "dilated3x3", "pool", "add", "concat", "global-pool", "classifier".
std::string LayerKind(const Op& op, const Program& program);
// The part of the network an op belongs to: the edge of its cell ("cell1.n2.from0.sep_conv_3x3"),
// another part of a cell ("cell1.pre0"), or its block ("stage1.block2").
std::string EdgeOf(const std::string& op_name);

std::vector<NetworkPart> LayerParts(const Program&, const std::vector<size_t>& layers);
std::vector<NetworkPart> KindParts(const Program&, const std::vector<size_t>& layers);
std::vector<NetworkPart> EdgeParts(const Program&, const std::vector<size_t>& layers);
// Faults everywhere but in these layers.
NetworkPart Protecting(const Program&, const std::vector<size_t>& layers,
                       const std::vector<size_t>& protect);

// Faults at the outputs and weights of the part's layers only. The input image counts as part of
// the first layer.
SiteFilter FilterOf(const Program& program, const NetworkPart& part);

// A point of a campaign restricted to a part.
SweepPoint PartPoint(size_t network, const Program& program, const FaultCurve& curve, double rate,
                     const NetworkPart& part);

// What protecting a layer costs: weight bits where faults strike weights, else multiply-adds per
// image (of an op without any: its output elements).
int64_t ProtectionCost(const TrainedNetwork& network, const FaultSpec& faults, size_t op);

// The order in which to protect layers: by accuracy gained per cost, gain[i] and cost[i] of
// layers[i]; ties in execution order.
std::vector<size_t> HardeningOrder(const std::vector<size_t>& layers,
                                   const std::vector<double>& gain,
                                   const std::vector<int64_t>& cost);

// The same trained network with other deployment: weights clipped at `clip` times the largest of
// their tensor (1: as they are), `bits` of codes, exponents calibrated on the data set's training
// images. checkpoint: as in LoadTrained.
TrainedNetwork Redeploy(Device& device, const std::string& checkpoint, const Dataset& data,
                        int bits, double clip);

}  // namespace ftt
