#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "campaign/report/campaign_blocks.h"
#include "campaign/report/format.h"

namespace ftt {
namespace {

struct Scoped {
  const MeasuredPoint* point;
  Scope scope;
};
using ScopedPoints = std::vector<Scoped>;

constexpr char kLayer[] = "layer:", kBit[] = "bit:", kProtect[] = "protect:";

int ParseBit(const std::string& text) {
  int bit = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bit);
  return error == std::errc() && end == text.data() + text.size() ? bit : -1;
}

template <typename Condition>
ScopedPoints Select(const ScopedPoints& points, const Condition& condition) {
  ScopedPoints selected;
  std::copy_if(points.begin(), points.end(), std::back_inserter(selected), condition);
  return selected;
}

// Accuracy lost against the fault-free run, in percentage points.
ChartPoint LostPoint(double x, const PointSummary& s) {
  const ChartPoint p = PercentPoint(x, s.accuracy);
  const double golden = 100 * s.golden_accuracy;
  return {x, golden - p.y, golden - p.high, golden - p.low};
}

std::string Subject(const ScopedPoints& points) {
  return fmt::format("{}, {}", points.front().point->network->name,
                     FaultText(points.front().point->data->point.fault));
}

Chart Bars(const ScopedPoints& points, const std::string& what, const std::string& title,
           std::string (*label)(const Scope&)) {
  Chart chart;
  chart.title = fmt::format("{} ({})", title, Subject(points));
  chart.note = "Lines: 95 % intervals of the mean over trials.";
  chart.x.title = what;
  chart.y.title = "Accuracy lost (points)";
  chart.y.digits = 2;
  ChartSeries s;
  s.name = "lost";
  s.color = 1;
  for (const Scoped& p : points) {
    s.points.push_back(LostPoint(static_cast<double>(chart.categories.size()), p.point->summary));
    chart.categories.push_back(label(p.scope));
  }
  chart.series = {s};
  return chart;
}

HeatMap LayersAndBits(const ScopedPoints& points) {
  HeatMap map;
  map.title = fmt::format("Layers and bits ({})", Subject(points));
  map.note = "Faults in one bit of one layer only.";
  map.row_title = "Layer";
  map.column_title = "Bit";
  map.value_title = "accuracy lost (points)";
  map.digits = 2;
  int bits = 0;
  for (const Scoped& p : points) {
    bits = std::max(bits, p.scope.bit + 1);
    if (std::find(map.rows.begin(), map.rows.end(), p.scope.layer) == map.rows.end())
      map.rows.push_back(p.scope.layer);
  }
  for (int b = 0; b < bits; ++b) map.columns.push_back(fmt::format("{}", b));
  map.values.assign(map.rows.size(), std::vector<double>(map.columns.size(), kNoValue));
  for (const Scoped& p : points) {
    const auto row = std::find(map.rows.begin(), map.rows.end(), p.scope.layer) - map.rows.begin();
    map.values[static_cast<size_t>(row)][static_cast<size_t>(p.scope.bit)] =
        LostPoint(0, p.point->summary).y;
  }
  return map;
}

// Accuracy over the number of layers that faults spare.
Chart HardeningCurve(ScopedPoints points, const MeasuredPoint* whole) {
  std::stable_sort(points.begin(), points.end(), [](const Scoped& a, const Scoped& b) {
    return a.scope.kept_whole.size() < b.scope.kept_whole.size();
  });
  Chart chart;
  chart.title = fmt::format("Hardening ({})", Subject(points));
  chart.note = "Band: 95 % interval. Dashed: no faults at all.";
  chart.x.title = "Protected layers (number)";
  chart.x.digits = 0;
  chart.y.title = "Accuracy (%)";
  chart.y.digits = 2;
  ChartSeries curve, golden;
  curve.name = "with protected layers";
  if (whole != nullptr) curve.points.push_back(PercentPoint(0, whole->summary.accuracy));
  for (const Scoped& p : points)
    curve.points.push_back(
        PercentPoint(static_cast<double>(p.scope.kept_whole.size()), p.point->summary.accuracy));
  golden.name = "no faults";
  golden.dashed = true;
  golden.color = 6;
  for (const double x : {curve.points.front().x, curve.points.back().x})
    golden.points.push_back(
        {x, 100 * points.front().point->summary.golden_accuracy, kNoValue, kNoValue});
  chart.series = {curve, golden};
  return chart;
}

std::string LayerLabel(const Scope& s) { return s.layer; }
std::string BitLabel(const Scope& s) { return fmt::format("{}", s.bit); }
std::string ProtectLabel(const Scope& s) { return s.kept_whole.front(); }

}  // namespace

Scope ParseScope(const std::string& text) {
  Scope scope;
  if (text.starts_with(kProtect)) {
    for (size_t at = sizeof(kProtect) - 1; at <= text.size();) {
      const size_t end = std::min(text.find(',', at), text.size());
      scope.kept_whole.push_back(text.substr(at, end - at));
      at = end + 1;
    }
  } else if (text.starts_with(kLayer)) {
    scope.layer = text.substr(sizeof(kLayer) - 1);
    const size_t space = scope.layer.rfind(std::string(" ") + kBit);
    if (space != std::string::npos) {
      scope.bit = ParseBit(scope.layer.substr(space + sizeof(kBit)));
      scope.layer.resize(space);
    }
  } else if (text.starts_with(kBit)) {
    scope.bit = ParseBit(text.substr(sizeof(kBit) - 1));
  }
  return scope;
}

std::vector<Block> ScopeBlocks(const MeasuredPoints& points, const MeasuredPoint* whole) {
  ScopedPoints all;
  for (const MeasuredPoint& p : points) all.push_back({&p, ParseScope(p.data->point.scope)});
  // Layers come in the order in which they were measured, which is the network's.
  std::stable_sort(all.begin(), all.end(), [](const Scoped& a, const Scoped& b) {
    return a.point->data->point.id < b.point->data->point.id;
  });
  const auto layers =
      Select(all, [](const Scoped& s) { return !s.scope.layer.empty() && s.scope.bit < 0; });
  const auto bits =
      Select(all, [](const Scoped& s) { return s.scope.layer.empty() && s.scope.bit >= 0; });
  const auto both =
      Select(all, [](const Scoped& s) { return !s.scope.layer.empty() && s.scope.bit >= 0; });
  const auto single = Select(all, [](const Scoped& s) { return s.scope.kept_whole.size() == 1; });
  const auto hardened = Select(all, [](const Scoped& s) { return s.scope.kept_whole.size() > 1; });
  std::vector<Block> blocks;
  if (!layers.empty())
    blocks.emplace_back(Bars(layers, "Layer", "Faults in one layer only", LayerLabel));
  if (!bits.empty()) blocks.emplace_back(Bars(bits, "Bit", "Faults in one bit only", BitLabel));
  if (!both.empty()) blocks.emplace_back(LayersAndBits(both));
  if (!single.empty())
    blocks.emplace_back(
        Bars(single, "Protected layer", "Faults everywhere but in one layer", ProtectLabel));
  if (!hardened.empty()) blocks.emplace_back(HardeningCurve(hardened, whole));
  return blocks;
}

}  // namespace ftt
