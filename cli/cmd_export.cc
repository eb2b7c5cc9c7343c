// `ftt-cuda export`: a deployed network for other programs.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"
#include "cli/help.h"
#include "cli/program.h"
#include "engine/export.h"

namespace ftt {
namespace {

struct ExportCommand {
  std::string checkpoint, out;
};

int RunExport(const ExportCommand& o) {
  const TrainedNetwork network = LoadTrained(o.checkpoint);
  const TensorFile file = ExportDeployed(network);
  file.Save(o.out);
  fmt::print("{}: {}, {} ops, {} tensors\n", o.out, network.spec.name,
             network.model.program.ops.size(), file.Size());
  return kExitSuccess;
}

}  // namespace

std::function<int()> SetUpExport(CLI::App& app) {
  const auto o = std::make_shared<ExportCommand>();
  app.add_option("CHECKPOINT", o->checkpoint,
                 "Run folder of `train`, a checkpoint folder, or a .safetensors file")
      ->required();
  app.add_option("--out", o->out, "File to write (.safetensors)")->required();
  SetExamples(
      app,
      "  ftt-cuda export runs/r20 --out r20.safetensors\n"
      "  python3 benchmarks/peers/numpy_inference.py r20.safetensors data/test_batch.bin\n"
      "\nThe file holds the network as `eval` runs it: integer weight codes, one scale and shift "
      "per\n"
      "channel, the exponents of all values, and the program as JSON. docs/export.md describes it "
      "well\n"
      "enough to compute the same predictions bit for bit, with weight faults too.");
  return [o] { return RunExport(*o); };
}

}  // namespace ftt
