#include "campaign/report/run_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "campaign/report/format.h"

namespace ftt {

ChartSeries EpochSeries(const RunRecord& run, const std::string& name, int color,
                        const std::function<double(const EpochRecord&)>& value) {
  ChartSeries series;
  series.name = name;
  series.color = color;
  for (const EpochRecord& e : run.epochs)
    series.points.push_back({static_cast<double>(e.epoch), value(e), kNoValue, kNoValue});
  return series;
}

ChartAxis EpochAxis() {
  ChartAxis axis;
  axis.title = "Epoch";
  axis.digits = 0;
  return axis;
}

bool HasFaultyLane(const RunRecord& run) {
  return std::any_of(run.epochs.begin(), run.epochs.end(), [](const EpochRecord& e) {
    return e.fault_loss != 0 || e.fault_accuracy != 0 || e.delivered_rate != 0;
  });
}

bool HasCleanLane(const RunRecord& run) {
  return !HasFaultyLane(run) || std::strtod(run.Option("fault-loss-coeff").c_str(), nullptr) < 1;
}

std::string ShellQuote(const std::string& text) {
  const bool plain = !text.empty() && text.find_first_not_of(
                                          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                          "0123456789_-./:,=+@%") == std::string::npos;
  if (plain) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::vector<Block> Reproduce(const RunRecord& run) {
  const std::string command =
      fmt::format("ftt-cuda {} --config {} --out {}", run.is_search ? "search" : "train",
                  ShellQuote(run.path + "/config.toml"), ShellQuote(run.path + "-again"));
  return {Heading{"Reproduce"}, Listing{"Command", command, true},
          Listing{"Configuration (config.toml)", run.config, false}};
}

std::string EpochTime(const RunRecord& run) {
  double seconds = 0;
  for (const EpochRecord& e : run.epochs) seconds += e.seconds;
  return DurationText(seconds);
}

}  // namespace ftt
