#include <fmt/format.h>

#include "campaign/report/format.h"
#include "campaign/report/run_blocks.h"
#include "campaign/report/run_pages.h"

namespace ftt {
namespace {

MeanEstimate UnderFault(const TrainRecord& result) {
  return result.trials.empty() ? MeanEstimate{} : EstimateMean(result.trials, 0.95);
}

std::string Headline(const RunRecord& run) {
  if (!run.train) {
    const EpochRecord& e = run.epochs.back();
    std::string text = fmt::format("Not finished: epoch {} of {}", e.epoch, run.Option("epochs"));
    if (HasCleanLane(run)) text += fmt::format(", {} clean", PercentText(e.accuracy));
    if (HasFaultyLane(run)) text += fmt::format(", {} faulty", PercentText(e.fault_accuracy));
    return text;
  }
  const TrainRecord& r = *run.train;
  if (r.trials.empty()) return PercentText(r.clean_accuracy) + " clean";
  return fmt::format("{} under {}; clean {}", PercentText(UnderFault(r)), FaultText(r.faults),
                     PercentText(r.clean_accuracy));
}

std::vector<Figure> Figures(const RunRecord& run) {
  std::vector<Figure> figures;
  if (run.train) {
    const TrainRecord& r = *run.train;
    figures.push_back({"Clean accuracy", PercentText(r.clean_accuracy, 2),
                       fmt::format("{} test images, deploy mode", CountText(r.test_images))});
    if (!r.trials.empty()) {
      const MeanEstimate e = UnderFault(r);
      figures.push_back({"Under " + FaultText(r.faults), PercentText(e.mean, 2),
                         fmt::format("{} trial{}", e.count, e.count == 1 ? "" : "s")});
      figures.push_back(
          {"Lost to faults", fmt::format("{:.1f} points", 100 * (r.clean_accuracy - e.mean)), ""});
    }
    if (r.train_mode_accuracy)
      figures.push_back({"Train mode", PercentText(*r.train_mode_accuracy, 2),
                         "clean, statistics of each batch"});
  }
  const bool faulty = HasFaultyLane(run);
  figures.push_back({"Trained with", faulty ? FaultText(run.Option("fault")) : "no faults",
                     faulty ? "coefficient " + run.Option("fault-loss-coeff") : ""});
  figures.push_back({"Epochs",
                     fmt::format("{} of {}", run.epochs.back().epoch, run.Option("epochs")),
                     EpochTime(run) + " in all"});
  figures.push_back({"Data", run.Option("data"), "seed " + run.Option("seed")});
  return figures;
}

// One series for each lane.
Chart LaneChart(const RunRecord& run, const std::string& title, const std::string& axis, int digits,
                double scale, double EpochRecord::*clean, double EpochRecord::*faulty) {
  Chart chart;
  chart.title = title;
  chart.note = "Mean over an epoch, train mode.";
  chart.x = EpochAxis();
  chart.y.title = axis;
  chart.y.digits = digits;
  const auto add = [&](const char* name, int color, double EpochRecord::*field) {
    chart.series.push_back(
        EpochSeries(run, name, color, [=](const EpochRecord& e) { return scale * e.*field; }));
  };
  if (HasCleanLane(run)) add("clean", 0, clean);
  if (HasFaultyLane(run)) add("faulty", 1, faulty);
  return chart;
}

Chart RateChart(const RunRecord& run) {
  Chart chart;
  chart.title = "Learning rate";
  chart.note = "At the end of each epoch.";
  chart.x = EpochAxis();
  chart.y.title = "Learning rate (step per unit of gradient)";
  chart.series.push_back(
      EpochSeries(run, "learning rate", 2, [](const EpochRecord& e) { return e.learning_rate; }));
  return chart;
}

Table TrialTable(const TrainRecord& result) {
  Table table;
  table.title = fmt::format("Trials under {}", FaultText(result.faults));
  table.note = "Each trial is one fault seed over all test images.";
  table.header = {"Trial", "Accuracy", "Lost against clean (points)"};
  table.text_columns = 0;
  for (size_t i = 0; i < result.trials.size(); ++i) {
    table.rows.push_back({fmt::format("{}", i), PercentText(result.trials[i], 2),
                          fmt::format("{:.2f}", 100 * (result.clean_accuracy - result.trials[i]))});
  }
  return table;
}

}  // namespace

Section TrainSection(const RunRecord& run, const std::string& name) {
  Section s;
  s.name = name;
  s.kind = "Training of " + run.Option("network");
  s.headline = Headline(run);
  s.figures = Figures(run);
  if (std::string warning = DivergedWarning(run); !warning.empty())
    s.warnings.push_back(std::move(warning));
  if (!run.train)
    s.warnings.push_back(
        "This training has not finished: there is no result.json yet. Continue it "
        "with --resume.");
  s.blocks = {Heading{"Learning"},
              LaneChart(run, "Accuracy on training batches", "Accuracy (%)", 2, 100,
                        &EpochRecord::accuracy, &EpochRecord::fault_accuracy),
              LaneChart(run, "Loss on training batches", "Cross entropy (nat per image)", 3, 1,
                        &EpochRecord::loss, &EpochRecord::fault_loss),
              RateChart(run)};
  if (run.train && !run.train->trials.empty()) {
    s.blocks.emplace_back(Heading{"Result"});
    s.blocks.emplace_back(TrialTable(*run.train));
  }
  for (Block& b : Reproduce(run)) s.blocks.push_back(std::move(b));
  return s;
}

Table TrainingTable(const std::vector<const RunRecord*>& runs,
                    const std::vector<std::string>& names) {
  Table table;
  table.title = "Trainings side by side";
  table.header = {"Run",          "Network",
                  "Trained with", "Measured under",
                  "Clean",        "Under faults (95 % interval)",
                  "Lost (points)"};
  table.text_columns = 4;
  for (size_t i = 0; i < runs.size(); ++i) {
    const RunRecord& run = *runs[i];
    if (!run.train) continue;
    const MeanEstimate e = UnderFault(*run.train);
    table.rows.push_back(
        {names[i], run.Option("network"),
         HasFaultyLane(run) ? fmt::format("{}, coefficient {}", FaultText(run.Option("fault")),
                                          run.Option("fault-loss-coeff"))
                            : "no faults",
         e.count > 0 ? FaultText(run.train->faults) : "–", PercentText(run.train->clean_accuracy),
         PercentText(e),
         e.count > 0 ? fmt::format("{:.1f}", 100 * (run.train->clean_accuracy - e.mean)) : "–"});
  }
  return table;
}

}  // namespace ftt
