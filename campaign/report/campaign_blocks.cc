#include "campaign/report/campaign_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "campaign/report/format.h"
#include "campaign/report/html.h"

namespace ftt {
namespace {

constexpr double kConfidence = 0.95;
constexpr size_t kAllPairs = 4;  // networks; with more only differences to the first are shown

// The networks of the points in their order, each once.
std::vector<const MeasuredPoint*> Networks(const MeasuredPoints& points) {
  std::vector<const MeasuredPoint*> firsts;
  for (const MeasuredPoint& p : points) {
    if (firsts.empty() || firsts.back()->network != p.network) firsts.push_back(&p);
  }
  return firsts;
}

ChartAxis RateAxis(const std::string& model) {
  ChartAxis axis;
  axis.title = fmt::format("Rate of {}", model);
  axis.log = true;
  return axis;
}

size_t Rates(const MeasuredPoints& points) {
  std::vector<double> rates;
  for (const MeasuredPoint& p : points) {
    if (p.data->point.rate > 0) rates.push_back(p.data->point.rate);
  }
  std::sort(rates.begin(), rates.end());
  return static_cast<size_t>(std::unique(rates.begin(), rates.end()) - rates.begin());
}

// One series for each network over its rates.
Chart RateChart(const std::string& title, const std::string& axis, const std::string& model,
                const MeasuredPoints& points, MeanEstimate PointSummary::*field) {
  Chart chart;
  chart.title = title;
  chart.x = RateAxis(model);
  chart.y.title = axis;
  chart.y.digits = 2;
  chart.y.min = 0;
  for (const MeasuredPoint* first : Networks(points)) {
    ChartSeries s;
    s.name = first->network->name;
    s.color = first->color;
    for (const MeasuredPoint& p : points) {
      if (p.network == first->network && p.data->point.rate > 0)
        s.points.push_back(PercentPoint(p.data->point.rate, p.summary.*field));
    }
    if (!s.points.empty()) chart.series.push_back(std::move(s));
  }
  return chart;
}

Chart AccuracyChart(const std::string& model, const MeasuredPoints& points) {
  Chart chart =
      RateChart("Accuracy under " + model, "Accuracy (%)", model, points, &PointSummary::accuracy);
  chart.note =
      "Bands: 95 % intervals of the mean over trials. Dashed: the same network without faults.";
  const std::vector<ChartSeries> curves = chart.series;
  double low = INFINITY, high = 0;
  for (const ChartSeries& s : curves) {
    low = std::min(low, s.points.front().x);
    high = std::max(high, s.points.back().x);
  }
  for (const MeasuredPoint* first : Networks(points)) {
    ChartSeries golden;
    golden.name = first->network->name + ", no faults";
    golden.color = first->color;
    golden.dashed = true;
    golden.in_legend = false;
    for (const double x : {low, high})
      golden.points.push_back({x, 100 * first->summary.golden_accuracy, kNoValue, kNoValue});
    chart.series.push_back(std::move(golden));
  }
  return chart;
}

// For one rate: a bar for each network.
Chart NetworkBars(const std::string& fault, const MeasuredPoints& points) {
  Chart chart;
  chart.title = "Accuracy under " + FaultText(fault);
  chart.note = "Lines: 95 % intervals of the mean over trials.";
  chart.x.title = "Network";
  chart.y.title = "Accuracy (%)";
  chart.y.digits = 2;
  ChartSeries faulty, golden;
  golden.name = "no faults";
  golden.color = 6;
  faulty.name = FaultText(fault);
  faulty.color = 1;
  for (const MeasuredPoint& p : points) {
    const auto x = static_cast<double>(chart.categories.size());
    chart.categories.push_back(p.network->name);
    golden.points.push_back({x, 100 * p.summary.golden_accuracy, kNoValue, kNoValue});
    faulty.points.push_back(PercentPoint(x, p.summary.accuracy));
  }
  chart.series = {golden, faulty};
  return chart;
}

Chart DifferenceChart(const std::string& model, const MeasuredPoints& points, int64_t images) {
  Chart chart;
  chart.title = "Differences between networks under " + model;
  chart.note =
      "First minus second over the same trials, 95 % intervals: where a band leaves zero, the "
      "faults "
      "tell the networks apart.";
  chart.x = RateAxis(model);
  chart.y.title = "Difference (points)";
  chart.y.digits = 2;
  const auto networks = Networks(points);
  for (size_t a = 0; a < networks.size(); ++a) {
    for (size_t b = a + 1; b < networks.size(); ++b) {
      if (a > 0 && networks.size() > kAllPairs) continue;
      ChartSeries s;
      s.name = networks[a]->network->name + " − " + networks[b]->network->name;
      s.color = static_cast<int>(chart.series.size());
      for (const MeasuredPoint& p : points) {
        if (p.network != networks[a]->network || !(p.data->point.rate > 0)) continue;
        for (const MeasuredPoint& q : points) {
          if (q.network != networks[b]->network || q.data->point.fault != p.data->point.fault)
            continue;
          const MeanEstimate e =
              PairedDifference(p.data->trials, q.data->trials, images, kConfidence);
          if (e.count > 0) s.points.push_back(PercentPoint(p.data->point.rate, e));
        }
      }
      if (!s.points.empty()) chart.series.push_back(std::move(s));
    }
  }
  return chart;
}

Table OutcomeTable(const std::string& model, const MeasuredPoints& points) {
  Table table;
  table.title = "Outcomes under " + model;
  table.note =
      "Shares of images against the fault-free run, mean over trials. SDC-1: the top class "
      "changed. SDC-5: it is not among "
      "the "
      "fault-free first five. Masked: every logit is the same. Delivered: faults per unit that "
      "could "
      "be hit.";
  table.header = {"Network",    "Faults",   "Trials", "Accuracy (95 % interval)",
                  "No faults",  "SDC-1",    "SDC-5",  "Masked",
                  "NaN or Inf", "Delivered"};
  table.text_columns = 2;
  for (const MeasuredPoint& p : points) {
    const PointSummary& s = p.summary;
    table.rows.push_back(
        {p.network->name, FaultText(p.data->point.fault),
         CountText(static_cast<int64_t>(p.data->trials.size())), PercentText(s.accuracy),
         PercentText(s.golden_accuracy), PercentText(s.sdc1), PercentText(s.sdc5.mean, 2),
         PercentText(s.masked.mean), PercentText(s.due.mean), NumberText(s.delivered_rate)});
  }
  return table;
}

}  // namespace

ChartPoint PercentPoint(double x, const MeanEstimate& e) {
  const bool interval = e.count > 1 && std::isfinite(e.interval.low);
  return {x, 100 * e.mean, interval ? 100 * e.interval.low : kNoValue,
          interval ? 100 * e.interval.high : kNoValue};
}

std::vector<Block> ModelBlocks(const std::string& model, const MeasuredPoints& points,
                               int64_t images) {
  std::vector<Block> blocks;
  const size_t rates = Rates(points);
  if (rates == 0) return blocks;
  blocks.emplace_back(Heading{"Under " + model});
  if (rates == 1) {
    MeasuredPoints faulty;
    std::copy_if(points.begin(), points.end(), std::back_inserter(faulty),
                 [](const MeasuredPoint& p) { return p.data->point.rate > 0; });
    blocks.emplace_back(NetworkBars(faulty.front().data->point.fault, faulty));
  } else {
    blocks.emplace_back(AccuracyChart(model, points));
    Chart changed = RateChart("Changed predictions (SDC-1) under " + model,
                              "Predictions that differ (%)", model, points, &PointSummary::sdc1);
    changed.note = "Share of images whose top class differs from the fault-free run.";
    blocks.emplace_back(std::move(changed));
  }
  Chart differences = DifferenceChart(model, points, images);
  if (!differences.series.empty() && rates > 1) {
    blocks.emplace_back(std::move(differences));
  } else if (!differences.series.empty()) {
    Table table = TableOf(differences);
    table.note = differences.note;
    blocks.emplace_back(std::move(table));
  }
  blocks.emplace_back(OutcomeTable(model, points));
  return blocks;
}

}  // namespace ftt
