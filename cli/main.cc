#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/program.h"

namespace {

constexpr ftt::Command kCommands[] = {
    {"search", "Find a fault-tolerant architecture", ftt::SetUpSearch},
    {"train", "Train one network, with faults in the loop or without", ftt::SetUpTrain},
    {"eval", "Measure a trained network, clean and under faults", ftt::SetUpEval},
    {"sweep", "Measure networks against fault rates, with intervals", ftt::SetUpSweep},
    {"analyze", "Find where networks are vulnerable, and what to protect", ftt::SetUpAnalyze},
    {"compare", "Train networks with and without faults and sweep them all", ftt::SetUpCompare},
    {"report", "One web page of runs and campaigns: figures, charts, cells", ftt::SetUpReport},
    {"export", "Write a trained network as a file for other programs", ftt::SetUpExport},
    {"bench", "Time networks: what faults cost, what surrounds the convolutions", ftt::SetUpBench},
    {"data", "Get, check and look at data sets", ftt::SetUpData},
    {"info", "Versions, processor features and build flags", ftt::SetUpInfo},
};

}  // namespace

std::span<const ftt::Command> ftt::Commands() { return kCommands; }

int main(int argc, char** argv) { return ftt::RunProgram(kCommands, {argv + 1, argv + argc}); }
