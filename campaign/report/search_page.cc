#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "campaign/report/cells.h"
#include "campaign/report/format.h"
#include "campaign/report/run_blocks.h"
#include "campaign/report/run_pages.h"
#include "core/error.h"

namespace ftt {
namespace {

std::string Headline(const RunRecord& run) {
  const std::string fault = FaultText(run.Option("fault"));
  if (run.search) {
    const SearchRecord& r = *run.search;
    return fmt::format("Reward {:.3f}: {} clean, {} under {}; best of random {:.3f}", r.best.reward,
                       PercentText(r.best.clean), PercentText(r.best.fault), fault,
                       r.random_best.reward);
  }
  const EpochRecord& e = run.epochs.back();
  std::string text = fmt::format("Not finished: epoch {} of {}", e.epoch, run.Option("epochs"));
  if (e.proposals > 0) text += fmt::format(", mean reward {:.3f}", e.reward);
  return text;
}

std::vector<Figure> Figures(const RunRecord& run) {
  std::vector<Figure> figures;
  if (run.search) {
    const SearchRecord& r = *run.search;
    figures.push_back({"Reward", NumberText(r.best.reward, 3), "winner, on shared weights"});
    figures.push_back({"Clean accuracy", PercentText(r.best.clean), "on shared weights"});
    figures.push_back({"Under " + FaultText(run.Option("fault")), PercentText(r.best.fault),
                       "on shared weights"});
    figures.push_back(
        {"Random baseline", NumberText(r.random_best.reward, 3), "best reward, same budget"});
    if (r.mean_drawn) {
      figures.push_back(
          {"Mean reward of draws", NumberText(*r.mean_drawn, 3),
           fmt::format("{} of random ones, same batch", NumberText(*r.mean_random, 3))});
    }
    figures.push_back({"Cost (MFLOPs)", NumberText(r.mflops, 1),
                       fmt::format("{} parameters", CountText(std::llround(r.parameters)))});
    figures.push_back({"Reward evaluations", CountText(r.reward_evaluations), ""});
  }
  figures.push_back({"Epochs",
                     fmt::format("{} of {}", run.epochs.back().epoch, run.Option("epochs")),
                     EpochTime(run) + " in all"});
  figures.push_back({"Data", run.Option("data"), "seed " + run.Option("seed")});
  return figures;
}

Chart ProposalChart(const RunRecord& run) {
  Chart chart;
  chart.title = "Accuracy of proposed architectures";
  chart.note = "On the shared weights, mean over an epoch's proposals; warm-up epochs have none.";
  chart.x = EpochAxis();
  chart.y.title = "Accuracy (%)";
  chart.y.digits = 2;
  const auto of = [](double EpochRecord::*field) {
    return [field](const EpochRecord& e) { return e.proposals > 0 ? 100 * e.*field : kNoValue; };
  };
  chart.series.push_back(EpochSeries(run, "clean", 0, of(&EpochRecord::reward_clean)));
  chart.series.push_back(EpochSeries(run, "faulty", 1, of(&EpochRecord::reward_fault)));
  return chart;
}

Chart RewardChart(const SearchRecord& search) {
  constexpr size_t kBins = 40;
  Chart chart;
  chart.title = "Reward of proposals";
  const size_t group = (search.reward_trace.size() + kBins - 1) / kBins;
  chart.note = group > 1 ? fmt::format(
                               "Means of {} neighbouring proposals; the band holds the middle "
                               "80 % of them. Dashed: the winner, derived at the end.",
                               group)
                         : "Dashed: the winner, derived at the end.";
  chart.x.title = "Proposal (number)";
  chart.x.digits = 0;
  chart.y.title = "Reward (1: every image right)";
  chart.y.digits = 3;
  ChartSeries trace;
  trace.name = "proposals";
  trace.color = 2;
  trace.points = BinRewards(search.reward_trace, kBins);
  const auto line = [&](const char* name, double y, int color) {
    ChartSeries s;
    s.name = name;
    s.color = color;
    s.dashed = true;
    for (const double x : {trace.points.front().x, trace.points.back().x})
      s.points.push_back({x, y, kNoValue, kNoValue});
    return s;
  };
  chart.series = {trace, line("winner", search.best.reward, 0),
                  line("best of random", search.random_best.reward, 3)};
  return chart;
}

Chart SupernetChart(const RunRecord& run) {
  Chart chart;
  chart.title = "Supernet on training batches";
  chart.note = "Mean over an epoch's batches, each with another architecture.";
  chart.x = EpochAxis();
  chart.y.title = "Accuracy (%)";
  chart.y.digits = 2;
  if (HasCleanLane(run))
    chart.series.push_back(
        EpochSeries(run, "clean", 0, [](const EpochRecord& e) { return 100 * e.accuracy; }));
  if (HasFaultyLane(run))
    chart.series.push_back(
        EpochSeries(run, "faulty", 1, [](const EpochRecord& e) { return 100 * e.fault_accuracy; }));
  return chart;
}

Chart EpochChart(const RunRecord& run, const std::string& title, const std::string& note,
                 const std::string& axis, double EpochRecord::*field, int color) {
  Chart chart;
  chart.title = title;
  chart.note = note;
  chart.x = EpochAxis();
  chart.y.title = axis;
  chart.y.digits = 3;
  chart.series.push_back(
      EpochSeries(run, title, color, [field](const EpochRecord& e) { return e.*field; }));
  return chart;
}

// "11 of 16", or a dash for a genotype that cannot be read.
std::string Convolutions(const std::string& genotype) {
  try {
    const Genotype g = ParseGenotype(genotype);
    size_t edges = 0, convolutions = 0;
    for (const auto* cell : {&g.normal, &g.reduce}) {
      edges += cell->size();
      for (const GenotypeEdge& e : *cell) convolutions += IsConvolution(e.op) ? 1 : 0;
    }
    return fmt::format("{} of {}", convolutions, edges);
  } catch (const Error&) {
    return "–";
  }
}

std::vector<std::string> CandidateRow(const std::string& name, const CandidateRecord& c) {
  return {name, NumberText(c.reward, 3), PercentText(c.clean), PercentText(c.fault),
          Convolutions(c.genotype)};
}

Table CandidateTable(const SearchRecord& search) {
  Table table;
  table.title = "Winner, random baseline and all sampled architectures";
  table.note =
      "Rewards on the shared weights; the random baseline spent as many reward evaluations.";
  table.header = {"Architecture", "Reward", "Clean", "Faulty", "Edges with convolutions"};
  table.rows = {CandidateRow("Winner", search.best),
                CandidateRow("Best of random", search.random_best)};
  std::vector<CandidateRecord> sorted = search.derived;
  std::stable_sort(
      sorted.begin(), sorted.end(),
      [](const CandidateRecord& a, const CandidateRecord& b) { return a.reward > b.reward; });
  for (size_t i = 0; i < sorted.size(); ++i)
    table.rows.push_back(CandidateRow(fmt::format("Sample {}", i + 1), sorted[i]));
  return table;
}

Listing GenotypeList(const SearchRecord& search) {
  Listing list;
  list.title = "Genotypes as text";
  list.text = "# winner\n" + search.best.genotype + "\n\n# best of random\n" +
              search.random_best.genotype + "\n";
  for (const CandidateRecord& c : search.derived)
    list.text += fmt::format("\n# sampled, reward {:.3f}\n{}\n", c.reward, c.genotype);
  return list;
}

void AddResult(const SearchRecord& search, const std::string& dot, Section* s) {
  s->blocks.emplace_back(Heading{"Found architecture"});
  for (CellDrawing& c : DrawCells("Winner", search.best.genotype, dot))
    s->blocks.emplace_back(std::move(c));
  s->blocks.emplace_back(Heading{"Compared"});
  s->blocks.emplace_back(CandidateTable(search));
  s->blocks.emplace_back(GenotypeList(search));
  for (CellDrawing& c : DrawCells("Best of random", search.random_best.genotype, dot))
    s->blocks.emplace_back(std::move(c));
}

void AddWarnings(const RunRecord& run, Section* s) {
  if (!run.search) {
    s->warnings.push_back(
        "This search has not finished: there is no report.json yet. Continue it "
        "with --resume.");
    return;
  }
  const SearchRecord& r = *run.search;
  if (!r.collapse_warning.empty()) s->warnings.push_back("Collapse: " + r.collapse_warning + ".");
  if (r.best.reward <= r.random_best.reward) {
    s->warnings.push_back(fmt::format(
        "No better than chance: the best random architecture has reward {:.3f}, the winner {:.3f}. "
        "Search longer, or take the random one.",
        r.random_best.reward, r.best.reward));
  }
}

}  // namespace

std::vector<ChartPoint> BinRewards(const std::vector<double>& rewards, size_t bins) {
  std::vector<ChartPoint> points;
  const size_t group = std::max<size_t>(1, (rewards.size() + bins - 1) / bins);
  for (size_t first = 0; first < rewards.size(); first += group) {
    const size_t end = std::min(first + group, rewards.size());
    std::vector<double> part(rewards.begin() + static_cast<std::ptrdiff_t>(first),
                             rewards.begin() + static_cast<std::ptrdiff_t>(end));
    std::sort(part.begin(), part.end());
    const double count = static_cast<double>(part.size());
    ChartPoint p;
    p.x = static_cast<double>(end);
    p.y = std::accumulate(part.begin(), part.end(), 0.0) / count;
    if (group > 1) {
      const auto at = [&](double q) {
        return part[static_cast<size_t>(std::lround(q * (count - 1)))];
      };
      p.low = at(0.1);
      p.high = at(0.9);
    }
    points.push_back(p);
  }
  return points;
}

Section SearchSection(const RunRecord& run, const std::string& name, const std::string& dot) {
  Section s;
  s.name = name;
  s.kind = "Search by " + run.Option("strategy");
  s.headline = Headline(run);
  s.figures = Figures(run);
  if (std::string warning = DivergedWarning(run); !warning.empty())
    s.warnings.push_back(std::move(warning));
  AddWarnings(run, &s);
  if (run.search) AddResult(*run.search, dot, &s);
  s.blocks.emplace_back(Heading{"Course of the search"});
  if (std::any_of(run.epochs.begin(), run.epochs.end(),
                  [](const EpochRecord& e) { return e.proposals > 0; }))
    s.blocks.emplace_back(ProposalChart(run));
  if (run.search && !run.search->reward_trace.empty())
    s.blocks.emplace_back(RewardChart(*run.search));
  s.blocks.emplace_back(EpochChart(run, "Entropy of the controller",
                                   "Mean over its decisions; it falls as the controller settles.",
                                   "Entropy (nat per decision)", &EpochRecord::entropy, 3));
  s.blocks.emplace_back(SupernetChart(run));
  s.blocks.emplace_back(EpochChart(run, "Loss of the supernet", "Mean over an epoch's batches.",
                                   "Cross entropy (nat per image)", &EpochRecord::loss, 0));
  for (Block& b : Reproduce(run)) s.blocks.push_back(std::move(b));
  return s;
}

}  // namespace ftt
