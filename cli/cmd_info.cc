#include <dnnl.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "build_info.h"
#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/help.h"
#include "cli/program.h"
#include "core/cpu_info.h"

namespace ftt {
namespace {

std::string OneDnnVersion() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
}

std::string JoinedFeatures(bool available) {
  std::string text;
  for (const CpuFeature& feature : CpuFeatures()) {
    if (feature.available == available) text += (text.empty() ? "" : " ") + feature.name;
  }
  return text.empty() ? "none" : text;
}

void PrintText() {
  fmt::print("ftt-cuda   {}\n", FTT_VERSION);
  fmt::print("build      {}, {}, flags: {}\n", FTT_BUILD_TYPE, FTT_COMPILER, FTT_BUILD_FLAGS);
  fmt::print("oneDNN     {}\n", OneDnnVersion());
  fmt::print("processor  {}\n", CpuModelName());
  fmt::print("cores      {} available to this process\n", AvailableCores());
  fmt::print("features   {}\n", JoinedFeatures(true));
  fmt::print("missing    {}\n", JoinedFeatures(false));
  fmt::print("backends   cpu, ref; cuda: {}\n", CudaStatus());
}

void PrintJson() {
  nlohmann::ordered_json features;
  for (const CpuFeature& feature : CpuFeatures()) features[feature.name] = feature.available;
  const nlohmann::ordered_json json = {
      {"version", FTT_VERSION},      {"build_type", FTT_BUILD_TYPE},
      {"compiler", FTT_COMPILER},    {"build_flags", FTT_BUILD_FLAGS},
      {"onednn", OneDnnVersion()},   {"processor", CpuModelName()},
      {"threads", AvailableCores()}, {"cpu_features", features},
      {"backends", {"cpu", "ref"}},  {"cuda", CudaStatus()}};
  fmt::print("{}\n", json.dump(2));
}

}  // namespace

std::function<int()> SetUpInfo(CLI::App& app) {
  auto json = std::make_shared<bool>(false);
  AddJsonOption(app, *json);
  SetExamples(app,
              "  ftt-cuda info          # what a bug report should contain\n"
              "  ftt-cuda info --json   # the same for a program");
  return [json] {
    *json ? PrintJson() : PrintText();
    return kExitSuccess;
  };
}

}  // namespace ftt
