#include "engine/cuda/memory_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <set>

#include "core/error.h"
#include "engine/cuda/cuda_train.h"
#include "engine/cuda/deploy_layout.h"
#include "engine/cuda/pack_list.h"
#include "engine/cuda/reduce_list.h"
#include "kernels/cuda/conv_backward.h"
#include "kernels/cuda/depthwise_backward.h"

namespace ftt::cuda {
namespace {

constexpr int64_t kCodeBytes = int64_t{64} << 20;  // kernels, their stacks, graphs: a guess

template <typename T>
int64_t SizeOf(int64_t n) {
  return n * static_cast<int64_t>(sizeof(T));
}

double MiB(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// The tables of PackWeights.
void CountPacks(const Program& program, bool gradients, Staging& staging) {
  PackList packs;
  for (const Op& op : program.ops) {
    if (op.kind != OpKind::kConv) continue;
    const WindowGeometry g = GeometryOf(program, op, 1, 1);
    packs.Add({IsDepthwise(op) ? PackLayout::kDepthwise : PackLayout::kConv, g});
    if (gradients && !IsDepthwise(op)) packs.Add({PackLayout::kConvGrad, g});
  }
  packs.Stage(staging);
}

// The tables of ReduceWeightGrads.
void CountReductions(const Program& program, int lanes, int images, Staging& staging) {
  ReduceList reductions;
  for (const Op& op : program.ops) {
    if (op.kind != OpKind::kConv) continue;
    const WindowGeometry g = GeometryOf(program, op, lanes, images);
    reductions.Add(IsDepthwise(op) ? DepthwiseWeightPartials({g}) : ConvWeightPartials({g}));
  }
  reductions.Stage(staging);
}

// What a step stages beside its faults.
void CountStep(const Program& program, const TrainingWork& work, int lanes, Staging& staging) {
  int64_t weights = 0, weight_chunks = 0, update_chunks = 0;
  for (const Op& op : program.ops) {
    if (op.weight < 0) continue;
    ++weights;
    weight_chunks += program.params[static_cast<size_t>(op.weight)].Elements() / kWeightChunk + 1;
  }
  for (const ParamInfo& info : program.params)
    update_chunks += info.Trained() ? info.Elements() / kUpdateChunk + 1 : 0;
  staging.Count(SizeOf<WeightTensor>(weights));
  staging.Count(SizeOf<WeightChunk>(weight_chunks));
  CountPacks(program, true, staging);
  CountReductions(program, lanes, work.batch, staging);
  staging.Count(SizeOf<UpdateChunk>(update_chunks));
  staging.Count(work.batch * program.InputShape().Elements());
  staging.Count(SizeOf<uint32_t>(work.batch));
  staging.Count(SizeOf<ImageMoves>(work.batch));
  for (int i = 0; i < 6; ++i) staging.Count(std::max(work.batch, 8 * lanes));
}

// What lanes of a deployed network stage. Returns the bytes of faults drawn ahead.
int64_t CountLanes(const Program& program, const LanePlan& plan, int images, Staging& staging) {
  const auto values = static_cast<int64_t>(program.values.size());
  staging.Begin();
  const DeviceFaults faults(plan, false, true, nullptr, staging);
  staging.Count(SizeOf<int>(values * plan.Lanes()));
  staging.Count(SizeOf<float>(plan.Lanes()));
  for (size_t i = 0; i < program.ops.size(); ++i) {
    if (program.ops[i].weight < 0) continue;
    const int copies = plan.HasWeightFaults(i) ? plan.Lanes() : 1;
    staging.Count(program.params[static_cast<size_t>(program.ops[i].weight)].Elements() * copies);
  }
  CountPacks(program, false, staging);
  return faults.StrikeBytes(images);
}

// The largest of each block that any of the programs needs.
class TrainingNeeds {
 public:
  explicit TrainingNeeds(const TrainingWork& work) : work_(work) {
    std::set<std::string> names;
    std::vector<int64_t> sizes;
    for (const Program& program : work.programs) {
      AddRun(program, work.lanes, true);
      if (!work.forward_lanes.empty()) AddRun(program, work.forward_lanes, false);
      for (const ParamInfo& info : program.params)
        if (names.insert(info.name).second) sizes.push_back(info.Elements());
    }
    params_ = DeviceParams::Bytes(sizes, work.adam);
  }

  void AppendTo(std::vector<MemoryPart>& parts) const {
    int64_t other = CudaTrainExecutor::OwnBytes() + 2 * Allocated(logits_);
    for (const int64_t bytes : {op_memory_, scratch_, weight_partials_, moments_, exponents_, keep_,
                                gradient_, partials_})
      other += Allocated(bytes);
    parts.push_back({"values", Allocated(values_)});
    parts.push_back({"gradients and buffers of ops", other});
    parts.push_back({"parameters", params_});
    parts.push_back({"batches and faults", staging_.DeviceBytes() + Allocated(strikes_)});
    if (work_.images != nullptr)
      parts.push_back({"data set", static_cast<int64_t>(work_.images->pixels.size())});
  }

 private:
  int64_t Allocated(int64_t bytes) const {
    return work_.options.fixed_program ? bytes : WithRoom(bytes);
  }

  void AddRun(const Program& program, const std::vector<LaneSpec>& lanes, bool training) {
    const LanePlan plan(program, lanes, work_.options.bits);
    const TrainExecutorOptions& o = work_.options;
    TrainShape shape{plan.Lanes(), work_.batch, training, o.bits, o.exact_raw, o.partial_bytes, {}};
    for (size_t i = 0; i < program.ops.size(); ++i)
      shape.faulty_weights.push_back(plan.HasWeightFaults(i) ? 1 : 0);
    const TrainLayout layout = PlanTraining(program, shape);
    const auto most = [](int64_t& all, int64_t bytes) { all = std::max(all, bytes); };
    most(values_, layout.values.total);
    most(op_memory_, layout.op_memory);
    most(scratch_, layout.scratch);
    most(weight_partials_, layout.weight_partials);
    most(moments_, layout.moments);
    most(exponents_, layout.exponents);
    most(keep_, layout.keep);
    most(logits_, layout.logits);
    most(gradient_, 4 * layout.gradient_floats);
    most(partials_, SizeOf<double>(layout.gradient_floats / kUpdateChunk +
                                   static_cast<int64_t>(program.params.size())));
    staging_.Begin();
    const DeviceFaults faults(plan, true, false, nullptr, staging_);
    most(strikes_, faults.StrikeBytes(work_.batch));
    CountStep(program, work_, plan.Lanes(), staging_);
  }

  const TrainingWork& work_;
  int64_t values_ = 0, op_memory_ = 0, scratch_ = 0, moments_ = 0, exponents_ = 0, keep_ = 0;
  int64_t logits_ = 0, weight_partials_ = 0;
  int64_t strikes_ = 0, gradient_ = 0, partials_ = 0, params_ = 0;
  Staging staging_ = Staging::Counting();
};

std::vector<MemoryPart> DeploymentNeeds(const DeploymentWork& work) {
  const Program& program = work.program;
  LaneSpec lane;
  lane.faults = work.faults;
  lane.sites = work.sites;
  const LanePlan plan(program, std::vector<LaneSpec>(static_cast<size_t>(work.lanes), lane),
                      work.bits);
  const DeployLayout layout = PlanDeployment(program, work.lanes, work.batch);
  Staging lanes = Staging::Counting(), batch = Staging::Counting();
  // The fault-free run, then the lanes.
  CountLanes(program, LanePlan(program, {LaneSpec{}}, work.bits), work.batch, lanes);
  const int64_t strikes = CountLanes(program, plan, work.batch, lanes);
  const auto values = static_cast<int64_t>(program.values.size());
  int64_t buffers = layout.sums + layout.logits + SizeOf<int>(values * work.lanes) +
                    SizeOf<HitCounts>(DeviceFaults::HitSlots(plan.Sites(), work.lanes, true));
  int64_t weights = 0;
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const Op& op = program.ops[i];
    buffers += SizeOf<float>(2 * PaddedChannels(program.values[static_cast<size_t>(op.output)].c));
    if (op.weight < 0) continue;
    const int copies = plan.HasWeightFaults(i) ? work.lanes : 1;
    weights += (DeployedWeightBytes(program, op) * copies + 255) / 256 * 256;
  }
  batch.Count(work.batch * program.InputShape().Elements());
  batch.Count(SizeOf<uint32_t>(work.batch));
  return {{"values", layout.values.total},
          {"weights", weights},
          {"buffers of ops", buffers + kMaxInputChannels * 256},
          {"batches and faults", lanes.DeviceBytes() + batch.DeviceBytes() + strikes}};
}

// The work with another batch, or with other lanes.
DeviceWork WithBatch(DeviceWork work, int batch) {
  if (work.training) {
    work.training->batch = batch;
  } else {
    for (DeploymentWork& d : work.deployments) d.batch = batch;
  }
  return work;
}
DeviceWork WithLanes(DeviceWork work, int lanes) {
  for (DeploymentWork& d : work.deployments) d.lanes = lanes;
  return work;
}

int BatchOf(const DeviceWork& work) {
  return work.training ? work.training->batch : work.deployments.front().batch;
}
int LanesOf(const DeviceWork& work) { return work.training ? 1 : work.deployments.front().lanes; }

// "--batch 32 needs 120.5 MiB" for the first half, quarter, ... that fits.
template <typename F>
std::optional<std::string> Smaller(const char* option, int value, int64_t free, const F& with) {
  while (value > 1) {
    value /= 2;
    const int64_t bytes = TotalBytes(MemoryNeeds(with(value)));
    if (bytes <= free) return fmt::format("{} {} needs {:.1f} MiB", option, value, MiB(bytes));
  }
  return std::nullopt;
}

std::string Advice(const DeviceWork& work, int64_t free) {
  std::vector<std::string> ways;
  const auto try_option = [&](const char* option, int value, auto with) {
    const auto way = Smaller(option, value, free, [&](int v) { return with(work, v); });
    if (way) ways.push_back(*way);
  };
  try_option("--lanes", LanesOf(work), WithLanes);
  try_option("--batch", BatchOf(work), WithBatch);
  if (ways.empty())
    return "smaller batches do not fit either; take a smaller network, another device or "
           "--backend cpu";
  return fmt::format("use less: {}", fmt::join(ways, ", or "));
}

}  // namespace

std::vector<MemoryPart> MemoryNeeds(const DeviceWork& work) {
  std::vector<MemoryPart> parts, deployment;
  if (work.training) TrainingNeeds(*work.training).AppendTo(parts);
  for (const DeploymentWork& d : work.deployments) {
    std::vector<MemoryPart> needs = DeploymentNeeds(d);
    if (TotalBytes(needs) > TotalBytes(deployment)) deployment = std::move(needs);
  }
  if (work.training && !deployment.empty())
    deployment = {{"evaluation at the end", TotalBytes(deployment)}};
  std::move(deployment.begin(), deployment.end(), std::back_inserter(parts));
  parts.push_back({"code", kCodeBytes});
  return parts;
}

int64_t TotalBytes(const std::vector<MemoryPart>& parts) {
  int64_t bytes = 0;
  for (const MemoryPart& p : parts) bytes += p.bytes;
  return bytes;
}

void CheckFreeMemory(const DeviceWork& work) {
  const std::vector<MemoryPart> parts = MemoryNeeds(work);
  const int64_t free = FreeMemory(), wanted = TotalBytes(parts);
  if (wanted <= free) return;
  std::vector<std::string> texts;
  for (const MemoryPart& p : parts) texts.push_back(fmt::format("{} {:.1f}", p.name, MiB(p.bytes)));
  Fail("{} needs {:.1f} MiB of the device's memory ({}), {:.1f} MiB are free; {}", work.what,
       MiB(wanted), fmt::join(texts, ", "), MiB(free), Advice(work, free));
}

}  // namespace ftt::cuda
