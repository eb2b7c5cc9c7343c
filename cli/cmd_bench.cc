#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/bench_print.h"
#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/help.h"
#include "cli/program.h"
#include "core/error.h"
#include "core/file.h"
#include "engine/networks/networks.h"

namespace ftt {
namespace {

struct BenchCommand {
  std::string what = "step";
  std::vector<std::string> networks = {"resnet-20", "mobilenet-v2", "w-ftt-net"};
  std::string fault = "mibb:1e-4", save;
  bool json = false;
  // 0: the default of what is timed.
  int batch = 0, lanes = 0, repeats = 0, steps = 0, trials = 16;
  int64_t images = 256;
  uint64_t seed = 1;
  std::vector<std::string> rows;
  BackendOptions backend;
};

// After each row: what came before a crash is kept.
void Save(const BenchCommand& o, const nlohmann::ordered_json& all) {
  if (!o.save.empty()) AtomicWriteFile(o.save, all.dump(1) + "\n");
}

int Or(int given, int otherwise) { return given != 0 ? given : otherwise; }

void CheckOptions(const BenchCommand& o, const CLI::App& app) {
  const auto only_for = [&](const char* option, std::initializer_list<const char*> kinds) {
    std::string all;
    for (const char* kind : kinds) {
      if (o.what == kind) return;
      all += (all.empty() ? "" : " and ") + std::string("bench ") + kind;
    }
    FTT_CHECK(app.count(option) == 0, "{} belongs to {}, not to bench {}", option, all, o.what);
  };
  FTT_CHECK(o.what == "kernels" || o.what == "step" || o.what == "sweep",
            "bench '{}' is unknown; there are kernels, step and sweep", o.what);
  only_for("--network", {"step", "sweep"});
  only_for("--fault", {"step", "sweep"});
  only_for("--lanes", {"step", "sweep"});
  only_for("--steps", {"step"});
  only_for("--trials", {"sweep"});
  only_for("--images", {"sweep"});
  only_for("--rows", {"kernels"});
  for (const auto& [option, value] :
       {std::pair{"--batch", o.batch}, std::pair{"--lanes", o.lanes},
        std::pair{"--repeats", o.repeats}, std::pair{"--steps", o.steps}}) {
    FTT_CHECK(app.count(option) == 0 || value >= 1, "{} {}: at least 1", option, value);
  }
}

int RunKernels(const BenchCommand& o, const Device& device) {
  KernelBenchOptions options;
  options.groups = o.rows;
  options.batch = Or(o.batch, options.batch);
  options.repeats = Or(o.repeats, options.repeats);
  options.seed = o.seed;
  nlohmann::ordered_json all = {{"device", device.Text()}};
  KernelSummary summary;
  bool passed = true;
  KernelBenchSink sink;
  sink.rates = [&](const KernelBenchRates& rates) {
    all.update(ToJson(rates));
    all["rows"] = nlohmann::ordered_json::array();
    if (!o.json) PrintRates(rates, options);
  };
  sink.row = [&](const KernelBenchRow& row) {
    passed = passed && row.passed;
    summary.Add(row);
    all["rows"].push_back(ToJson(row));
    Save(o, all);
    if (!o.json) Print(row);
  };
  BenchKernels(device.Name(), options, sink);
  if (o.json) {
    fmt::print("{}\n", all.dump());
  } else {
    summary.Print();
  }
  if (!passed)
    fmt::print(stderr,
               "ftt-cuda: error: rows that say DIFFERS are wrong; their times count for "
               "nothing\n");
  return passed ? kExitSuccess : kExitMismatch;
}

int RunSteps(const BenchCommand& o, Device& device) {
  const FaultSpec faults = ParseFaultSpec(o.fault);
  constexpr int kStepsAhead = 16;
  const bool cuda = device.Name() == "cuda";
  BenchOptions options;
  options.batch = Or(o.batch, options.batch);
  options.lanes = Or(o.lanes, options.lanes);
  options.repeats = Or(o.repeats, options.repeats);
  options.steps = Or(o.steps, cuda ? kStepsAhead : 1);
  options.seed = o.seed;
  std::string missing;
  if (cuda) {
    options.trace = [&](const std::function<void()>& body) {
      KernelWork work = TraceKernels(body);
      missing = work.missing;
      return work;
    };
  }
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  if (!o.json) PrintHeader(options, faults);
  for (const std::string& name : o.networks) {
    const Program program = BuildNetwork(name, {32, 32, 3}, 10);
    for (BenchRow row : {BenchDeploy(device, program, faults, options),
                         BenchTrainStep(device, program, faults, options)}) {
      row.network = name;  // not the genotype that a file holds
      all.push_back(ToJson(row));
      Save(o, all);
      if (!o.json) Print(row);
    }
  }
  if (o.json) fmt::print("{}\n", all.dump());
  if (!missing.empty()) fmt::print(stderr, "/kernels: not measured: {}\n", missing);
  return kExitSuccess;
}

int RunSweep(const BenchCommand& o, Device& device) {
  const FaultSpec faults = ParseFaultSpec(o.fault);
  SweepBenchOptions options;
  options.batch = Or(o.batch, options.batch);
  options.images = o.images;
  options.trials = o.trials;
  options.lanes = Or(o.lanes, options.lanes);
  options.repeats = Or(o.repeats, options.repeats);
  options.seed = o.seed;
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  if (!o.json) PrintHeader(options, faults);
  for (const std::string& name : o.networks) {
    const Program program = BuildNetwork(name, {32, 32, 3}, 10);
    SweepBenchRow row = BenchSweep(device, program, faults, options);
    row.network = name;
    all.push_back(ToJson(row));
    Save(o, all);
    if (!o.json) Print(row);
  }
  if (o.json) fmt::print("{}\n", all.dump());
  return kExitSuccess;
}

int Run(const BenchCommand& o, const CLI::App& app) {
  CheckOptions(o, app);
  const std::unique_ptr<Device> device = OpenDevice(o.backend);
  if (o.what == "kernels") return RunKernels(o, *device);
  return o.what == "sweep" ? RunSweep(o, *device) : RunSteps(o, *device);
}

}  // namespace

std::function<int()> SetUpBench(CLI::App& app) {
  const auto o = std::make_shared<BenchCommand>();
  AddConfigOptions(app);
  app.add_option(
      "WHAT", o->what,
      "kernels: single kernels of a GPU; step: forward passes and training steps; sweep: "
      "trials side by side");
  app.add_option("--network", o->networks, "step, sweep: networks, separated by commas")
      ->delimiter(',');
  AddFaultOption(app, o->fault);
  app.add_option("--batch", o->batch, "Images per lane; 0: 64, for kernels 128");
  app.add_option(
      "--lanes", o->lanes,
      "step: lanes of the training step, one of them faulty; sweep: trials side by side; "
      "0: 2 and 16");
  app.add_option("--repeats", o->repeats, "Timed rounds, whose medians count; 0: 9, 3 or 15");
  app.add_option("--steps", o->steps,
                 "step: training steps of a round; 0: 1, on a GPU 16, so that the host is ahead");
  app.add_option("--trials", o->trials, "sweep: fault seeds");
  app.add_option("--images", o->images, "sweep: images of each trial");
  app.add_option("--rows", o->rows,
                 "kernels: only these, separated by commas: dense, depthwise, separable, "
                 "backward, pass, samplers, weights, optimizer")
      ->delimiter(',');
  AddSeedOption(app, o->seed);
  AddBackendOptions(app, o->backend);
  AddJsonOption(app, o->json);
  app.add_option("--save", o->save, "Also write the rows to this file, as --json prints them")
      ->take_last();
  SetExamples(
      app,
      "  ftt-cuda bench\n"
      "  ftt-cuda bench step --network resnet-20,runs/search/genotype.txt --fault mibb:1e-3 "
      "--threads 1\n"
      "  ftt-cuda bench sweep --network resnet-20 --trials 16 --lanes 16\n"
      "  ftt-cuda bench kernels --backend cuda --rows dense,depthwise\n"
      "\nratio: faulty over clean, the median of pairs that ran one after the other. "
      "/kernels: wall time times\n"
      "threads over the time inside convolution kernels alone, i.e. what everything else "
      "adds; on a GPU, wall\n"
      "time over the time inside all kernels. A CPU kernel that quantizes as well counts as a "
      "whole; so a\n"
      "network's ratio may fall while its time rises. /oneDNN: wall time times threads over what "
      "oneDNN's\n"
      "primitives alone take for the same convolutions (and their gradients) on as many threads at "
      "once, timed\n"
      "before each pair; it compares two programs. Deploy mode is compared with the reference "
      "backend in the\n"
      "same run; a row without agreement is not printed.\n"
      "Sweep: a trial over the clean run, and all trials one after another over side by "
      "side.\n"
      "Kernels: docs/kernels.md says how to read the table; each row's result is checked in "
      "the same run.");
  return [o, &app] { return Run(*o, app); };
}

}  // namespace ftt
