// The commands, each in its own cmd_*.cc. See Command::set_up.
#pragma once

#include <functional>
#include <span>

#include "cli/command.h"

namespace ftt {

// All of them, in the order of the help page.
std::span<const Command> Commands();

std::function<int()> SetUpSearch(CLI::App& app);
std::function<int()> SetUpTrain(CLI::App& app);
std::function<int()> SetUpEval(CLI::App& app);
std::function<int()> SetUpSweep(CLI::App& app);
std::function<int()> SetUpAnalyze(CLI::App& app);
std::function<int()> SetUpCompare(CLI::App& app);
std::function<int()> SetUpReport(CLI::App& app);
std::function<int()> SetUpExport(CLI::App& app);
std::function<int()> SetUpBench(CLI::App& app);
std::function<int()> SetUpData(CLI::App& app);
std::function<int()> SetUpInfo(CLI::App& app);

}  // namespace ftt
