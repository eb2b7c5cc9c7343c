#include "campaign/analysis.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"
#include "engine/trainer.h"

namespace ftt {
namespace {

constexpr int64_t kCalibrationImages = 1024;
constexpr int kCalibrationBatch = 64;

std::vector<std::string> Components(const std::string& name) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    parts.push_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

const std::string& NameOf(const Program& program, size_t op) { return program.ops[op].name; }

// Layers with one key, in the order in which the keys first appear.
template <typename Key>
std::vector<NetworkPart> Grouped(const Program& program, const std::vector<size_t>& layers,
                                 const std::string& prefix, const Key& key) {
  std::vector<NetworkPart> parts;
  for (const size_t op : layers) {
    const std::string scope = prefix + key(program.ops[op]);
    auto at = std::find_if(parts.begin(), parts.end(),
                           [&](const NetworkPart& p) { return p.scope == scope; });
    if (at == parts.end()) at = parts.insert(parts.end(), {scope, {}});
    at->ops.push_back(op);
  }
  return parts;
}

}  // namespace

std::vector<size_t> StruckLayers(const TrainedNetwork& network, const FaultSpec& faults) {
  const Program& program = network.model.program;
  const ProgramSites sites = SitesOf(program);
  const auto struck = [&](const FaultSite& site) {
    return site.elements > 0 && !PlanSite(faults, site, network.model.bits, 0).Empty();
  };
  std::vector<size_t> layers;
  for (size_t i = 0; i < program.ops.size(); ++i) {
    if (struck(sites.features[static_cast<size_t>(program.ops[i].output)]) ||
        struck(sites.weights[i]))
      layers.push_back(i);
  }
  return layers;
}

std::string LayerKind(const Op& op, const Program& program) {
  switch (op.kind) {
    case OpKind::kConv: {
      const int channels = program.values[static_cast<size_t>(op.inputs[0].value)].c;
      const char* kind = op.conv.groups == channels && channels > 1 ? "depthwise" : "conv";
      return fmt::format("{}{}{}x{}", op.conv.dilation > 1 ? "dilated-" : "", kind, op.conv.kernel,
                         op.conv.kernel);
    }
    case OpKind::kPool:
      return op.pool == PoolKind::kMax ? "max-pool" : "average-pool";
    case OpKind::kAdd:
      return "add";
    case OpKind::kConcat:
      return "concat";
    case OpKind::kGlobalPool:
      return "global-pool";
    case OpKind::kLinear:
      break;
  }
  return "classifier";
}

std::string EdgeOf(const std::string& op_name) {
  const std::vector<std::string> parts = Components(op_name);
  if (parts[0].rfind("cell", 0) != 0) {
    const size_t dot = op_name.rfind('.');
    return dot == std::string::npos ? op_name : op_name.substr(0, dot);
  }
  const bool edge = parts.size() > 3 && parts[2].rfind("from", 0) == 0;
  const size_t keep = std::min<size_t>(edge ? 4 : 2, parts.size());
  std::string out = parts[0];
  for (size_t i = 1; i < keep; ++i) out += "." + parts[i];
  return out;
}

std::vector<NetworkPart> LayerParts(const Program& program, const std::vector<size_t>& layers) {
  std::vector<NetworkPart> parts;
  for (const size_t op : layers) parts.push_back({"only:" + NameOf(program, op), {op}});
  return parts;
}

std::vector<NetworkPart> KindParts(const Program& program, const std::vector<size_t>& layers) {
  return Grouped(program, layers, "kind:", [&](const Op& op) { return LayerKind(op, program); });
}

std::vector<NetworkPart> EdgeParts(const Program& program, const std::vector<size_t>& layers) {
  return Grouped(program, layers, "edge:", [](const Op& op) { return EdgeOf(op.name); });
}

NetworkPart Protecting(const Program& program, const std::vector<size_t>& layers,
                       const std::vector<size_t>& protect) {
  NetworkPart part;
  for (const size_t op : protect)
    part.scope += (part.scope.empty() ? "protect:" : ",") + NameOf(program, op);
  for (const size_t op : layers) {
    if (std::find(protect.begin(), protect.end(), op) == protect.end()) part.ops.push_back(op);
  }
  return part;
}

SiteFilter FilterOf(const Program& program, const NetworkPart& part) {
  SiteFilter filter{std::vector<char>(program.values.size()),
                    std::vector<char>(program.ops.size())};
  for (const size_t op : part.ops) {
    filter.weights[op] = 1;
    filter.features[static_cast<size_t>(program.ops[op].output)] = 1;
    if (op == 0) filter.features[0] = 1;
  }
  return filter;
}

SweepPoint PartPoint(size_t network, const Program& program, const FaultCurve& curve, double rate,
                     const NetworkPart& part) {
  SweepPoint p;
  p.network = network;
  p.model = curve.Text();
  p.faults = curve.At(rate);
  p.rate = curve.RateOf(p.faults);
  p.scope = part.scope;
  p.sites = FilterOf(program, part);
  return p;
}

int64_t ProtectionCost(const TrainedNetwork& network, const FaultSpec& faults, size_t op) {
  const Program& program = network.model.program;
  const Op& o = program.ops[op];
  if (StrikesWeights(faults) && o.weight >= 0)
    return program.params[static_cast<size_t>(o.weight)].Elements() * network.model.bits;
  const int64_t elements = program.values[static_cast<size_t>(o.output)].Elements();
  return elements * std::max<int64_t>(1, program.MacsPerOutput(o));
}

std::vector<size_t> HardeningOrder(const std::vector<size_t>& layers,
                                   const std::vector<double>& gain,
                                   const std::vector<int64_t>& cost) {
  std::vector<size_t> order(layers.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return gain[a] * static_cast<double>(cost[b]) > gain[b] * static_cast<double>(cost[a]);
  });
  for (size_t& i : order) i = layers[i];
  return order;
}

TrainedNetwork Redeploy(Device& device, const std::string& checkpoint, const Dataset& data,
                        int bits, double clip) {
  FTT_CHECK(clip > 0 && clip <= 1, "clip: {} is outside (0, 1]", clip);
  TrainedNetwork network = LoadTrained(checkpoint);
  const Program& program = network.model.program;
  const std::string file = FindStateFile(checkpoint);
  ParamStore params(0);
  ReadParams(TensorFile::Load(file), params);
  for (auto& [name, param] : params.All()) {
    if (param.info.kind != ParamKind::kConvWeight && param.info.kind != ParamKind::kLinearWeight)
      continue;
    float largest = 0;
    for (const float v : param.value) largest = std::max(largest, std::fabs(v));
    const float bound = largest * static_cast<float>(clip);
    for (float& v : param.value) v = std::clamp(v, -bound, bound);
  }
  const InputCoding coding(network.model.coding.Mean(), network.model.coding.Stddev(), bits);
  TrainExecutorOptions options;
  options.bits = bits;
  const auto executor = device.NewTrainExecutor(params, coding, options);
  const std::vector<int> exponents =
      Calibrate(*executor, program, data.train, kCalibrationImages, kCalibrationBatch);
  network.model = Freeze(Program(program), params, coding, exponents, bits);
  return network;
}

}  // namespace ftt
