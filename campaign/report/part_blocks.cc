#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "campaign/report/campaign_blocks.h"
#include "campaign/report/format.h"

namespace ftt {
namespace {

constexpr double kConfidence = 0.95;

template <typename Condition>
MeasuredPoints Select(const MeasuredPoints& points, const Condition& condition) {
  MeasuredPoints selected;
  std::copy_if(points.begin(), points.end(), std::back_inserter(selected), condition);
  return selected;
}

// Accuracy lost against the fault-free run, in percentage points.
ChartPoint LostPoint(double x, const PointSummary& s) {
  const ChartPoint p = PercentPoint(x, s.accuracy);
  const double golden = 100 * s.golden_accuracy;
  return {x, golden - p.y, golden - p.high, golden - p.low};
}

std::string Subject(const MeasuredPoint& p) {
  return fmt::format("{}, {}", p.network->name, FaultText(p.fault.base));
}

std::string PartName(const MeasuredPoint& p) { return p.scope.names.front(); }
std::string BitName(const MeasuredPoint& p) { return fmt::format("{}", p.fault.bit); }

Chart Bars(const MeasuredPoints& points, const std::string& title, const std::string& axis,
           std::string (*name)(const MeasuredPoint&)) {
  Chart chart;
  chart.title = fmt::format("{} ({})", title, Subject(points.front()));
  chart.note = "Lines: 95 % intervals of the mean over trials.";
  chart.x.title = axis;
  chart.y.title = "Accuracy lost (points)";
  chart.y.digits = 2;
  ChartSeries s;
  s.name = "lost";
  s.color = 1;
  for (const MeasuredPoint& p : points) {
    s.points.push_back(LostPoint(static_cast<double>(chart.categories.size()), p.summary));
    chart.categories.push_back(name(p));
  }
  chart.series = {s};
  return chart;
}

// What protecting one layer brings, trial by trial.
Chart GainBars(const MeasuredPoints& points, const MeasuredPoint& whole, int64_t images) {
  Chart chart =
      Bars(points, "One layer protected, faults everywhere else", "Protected layer", PartName);
  chart.note = "Gained over faults everywhere, over the same trials; lines: 95 % intervals.";
  chart.y.title = "Accuracy gained (points)";
  ChartSeries& s = chart.series.front();
  s.name = "gained";
  s.color = 2;
  for (size_t i = 0; i < points.size(); ++i) {
    s.points[i] = PercentPoint(
        static_cast<double>(i),
        PairedDifference(points[i].data->trials, whole.data->trials, images, kConfidence));
  }
  return chart;
}

HeatMap LayersAndBits(const MeasuredPoints& points) {
  HeatMap map;
  map.title = fmt::format("Layers and bits ({})", Subject(points.front()));
  map.note = "Faults in one bit of one layer only, with the same rate.";
  map.row_title = "Layer";
  map.column_title = "Bit";
  map.value_title = "accuracy lost (points)";
  int bits = 0;
  for (const MeasuredPoint& p : points) {
    bits = std::max(bits, p.fault.bit + 1);
    if (std::find(map.rows.begin(), map.rows.end(), PartName(p)) == map.rows.end())
      map.rows.push_back(PartName(p));
  }
  for (int b = 0; b < bits; ++b) map.columns.push_back(fmt::format("{}", b));
  map.values.assign(map.rows.size(), std::vector<double>(map.columns.size(), kNoValue));
  for (const MeasuredPoint& p : points) {
    const auto row = std::find(map.rows.begin(), map.rows.end(), PartName(p)) - map.rows.begin();
    map.values[static_cast<size_t>(row)][static_cast<size_t>(p.fault.bit)] =
        LostPoint(0, p.summary).y;
  }
  return map;
}

// Accuracy over the share of the network's cost that is protected, and the layers step by step.
std::vector<Block> Hardening(const MeasuredPoints& points, const MeasuredPoint* whole,
                             const HardeningPlan& plan) {
  Table table;
  table.title = "Hardening plan, step by step";
  table.header = {"Also protected", "Protected", "Accuracy (95 % interval)"};
  ChartSeries curve, golden;
  curve.name = "protected layers";
  if (whole != nullptr) {
    curve.points.push_back(PercentPoint(0, whole->summary.accuracy));
    table.rows.push_back({"nothing", "0.0 %", PercentText(whole->summary.accuracy)});
  }
  for (const PlanStep& step : plan.steps) {
    const auto p = std::find_if(points.begin(), points.end(), [&](const MeasuredPoint& m) {
      return m.data->point.scope == step.scope;
    });
    if (p == points.end() || !(step.total_cost > 0)) continue;
    const double share = step.cost / step.total_cost;
    curve.points.push_back(PercentPoint(100 * share, p->summary.accuracy));
    table.rows.push_back({step.layer, PercentText(share), PercentText(p->summary.accuracy)});
    golden.points = {{curve.points.front().x, 100 * p->summary.golden_accuracy, kNoValue, kNoValue},
                     {100 * share, 100 * p->summary.golden_accuracy, kNoValue, kNoValue}};
  }
  if (golden.points.empty()) return {};
  golden.name = "no faults";
  golden.dashed = true;
  golden.color = 6;
  Chart chart;
  chart.title = fmt::format("Hardening ({})", Subject(points.front()));
  chart.note =
      "Layers protected together, first those that bring most for their cost. Band: 95 % interval. "
      "Dashed: no faults at all.";
  chart.x.title = fmt::format("Protected {} (% of the network's)", plan.steps.front().unit);
  chart.x.digits = 1;
  chart.y.title = "Accuracy (%)";
  chart.y.digits = 2;
  chart.series = {curve, golden};
  return {chart, table};
}

}  // namespace

Scope ParseScope(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos) return {};
  Scope scope{text.substr(0, colon), {}};
  const bool list = scope.kind == "protect";
  for (size_t at = colon + 1; at <= text.size();) {
    const size_t end = list ? std::min(text.find(',', at), text.size()) : text.size();
    scope.names.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return scope;
}

BitFault SplitBit(const std::string& fault) {
  constexpr char kKey[] = ",bit=";
  BitFault result{fault, -1};
  const size_t at = fault.find(kKey);
  if (at == std::string::npos) return result;
  const char* first = fault.data() + at + sizeof(kKey) - 1;
  const auto [end, error] = std::from_chars(first, fault.data() + fault.size(), result.bit);
  if (error != std::errc()) return {fault, -1};
  result.base = fault.substr(0, at) + end;
  return result;
}

std::vector<Block> PartBlocks(const MeasuredPoints& points, const MeasuredPoint* whole,
                              const HardeningPlan* plan, int64_t images) {
  std::vector<Block> blocks;
  const auto bars = [&](const char* kind, const char* title, const char* axis) {
    const auto parts = Select(points, [&](const MeasuredPoint& p) {
      return p.scope.kind == kind && p.scope.names.size() == 1 && p.fault.bit < 0;
    });
    if (!parts.empty()) blocks.emplace_back(Bars(parts, title, axis, PartName));
  };
  bars("only", "Faults in one layer only", "Layer");
  bars("kind", "Faults in one kind of layer only", "Kind of layer");
  bars("edge", "Faults in one edge or block only", "Edge or block");
  const auto edges = Select(
      points, [](const MeasuredPoint& p) { return p.scope.kind == "edge" && p.fault.bit < 0; });
  for (Block& b : EdgeCells(edges)) blocks.push_back(std::move(b));
  const auto bits = Select(
      points, [](const MeasuredPoint& p) { return p.scope.kind.empty() && p.fault.bit >= 0; });
  if (!bits.empty()) blocks.emplace_back(Bars(bits, "Faults in one bit only", "Bit", BitName));
  const auto both = Select(
      points, [](const MeasuredPoint& p) { return p.scope.kind == "only" && p.fault.bit >= 0; });
  if (!both.empty()) blocks.emplace_back(LayersAndBits(both));
  const auto protect =
      Select(points, [](const MeasuredPoint& p) { return p.scope.kind == "protect"; });
  const auto single =
      Select(protect, [](const MeasuredPoint& p) { return p.scope.names.size() == 1; });
  if (!single.empty() && whole != nullptr) blocks.emplace_back(GainBars(single, *whole, images));
  if (plan != nullptr) {
    for (Block& b : Hardening(protect, whole, *plan)) blocks.push_back(std::move(b));
  }
  return blocks;
}

}  // namespace ftt
