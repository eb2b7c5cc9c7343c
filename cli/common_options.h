// Options that mean the same in every subcommand.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "engine/open_device.h"

namespace ftt {

void AddDataOption(CLI::App& app, std::string& data);
void AddFaultOption(CLI::App& app, std::string& fault);
void AddNetworkOption(CLI::App& app, std::string& network);
void AddSeedOption(CLI::App& app, uint64_t& seed);
void AddJsonOption(CLI::App& app, bool& json);
void AddConfigOptions(CLI::App& app);  // --preset, --config

struct BackendOptions {
  std::string backend = "auto";
  int threads = 0;
};
void AddBackendOptions(CLI::App& app, BackendOptions& options);

struct RunOptions {
  std::string out;
  bool resume = false;
  double checkpoint_minutes = 5;
};
void AddRunOptions(CLI::App& app, RunOptions& options);  // --out, --resume, --checkpoint-minutes

// The device; says on stderr which one `auto` took. `check:A,B` is an error here.
std::unique_ptr<Device> OpenDevice(const BackendOptions& options);

// "a,b, c" -> {"a", "b", "c"}.
std::vector<std::string> SplitList(const std::string& text);
// The same as numbers; throws ftt::Error that names the option.
std::vector<double> SplitNumbers(const std::string& text, const std::string& option);

}  // namespace ftt
