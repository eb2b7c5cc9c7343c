// Blocks of a section about a campaign, from points with their summaries.
#pragma once

#include <string>
#include <vector>

#include "campaign/report/campaign_page.h"
#include "campaign/summary.h"

namespace ftt {

// A point with at least one trial.
struct MeasuredPoint {
  const CampaignPoint* data = nullptr;
  const NetworkRow* network = nullptr;
  int color = 0;  // of the network
  // Of a fixed rate; a curve over rates keeps its key bit=K as part of its model.
  BitFault fault;
  Scope scope;
  PointSummary summary;

  // Faults everywhere and in all bits.
  bool Whole() const { return scope.kind.empty() && fault.bit < 0; }
};
using MeasuredPoints = std::vector<MeasuredPoint>;

// x, and an estimate in percent as y with its interval; no interval for a single trial.
ChartPoint PercentPoint(double x, const MeanEstimate& estimate);

// The points of whole networks under faults of one model, by network and rate.
std::vector<Block> ModelBlocks(const std::string& model, const MeasuredPoints& points,
                               int64_t images);
// What analyze measured of one network under one specification. points: parts and bits, in the
// order in which they were measured; `whole`: the same faults everywhere, or null; `plan`: or null.
std::vector<Block> PartBlocks(const MeasuredPoints& points, const MeasuredPoint* whole,
                              const HardeningPlan* plan, int64_t images);
// The cells of the points' network with what faults in each edge alone cost. points: of one network
// under one specification, restricted to edges. Nothing where the network has no cells.
std::vector<Block> EdgeCells(const MeasuredPoints& points);

}  // namespace ftt
