#include "engine/checkpoint.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"

namespace ftt {
namespace {

constexpr char kMomentum[] = "optimizer.momentum/";
constexpr char kSecond[] = "optimizer.second_moment/";
constexpr char kUpdates[] = "optimizer.updates/";
constexpr char kCalibration[] = "calibration.exponents";

bool EndsWith(const std::string& s, const std::string& suffix) {
  return s.size() >= suffix.size() &&
         s.compare(s.size() - suffix.size(), suffix.size(), suffix) == 0;
}

ParamKind KindOf(const std::string& name, size_t dimensions) {
  if (EndsWith(name, ".weight"))
    return dimensions == 4 ? ParamKind::kConvWeight : ParamKind::kLinearWeight;
  if (EndsWith(name, ".bn.gamma")) return ParamKind::kGamma;
  if (EndsWith(name, ".bn.beta")) return ParamKind::kBeta;
  if (EndsWith(name, ".bn.mean")) return ParamKind::kRunningMean;
  if (EndsWith(name, ".bn.var")) return ParamKind::kRunningVar;
  FTT_CHECK(EndsWith(name, ".bias"), "checkpoint: tensor {} is not a parameter of any network",
            name);
  return ParamKind::kBias;
}

std::vector<int64_t> WideShape(const ParamInfo& info) {
  return {info.shape.begin(), info.shape.end()};
}

bool IsParam(const std::string& name) {
  return name.rfind("optimizer.", 0) != 0 && name.rfind("calibration.", 0) != 0 &&
         name.rfind("input.", 0) != 0 && name.rfind("search.", 0) != 0;
}

// A trained network's state file and what it says of itself, with all its parameters.
struct TrainedFile {
  std::string path;
  TensorFile file;
  NetworkSpec spec;
  Program program;
};

TrainedFile OpenTrained(const std::string& path) {
  const std::string state = FindStateFile(path);
  TensorFile file = TensorFile::Load(state);
  FTT_CHECK(file.Has(kCalibration) && file.Metadata().contains("network"),
            "{}: not a trained network (a supernet's checkpoint, or another program's file); "
            "`ftt-cuda train` makes one",
            state);
  NetworkSpec spec = NetworkSpec::FromJson(file.Metadata("network"), state);
  Program program = spec.Build();
  FTT_CHECK(fmt::format("{:016x}", program.Hash()) == file.Metadata("program_hash"),
            "{}: was written for another version of network {}; train it again", state, spec.name);
  for (const ParamInfo& info : program.params) {
    FTT_CHECK(file.Has(info.name), "{}: parameter {} is missing", state, info.name);
  }
  return {state, std::move(file), std::move(spec), std::move(program)};
}

}  // namespace

void AddParams(const ParamStore& params, bool optimizer_state, TensorFile& file) {
  for (const auto& [name, p] : params.All()) {
    const std::vector<int64_t> shape = WideShape(p.info);
    file.Add(name, shape, p.value);
    if (!optimizer_state) continue;
    if (!p.momentum.empty()) file.Add(kMomentum + name, shape, p.momentum);
    if (!p.second_moment.empty()) {
      file.Add(kSecond + name, shape, p.second_moment);
      file.Add(kUpdates + name, {}, std::vector<int64_t>{p.updates});
    }
  }
}

void ReadParams(const TensorFile& file, ParamStore& params) {
  for (const std::string& name : file.Names()) {
    if (!IsParam(name)) continue;
    const NamedTensor& tensor = file.Get(name);
    ParamInfo info{
        name, KindOf(name, tensor.shape.size()), {tensor.shape.begin(), tensor.shape.end()}};
    Param& p = params.Get(info);
    file.CopyTo(name, tensor.shape, std::span<float>(p.value));
    const auto optional = [&](const std::string& key, std::vector<float>& out) {
      out.clear();
      if (!file.Has(key)) return;
      out.resize(p.value.size());
      file.CopyTo(key, tensor.shape, std::span<float>(out));
    };
    optional(kMomentum + name, p.momentum);
    optional(kSecond + name, p.second_moment);
    p.updates = file.Has(kUpdates + name) ? file.Find<int64_t>(kUpdates + name, {})[0] : 0;
  }
}

void AddDeployment(const NetworkSpec& spec, const DeployModel& model, const std::string& data,
                   const std::string& faults, TensorFile& file) {
  const std::vector<int32_t> exponents(model.exponents.begin(), model.exponents.end());
  file.Add(kCalibration, {static_cast<int64_t>(exponents.size())}, exponents);
  const auto channels = static_cast<int64_t>(model.coding.Mean().size());
  file.Add("input.mean", {channels}, model.coding.Mean());
  file.Add("input.stddev", {channels}, model.coding.Stddev());
  file.SetMetadata("network", spec.Json());
  file.SetMetadata("program_hash", fmt::format("{:016x}", model.program.Hash()));
  file.SetMetadata("bits", std::to_string(model.bits));
  file.SetMetadata("data", data);
  file.SetMetadata("faults", faults);
}

std::string FindStateFile(const std::string& path) {
  FTT_CHECK(PathExists(path),
            "{}: no such file or folder; give a run folder, a checkpoint folder or a "
            ".safetensors file",
            path);
  if (!IsDirectory(path)) return path;
  if (PathExists(path + "/" + kStateFile)) return path + "/" + kStateFile;
  const std::vector<int64_t> checkpoints = NumberedDirs(path, "checkpoint-");
  FTT_CHECK(!checkpoints.empty(), "{}: holds no checkpoint (no checkpoint-N folder)", path);
  return fmt::format("{}/checkpoint-{}/{}", path, checkpoints.back(), kStateFile);
}

void ReadPretrained(const std::string& path, const Program& program, ParamStore& params) {
  const TrainedFile trained = OpenTrained(path);
  FTT_CHECK(trained.program.Hash() == program.Hash(),
            "{}: holds the trained network {}, not {} to start from; channels, cells, genotype, "
            "images and classes must be the same",
            trained.path, trained.program.ShortName(), program.ShortName());
  ReadParams(trained.file, params);
  for (auto& [name, p] : params.All()) {
    p.momentum.clear();
    p.second_moment.clear();
    p.updates = 0;
  }
}

TrainedNetwork LoadTrained(const std::string& path) {
  const TrainedFile from = OpenTrained(path);
  const TensorFile& file = from.file;
  TrainedNetwork trained;
  trained.spec = from.spec;
  trained.data = file.Metadata("data");
  trained.faults = file.Metadata("faults");
  ParamStore params(0);
  ReadParams(file, params);
  const auto channels = static_cast<int64_t>(from.program.InputShape().c);
  const auto mean = file.Find<float>("input.mean", {channels}),
             stddev = file.Find<float>("input.stddev", {channels});
  const auto exponents =
      file.Find<int32_t>(kCalibration, {static_cast<int64_t>(from.program.values.size())});
  const int bits = std::stoi(file.Metadata("bits"));
  const InputCoding coding({mean.begin(), mean.end()}, {stddev.begin(), stddev.end()}, bits);
  trained.model = Freeze(from.program, params, coding, {exponents.begin(), exponents.end()}, bits);
  return trained;
}

}  // namespace ftt
