#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/help.h"
#include "cli/program.h"
#include "core/error.h"
#include "core/file.h"
#include "core/signals.h"

namespace ftt {
namespace {

constexpr char kFound[] = "search";  // stands for the network that the search finds

struct CompareCommand {
  std::vector<std::string> networks;
  int search_epochs = 100, train_epochs = 100;
  double budget = 1;
  std::string out, data;
  std::vector<std::string> settings;  // --preset or --config, for every step
  BackendOptions backend;
};

// The steps of a comparison, each a command of this program in the same process.
class Steps {
 public:
  explicit Steps(const CompareCommand& o) : o_(o) {}

  // Prints and runs it; false when it failed or was stopped.
  bool Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin() + 1, o_.settings.begin(), o_.settings.end());
    if (!o_.data.empty()) arguments.insert(arguments.end(), {"--data", o_.data});
    arguments.insert(arguments.end(), {"--backend", o_.backend.backend, "--threads",
                                       std::to_string(o_.backend.threads)});
    std::string line = "\n$ ftt-cuda";
    for (const std::string& a : arguments)
      line += a.find_first_of(" []'\"*;") == std::string::npos ? " " + a : " '" + a + "'";
    fmt::print("{}\n", line);
    std::fflush(stdout);
    code_ = RunProgram(Commands(), std::move(arguments));
    return code_ == kExitSuccess && !StopRequested();
  }
  int ExitCode() const { return code_; }

 private:
  const CompareCommand& o_;
  int code_ = kExitSuccess;
};

std::string Epochs(int epochs, double budget) {
  return std::to_string(std::max(1, static_cast<int>(std::lround(epochs * budget))));
}

// "runs/x/genotype.txt" and "resnet-20" as names of runs.
std::string RunName(const std::string& network) {
  if (network == kFound) return "found";
  std::string name = network;
  if (PathExists(network)) {
    const size_t slash = name.find_last_of('/');
    name = name.substr(slash == std::string::npos ? 0 : slash + 1);
    name = name.substr(0, name.find('.'));
  }
  std::replace(name.begin(), name.end(), '/', '-');
  return name;
}

bool RunSteps(const CompareCommand& o, Steps& steps) {
  const std::string search = o.out + "/search";
  std::vector<std::string> sweep = {"sweep"};
  std::set<std::string> names;
  for (const std::string& network : o.networks) {
    FTT_CHECK(names.insert(RunName(network)).second, "--networks: {} is there twice", network);
  }
  for (const std::string& network : o.networks) {
    std::string what = network;
    if (network == kFound) {
      what = search + "/genotype.txt";
      if (!PathExists(what) && !steps.Run({"search", "--epochs", Epochs(o.search_epochs, o.budget),
                                           "--out", search, "--resume"}))
        return false;
    }
    for (const bool with_faults : {true, false}) {
      const std::string name = RunName(network) + (with_faults ? "-ftt" : "-plain");
      const std::string run = o.out + "/" + name;
      std::vector<std::string> train = {
          "train", "--network", what,      "--epochs", Epochs(o.train_epochs, o.budget),
          "--out", run,         "--resume"};
      if (!with_faults) train.insert(train.end(), {"--fault-loss-coeff", "0"});
      if (!PathExists(run + "/result.json") && !steps.Run(train)) return false;
      sweep.push_back(name + "=" + run);
    }
  }
  sweep.insert(sweep.end(), {"--out", o.out});
  return steps.Run(sweep);
}

int Run(const CompareCommand& o) {
  FTT_CHECK(o.budget > 0 && o.budget <= 100, "--budget: {} is outside (0, 100]", o.budget);
  FTT_CHECK(o.search_epochs >= 1 && o.train_epochs >= 1,
            "--search-epochs and --train-epochs must be at least 1");
  FTT_CHECK(!o.settings.empty(),
            "compare: give --preset paper-mibb or paper-adsaf, or a --config with tables [search], "
            "[train] and [sweep]");
  EnsureWritableDir(o.out);
  Steps steps(o);
  if (!RunSteps(o, steps)) {
    if (StopRequested()) fmt::print(stderr, "stopped; the same command goes on from there\n");
    return steps.ExitCode();
  }
  return kExitSuccess;
}

}  // namespace

std::function<int()> SetUpCompare(CLI::App& app) {
  const auto o = std::make_shared<CompareCommand>();
  AddConfigOptions(app);
  app.add_option("--networks", o->networks,
                 "Names of fixed networks and genotype files, separated by commas; `search` stands "
                 "for the network that the search finds")
      ->delimiter(',')
      ->required();
  app.add_option("--search-epochs", o->search_epochs, "Epochs of the search with a budget of 1")
      ->take_last();
  app.add_option("--train-epochs", o->train_epochs, "Epochs of every training with a budget of 1")
      ->take_last();
  app.add_option("--budget", o->budget, "Scales all epochs, e.g. 0.1")->take_last();
  app.add_option("--data", o->data,
                 "Data set of all steps, NAME[:DIR]; default: the configuration's")
      ->take_last();
  app.add_option("--out", o->out,
                 "Folder for all runs and the campaign; the same command again continues")
      ->required()
      ->take_last();
  AddBackendOptions(app, o->backend);
  SetExamples(
      app,
      "  ftt-cuda compare --preset paper-mibb --backend cuda --out runs/paper\n"
      "  ftt-cuda compare --preset paper-adsaf --budget 0.05 --out runs/paper-short\n"
      "\nTrains every network with faults and without, then sweeps all of them in one campaign. "
      "Tables\n"
      "[search], [train] and [sweep] of the configuration hold the settings of the steps, which "
      "are\n"
      "printed as the commands they are.");
  return [o, &app] {
    for (const char* option : {"--preset", "--config"}) {
      if (app.count(option) > 0)
        o->settings.insert(o->settings.end(), {option, app.get_option(option)->as<std::string>()});
    }
    return Run(*o);
  };
}

}  // namespace ftt
