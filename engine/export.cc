#include "engine/export.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace ftt {
namespace {

using ExportJson = nlohmann::ordered_json;

constexpr char kInputTable[] = "input.codes";
constexpr int kPixelValues = 256;

const char* KindName(const Op& op) {
  switch (op.kind) {
    case OpKind::kConv:
      return "conv";
    case OpKind::kPool:
      return op.pool == PoolKind::kMax ? "max_pool" : "average_pool";
    case OpKind::kAdd:
      return "add";
    case OpKind::kConcat:
      return "concat";
    case OpKind::kGlobalPool:
      return "global_pool";
    case OpKind::kLinear:
      break;
  }
  return "linear";
}

ExportJson ShapeJson(const Shape& s) { return {s.h, s.w, s.c}; }

ExportJson ValuesJson(const DeployModel& model) {
  ExportJson values = ExportJson::array();
  const int logits = model.program.ops.back().output;
  for (size_t v = 0; v < model.program.values.size(); ++v) {
    values.push_back({{"shape", ShapeJson(model.program.values[v])}});
    // The last value holds logits, floats without an exponent.
    if (static_cast<int>(v) != logits) values.back()["exponent"] = model.exponents[v];
  }
  return values;
}

ExportJson OpJson(const DeployModel& model, size_t i) {
  const Op& op = model.program.ops[i];
  ExportJson json = {{"name", op.name}, {"kind", KindName(op)}, {"output", op.output}};
  json["inputs"] = ExportJson::array();
  for (const OpInput& in : op.inputs)
    json["inputs"].push_back({{"value", in.value}, {"relu", in.relu}});
  if (op.kind == OpKind::kConv || op.kind == OpKind::kPool) {
    json["kernel"] = op.conv.kernel;
    json["stride"] = op.conv.stride;
    json["pad"] = op.conv.pad;
    json["dilation"] = op.conv.dilation;
    json["offset"] = op.conv.offset;
  }
  if (op.kind == OpKind::kConv) json["groups"] = op.conv.groups;
  if (op.weight >= 0) {
    json["weight"] = op.name + ".weight";
    json["weight_exponent"] = model.weights[i].exponent;
    json["weight_site"] = SitesOf(model.program).weights[i].id;
  }
  if (!model.norms[i].scale.empty()) {
    json["scale"] = op.name + ".scale";
    json["shift"] = op.name + ".shift";
  }
  return json;
}

void AddOpTensors(const DeployModel& model, size_t i, TensorFile& file) {
  const Op& op = model.program.ops[i];
  if (op.weight >= 0) {
    const std::vector<int>& shape = model.program.params[static_cast<size_t>(op.weight)].shape;
    file.Add(op.name + ".weight", {shape.begin(), shape.end()}, model.weights[i].codes);
  }
  const LaneNorm& norm = model.norms[i];
  if (norm.scale.empty()) return;
  const auto channels = static_cast<int64_t>(norm.scale.size());
  file.Add(op.name + ".scale", {channels}, norm.scale);
  file.Add(op.name + ".shift", {channels}, norm.shift);
}

// Codes of every pixel value: [channels][256].
std::vector<int8_t> InputTable(const DeployModel& model) {
  const int channels = model.program.InputShape().c;
  std::vector<uint8_t> pixels;
  for (int pixel = 0; pixel < kPixelValues; ++pixel)
    pixels.insert(pixels.end(), static_cast<size_t>(channels), static_cast<uint8_t>(pixel));
  std::vector<int8_t> codes(pixels.size()), table;
  model.coding.Encode(pixels.data(), static_cast<int64_t>(pixels.size()), codes.data());
  for (int c = 0; c < channels; ++c) {
    for (int pixel = 0; pixel < kPixelValues; ++pixel)
      table.push_back(codes[static_cast<size_t>(pixel * channels + c)]);
  }
  return table;
}

}  // namespace

TensorFile ExportDeployed(const TrainedNetwork& network) {
  const DeployModel& model = network.model;
  TensorFile file;
  file.Add(kInputTable, {model.program.InputShape().c, kPixelValues}, InputTable(model));
  ExportJson ops = ExportJson::array();
  for (size_t i = 0; i < model.program.ops.size(); ++i) {
    ops.push_back(OpJson(model, i));
    AddOpTensors(model, i, file);
  }
  const ExportJson program = {
      {"network", network.spec.name}, {"genotype", network.spec.genotype},
      {"data", network.data},         {"trained_with_faults", network.faults},
      {"bits", model.bits},           {"classes", model.program.classes},
      {"input", kInputTable},         {"values", ValuesJson(model)},
      {"ops", std::move(ops)}};
  file.SetMetadata("format", "ftt-cuda deployed network");
  file.SetMetadata("version", std::to_string(kExportVersion));
  file.SetMetadata("program", program.dump());
  return file;
}

}  // namespace ftt
