// The commands, each in its own cmd_*.cc. See Command::set_up.
#pragma once

#include <functional>

#include "cli/command.h"

namespace ftt {

std::function<int()> SetUpSearch(CLI::App& app);
std::function<int()> SetUpTrain(CLI::App& app);
std::function<int()> SetUpEval(CLI::App& app);
std::function<int()> SetUpExport(CLI::App& app);
std::function<int()> SetUpBench(CLI::App& app);
std::function<int()> SetUpData(CLI::App& app);
std::function<int()> SetUpInfo(CLI::App& app);

}  // namespace ftt
