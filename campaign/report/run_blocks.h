// What sections about searches and trainings share.
#pragma once

#include <functional>
#include <string>

#include "campaign/report/report.h"
#include "campaign/report/run_files.h"

namespace ftt {

// One series over epochs; `value` gives y, kNoValue where an epoch has none.
ChartSeries EpochSeries(const RunRecord& run, const std::string& name, int color,
                        const std::function<double(const EpochRecord&)>& value);
ChartAxis EpochAxis();

// Which lanes the run's batches had; events hold zeros, or a copy, for the other.
bool HasCleanLane(const RunRecord& run);
bool HasFaultyLane(const RunRecord& run);

// The command and the configuration that make the run again.
std::vector<Block> Reproduce(const RunRecord& run);

std::string ShellQuote(const std::string& text);

// Time of all epochs, e.g. for a figure.
std::string EpochTime(const RunRecord& run);

}  // namespace ftt
