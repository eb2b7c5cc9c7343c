#include "cli/common_options.h"

#include <fmt/format.h>

#include <cstdlib>
#include <sstream>

#include "cli/presets.h"
#include "core/error.h"

namespace ftt {

void AddDataOption(CLI::App& app, std::string& data) {
  app.add_option("--data", data,
                 "Data set NAME[:DIR]: cifar10, cifar100, mnist, fashion-mnist, or the built-in "
                 "shapes[:TRAIN,TEST]")
      ->take_last();
}

void AddFaultOption(CLI::App& app, std::string& fault) {
  app.add_option("--fault", fault,
                 "Faults NAME:RATE[,key=value...], several joined by '+', or none")
      ->take_last();
}

void AddNetworkOption(CLI::App& app, std::string& network) {
  app.add_option("--network", network,
                 "Name of a fixed network, or a genotype file (`search` writes genotype.txt)")
      ->take_last();
}

void AddSeedOption(CLI::App& app, uint64_t& seed) {
  app.add_option("--seed", seed, "Seed of everything random")->take_last();
}

void AddJsonOption(CLI::App& app, bool& json) {
  app.add_flag("--json", json,
               "Result as JSON on standard output; everything else goes to standard error");
}

void AddConfigOptions(CLI::App& app) {
  std::string names;
  for (const Preset& preset : Presets())
    names += fmt::format("{}{}", names.empty() ? "" : "|", preset.name);
  const std::string help = "Named settings: " + names + "; what is given beside it wins";
  app.add_option("--preset", help)->take_last();
  app.add_option("--config", "TOML file in which every option can stand; wins over --preset")
      ->take_last();
}

void AddBackendOptions(CLI::App& app, BackendOptions& o) {
  app.add_option("--backend", o.backend,
                 "auto (a GPU where there is one and the program is built for it, else cpu), "
                 "cuda[:DEVICE], cpu, cpu-f32 (training keeps nothing in 16 bits, even where that "
                 "is faster), ref (plain loops, slow); eval also "
                 "takes check:A,B, which compares two bit for bit")
      ->take_last();
  app.add_option("--threads", o.threads, "Worker threads, 0: one per core; never changes a result")
      ->take_last();
}

void AddRunOptions(CLI::App& app, RunOptions& o) {
  app.add_option("--out", o.out, "Run folder; made if missing, must not hold another run")
      ->required()
      ->take_last();
  app.add_flag("--resume", o.resume, "Continue the run in --out from its last checkpoint");
  app.add_option("--checkpoint-minutes", o.checkpoint_minutes,
                 "Minutes between checkpoints within an epoch")
      ->take_last();
}

std::unique_ptr<Device> OpenDevice(const BackendOptions& o) {
  FTT_CHECK(o.backend.rfind("check:", 0) != 0,
            "--backend {}: comparing backends is for `ftt-cuda eval`", o.backend);
  std::unique_ptr<Device> device = OpenDevice(o.backend, o.threads);
  if (o.backend == "auto") fmt::print(stderr, "backend: {}\n", device->Text());
  return device;
}

std::vector<std::string> SplitList(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) {
    part.erase(0, part.find_first_not_of(' '));
    part.erase(part.find_last_not_of(' ') + 1);
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

std::vector<double> SplitNumbers(const std::string& text, const std::string& option) {
  std::vector<double> numbers;
  for (const std::string& part : SplitList(text)) {
    char* end = nullptr;
    numbers.push_back(std::strtod(part.c_str(), &end));
    FTT_CHECK(*end == '\0', "{}: '{}' is not a number", option, part);
  }
  return numbers;
}

}  // namespace ftt
