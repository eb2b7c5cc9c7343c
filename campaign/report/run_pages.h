// Sections of a report about searches and trainings.
#pragma once

#include <string>
#include <vector>

#include "campaign/report/report.h"
#include "campaign/report/run_files.h"

namespace ftt {

// `name` stands for the run in the report. Cells are drawn by the program `dot`.
Section SearchSection(const RunRecord& run, const std::string& name,
                      const std::string& dot = "dot");
Section TrainSection(const RunRecord& run, const std::string& name);

// One row for each finished training; for two or more.
Table TrainingTable(const std::vector<const RunRecord*>& runs,
                    const std::vector<std::string>& names);

// The rewards of proposals in at most `bins` groups of neighbours: mean, and the 10th and 90th
// percentile as the interval; x is the number of the last proposal of the group.
std::vector<ChartPoint> BinRewards(const std::vector<double>& rewards, size_t bins);

}  // namespace ftt
