#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "campaign/report/campaign_blocks.h"
#include "campaign/report/cells.h"
#include "campaign/report/format.h"
#include "core/error.h"

namespace ftt {
namespace {

constexpr double kThinnest = 1, kWidest = 6;  // points

// An edge of the network: which cell it stands in, and its name within the cell.
struct PlacedEdge {
  int cell = 0;
  std::string name;  // "n2.from0.sep_conv_3x3"; a preprocessing: "pre0"
  double lost = 0;   // percentage points
};

// The parts of points that lie in cells.
std::vector<PlacedEdge> EdgesOfCells(const MeasuredPoints& points) {
  std::vector<PlacedEdge> edges;
  for (const MeasuredPoint& p : points) {
    const std::string& name = p.scope.names.front();
    int cell = 0, length = 0;
    if (std::sscanf(name.c_str(), "cell%d.%n", &cell, &length) != 1 || length == 0 || cell < 0)
      continue;
    edges.push_back({cell, name.substr(static_cast<size_t>(length)),
                     100 * (p.summary.golden_accuracy - p.summary.accuracy.mean)});
  }
  return edges;
}

// The mean loss of an edge over the cells of its kind. Without a value where no fault struck it.
std::vector<double> MeanLosses(const std::vector<GenotypeEdge>& cell,
                               const std::vector<PlacedEdge>& measured, bool reduction, int cells) {
  std::vector<double> losses;
  for (const GenotypeEdge& e : cell) {
    const std::string name = fmt::format("n{}.from{}.{}", e.to, e.from, e.op);
    double sum = 0;
    int count = 0;
    for (const PlacedEdge& m : measured) {
      const bool reduces = m.cell == cells / 3 || m.cell == 2 * cells / 3;
      if (reduces != reduction || m.name != name) continue;
      sum += m.lost;
      ++count;
    }
    losses.push_back(count == 0 ? kNoValue : sum / count);
  }
  return losses;
}

std::vector<EdgeMark> Marks(const std::vector<double>& losses, double most) {
  std::vector<EdgeMark> marks;
  for (const double lost : losses) {
    if (!std::isfinite(lost)) {
      marks.push_back({"", kThinnest});
      continue;
    }
    const double share = most > 0 ? std::clamp(lost / most, 0.0, 1.0) : 0;
    const std::string text = std::abs(lost) < 0.05 ? "0.0" : fmt::format("{:+.1f}", -lost);
    marks.push_back({text, kThinnest + (kWidest - kThinnest) * share});
  }
  return marks;
}

}  // namespace

std::vector<Block> EdgeCells(const MeasuredPoints& points) {
  const std::vector<PlacedEdge> measured = EdgesOfCells(points);
  if (measured.empty()) return {};
  const MeasuredPoint& first = points.front();
  Genotype genotype;
  try {
    genotype = ParseGenotype(first.network->architecture);
  } catch (const Error&) {
    return {};  // a network without cells
  }
  int cells = 0;
  for (const PlacedEdge& m : measured) cells = std::max(cells, m.cell + 1);
  const auto normal = MeanLosses(genotype.normal, measured, false, cells);
  const auto reduce = MeanLosses(genotype.reduce, measured, true, cells);
  double most = 0;
  for (const auto* losses : {&normal, &reduce}) {
    for (const double lost : *losses) most = std::isfinite(lost) ? std::max(most, lost) : most;
  }
  CellMarks marks{Marks(normal, most), Marks(reduce, most),
                  "Change of accuracy in points with faults in this edge only, mean over the "
                  "cells of this kind; wider lines lose more."};
  const std::string title = fmt::format("{}, {}", first.network->name, FaultText(first.fault.base));
  std::vector<Block> blocks;
  for (CellDrawing& c : DrawCells(title, first.network->architecture, "dot", marks))
    blocks.emplace_back(std::move(c));
  return blocks;
}

}  // namespace ftt
