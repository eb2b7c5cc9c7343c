#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/help.h"
#include "cli/program.h"
#include "engine/bench.h"
#include "engine/networks/networks.h"

namespace ftt {
namespace {

struct BenchCommand {
  std::vector<std::string> networks = {"resnet-20", "mobilenet-v2", "w-ftt-net"};
  std::string fault = "mibb:1e-4";
  bool json = false;
  BenchOptions bench;
  BackendOptions backend;
};

void Print(const BenchRow& r) {
  fmt::print("{:<14} {:<15} {:>9.2f} {:>9.2f} {:>7.3f} {:>9.3f} {:>9.0f}  ", r.network, r.what,
             r.clean_ms, r.faulty_ms, r.fault_ratio, r.kernel_ratio, r.images_per_second);
  if (r.parity_values > 0) {
    fmt::print("equal to ref on {} values\n", r.parity_values);
  } else {
    fmt::print("arena {:.0f} MiB, {:.3f} of its lower bound\n", r.arena_mib, r.arena_over_bound);
  }
}

nlohmann::ordered_json ToJson(const BenchRow& r) {
  return {{"network", r.network},
          {"what", r.what},
          {"clean_ms", r.clean_ms},
          {"faulty_ms", r.faulty_ms},
          {"fault_ratio", r.fault_ratio},
          {"kernel_ratio", r.kernel_ratio},
          {"images_per_second", r.images_per_second},
          {"parity_values", r.parity_values},
          {"arena_mib", r.arena_mib},
          {"arena_over_bound", r.arena_over_bound}};
}

int Run(const BenchCommand& o) {
  const FaultSpec faults = ParseFaultSpec(o.fault);
  const std::unique_ptr<Device> device = OpenDevice(o.backend);
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  if (!o.json) {
    fmt::print("batch {}, {}, median of {} pairs\n{:<14} {:<15} {:>9} {:>9} {:>7} {:>9} {:>9}\n",
               o.bench.batch, faults.Text(), o.bench.repeats, "network", "what", "clean ms",
               "fault ms", "ratio", "/kernels", "images/s");
  }
  for (const std::string& name : o.networks) {
    const Program program = BuildNetwork(name, {32, 32, 3}, 10);
    for (const BenchRow& row : {BenchDeploy(*device, program, faults, o.bench),
                                BenchTrainStep(*device, program, faults, o.bench)}) {
      if (o.json) {
        all.push_back(ToJson(row));
      } else {
        Print(row);
      }
    }
  }
  if (o.json) fmt::print("{}\n", all.dump());
  return kExitSuccess;
}

}  // namespace

std::function<int()> SetUpBench(CLI::App& app) {
  const auto o = std::make_shared<BenchCommand>();
  AddConfigOptions(app);
  app.add_option("--network", o->networks, "Networks, separated by commas")->delimiter(',');
  AddFaultOption(app, o->fault);
  app.add_option("--batch", o->bench.batch, "Images per lane");
  app.add_option("--lanes", o->bench.lanes, "Lanes of the training step; one of them is faulty");
  app.add_option("--repeats", o->bench.repeats, "Timed pairs; medians count");
  AddSeedOption(app, o->bench.seed);
  AddBackendOptions(app, o->backend);
  AddJsonOption(app, o->json);
  SetExamples(app,
              "  ftt-cuda bench\n"
              "  ftt-cuda bench --network resnet-20,runs/search/genotype.txt --fault mibb:1e-3 "
              "--threads 1\n"
              "\nratio: faulty over clean, the median of pairs that ran one after the other. "
              "/kernels: wall time times\n"
              "threads over the time inside convolution kernels alone, i.e. what everything else "
              "adds. A kernel that\n"
              "quantizes as well counts as a whole; so a network's ratio may fall while its time "
              "rises, and a\n"
              "comparison of two programs needs both. Deploy mode is\n"
              "compared with the reference backend in the same run; a row without agreement is not "
              "printed.");
  return [o] { return Run(*o); };
}

}  // namespace ftt
