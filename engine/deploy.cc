#include "engine/deploy.h"

#include <algorithm>
#include <cmath>

#include "core/aligned.h"
#include "core/error.h"
#include "engine/memory_plan.h"
#include "engine/norm.h"
#include "engine/weights.h"
#include "kernels/quantize_math.h"

namespace ftt {
namespace {

LaneNorm FoldOp(const Program& program, const Op& op, ParamStore& params, const DeployModel& model,
                const WeightCodes& weights) {
  const auto value = [&](int index) -> const float* {
    return index < 0 ? nullptr
                     : params.Get(program.params[static_cast<size_t>(index)]).value.data();
  };
  const Shape& in = program.values[static_cast<size_t>(op.inputs[0].value)];
  const Shape& out = program.values[static_cast<size_t>(op.output)];
  const int x_exponent = model.exponents[static_cast<size_t>(op.inputs[0].value)];
  const float average =
      op.kind == OpKind::kGlobalPool ? 1.0f / static_cast<float>(in.h * in.w) : 1.0f;
  NormInputs inputs{out.c, op.batch_norm, value(op.gamma), value(op.batch_norm ? op.beta : op.bias),
                    average * PowerOfTwo(x_exponent + weights.exponent)};
  Moments moments;
  if (op.batch_norm) {
    moments.mean.assign(value(op.running_mean), value(op.running_mean) + out.c);
    moments.variance.assign(value(op.running_var), value(op.running_var) + out.c);
  }
  LaneNorm norm = RealNorm(inputs, op.batch_norm ? &moments : nullptr);
  if (op.kind != OpKind::kLinear)
    ScaleToCodes(norm, model.exponents[static_cast<size_t>(op.output)]);
  return norm;
}

}  // namespace

DeployModel Freeze(const Program& program, ParamStore& params, const InputCoding& coding,
                   const std::vector<int>& exponents, int bits) {
  FTT_CHECK(exponents.size() == program.values.size(),
            "network {}: calibration has {} exponents, the network has {} values", program.network,
            exponents.size(), program.values.size());
  DeployModel model;
  model.program = program;
  model.bits = bits;
  model.coding = coding;
  model.exponents = exponents;
  model.exponents[0] = coding.Exponent();
  for (const Op& op : program.ops) {
    WeightCodes weights;
    if (op.weight >= 0) {
      weights = QuantizeWeights(params.Get(program.params[static_cast<size_t>(op.weight)]).value,
                                bits, false);
    }
    const bool affine = op.kind != OpKind::kAdd && op.kind != OpKind::kConcat;
    model.norms.push_back(affine ? FoldOp(program, op, params, model, weights) : LaneNorm{});
    model.weights.push_back(std::move(weights));
  }
  return model;
}

std::vector<char> ReadByOpsFrom(const Program& program, size_t op) {
  std::vector<char> read(program.values.size());
  for (size_t i = op; i < program.ops.size(); ++i) {
    for (const OpInput& in : program.ops[i].inputs) read[static_cast<size_t>(in.value)] = 1;
  }
  for (size_t i = op; i < program.ops.size(); ++i)
    read[static_cast<size_t>(program.ops[i].output)] = 0;
  return read;
}

namespace {

struct HostDeploy {
  Backend& backend;
  const DeployModel& model;
  std::unique_ptr<LanePlan> lanes;
  std::vector<WeightCodes> weights;
  std::vector<char> faulty;  // by op: weights differ from the model's
  BatchDims dims;
  std::vector<uint32_t> ids;
  std::vector<int> exponents;  // [value][lane]
  MemoryPlan plan;
  int planned_lanes = 0, planned_images = 0;
  AlignedBytes arena;
  std::vector<int32_t> sums;
  std::vector<float> logits;

  HostDeploy(Backend& b, const DeployModel& m)
      : backend(b), model(m), weights(m.weights), faulty(m.weights.size()) {}

  const Shape& ShapeOf(int value) const { return model.program.values[static_cast<size_t>(value)]; }
  int8_t* Codes(int value) {
    return reinterpret_cast<int8_t*>(arena.Data() + plan.offsets[static_cast<size_t>(value)]);
  }
  int* Exponent(int value) {
    return exponents.data() + static_cast<size_t>(value) * static_cast<size_t>(planned_lanes);
  }
  void Plan();
  std::vector<SumInput> SumInputs(const Op& op);
  void RunLinear(size_t i);
  void RunGlobalPool(size_t i);
};

void HostDeploy::Plan() {
  if (planned_lanes == dims.lanes && planned_images >= dims.images) return;
  const int64_t copies = int64_t{dims.lanes} * dims.images;
  std::vector<BufferRequest> requests;
  for (const Shape& s : model.program.values) requests.push_back({copies * s.Elements(), 0, 0});
  for (size_t i = 0; i < model.program.ops.size(); ++i) {
    const Op& op = model.program.ops[i];
    const int step = static_cast<int>(i) + 1;
    BufferRequest& out = requests[static_cast<size_t>(op.output)];
    out.first = out.last = step;
    for (const OpInput& in : op.inputs) requests[static_cast<size_t>(in.value)].last = step;
  }
  plan = PlanMemory(requests);
  arena.Resize(plan.total);
  planned_lanes = dims.lanes;
  planned_images = dims.images;
  exponents.clear();
  for (const int e : model.exponents)
    exponents.insert(exponents.end(), static_cast<size_t>(dims.lanes), e);
}

std::vector<SumInput> HostDeploy::SumInputs(const Op& op) {
  std::vector<SumInput> inputs;
  for (const OpInput& in : op.inputs) {
    inputs.push_back({Codes(in.value), Exponent(in.value), ShapeOf(in.value).c, in.relu});
  }
  return inputs;
}

void HostDeploy::RunLinear(size_t i) {
  const Op& op = model.program.ops[i];
  const auto in = static_cast<int>(ShapeOf(op.inputs[0].value).Elements());
  const std::vector<float> unit(static_cast<size_t>(dims.lanes), model.norms[i].unit);
  logits.resize(static_cast<size_t>(int64_t{dims.lanes} * dims.images * model.program.classes));
  backend.Linear(dims, in, model.program.classes, Codes(op.inputs[0].value), weights[i],
                 unit.data(), model.norms[i].shift.data(), nullptr, logits.data());
  lanes->InjectLaneLogits(op.output, dims, model.program.classes, logits.data());
}

void HostDeploy::RunGlobalPool(size_t i) {
  const Op& op = model.program.ops[i];
  const Shape& s = ShapeOf(op.output);
  sums.resize(static_cast<size_t>(int64_t{dims.lanes} * dims.images * s.c));
  backend.GlobalSum(dims, ShapeOf(op.inputs[0].value), op.inputs[0].relu, Codes(op.inputs[0].value),
                    sums.data());
  const std::vector<LaneNorm> norms(static_cast<size_t>(dims.lanes), model.norms[i]);
  backend.Quantize(dims, s, model.bits, sums.data(), norms.data(), lanes->Feature(op.output),
                   Codes(op.output), nullptr, false);
}

class HostDeployExecutor final : public DeployExecutor {
 public:
  HostDeployExecutor(Backend& backend, const DeployModel& model)
      : DeployExecutor(model.program), state_(backend, model) {
    SetLanes({LaneSpec{}}, nullptr);
  }
  void SetLanes(const std::vector<LaneSpec>& lanes, FaultRecorder* recorder) override;
  LanePlan& Lanes() override { return *state_.lanes; }
  const std::vector<float>& Run(const uint8_t* pixels, const uint32_t* image_ids,
                                int images) override;
  void Begin(const uint8_t* pixels, const uint32_t* image_ids, int images) override;
  void RunOp(size_t i) override;
  const std::vector<float>& Logits() override { return state_.logits; }
  const int8_t* Codes(int value) override { return state_.Codes(value); }

 private:
  void Encode(const uint8_t* pixels, const uint32_t* image_ids, int images);
  // Copies the values that ops from `op` on read from the first lane to all others.
  void SpreadFirstLane(size_t op);

  HostDeploy state_;
};

void HostDeployExecutor::SetLanes(const std::vector<LaneSpec>& lanes, FaultRecorder* recorder) {
  FTT_CHECK(!lanes.empty(), "deploy run: needs at least one lane");
  state_.lanes = std::make_unique<LanePlan>(state_.model.program, lanes, state_.model.bits);
  state_.lanes->SetRecorder(recorder);
  const auto fault_weights = [&](int op, int) {
    const auto i = static_cast<size_t>(op);
    const bool faulty = state_.lanes->HasWeightFaults(i);
    if (!faulty && state_.faulty[i] == 0) return;
    state_.faulty[i] = faulty ? 1 : 0;
    state_.weights[i] = state_.model.weights[i];
    ApplyWeightFaults(state_.weights[i], *state_.lanes, i, false);
  };
  const auto ops = static_cast<int>(state_.weights.size());
  if (recorder == nullptr) return state_.backend.For(ops, fault_weights);
  for (int i = 0; i < ops; ++i) fault_weights(i, 0);  // rows of a fault list come in a fixed order
}

// Ops before the first fault run on one lane for all.
const std::vector<float>& HostDeployExecutor::Run(const uint8_t* pixels, const uint32_t* image_ids,
                                                  int images) {
  const size_t first = state_.lanes->FirstFaultyOp(program_);
  const int lanes = state_.lanes->Lanes();
  if (first == 0 || lanes == 1) return DeployExecutor::Run(pixels, image_ids, images);
  Encode(pixels, image_ids, images);
  state_.dims.lanes = 1;
  for (size_t i = 0; i < first; ++i) RunOp(i);
  state_.dims.lanes = lanes;
  SpreadFirstLane(first);
  for (size_t i = first; i < program_.ops.size(); ++i) RunOp(i);
  return Logits();
}

void HostDeployExecutor::SpreadFirstLane(size_t op) {
  const std::vector<char> wanted = ReadByOpsFrom(program_, op);
  for (size_t v = 0; v < wanted.size(); ++v) {
    if (wanted[v] == 0) continue;
    const int64_t n = images_ * program_.values[v].Elements();
    int8_t* codes = state_.Codes(static_cast<int>(v));
    for (int lane = 1; lane < lanes_; ++lane) std::copy_n(codes, n, codes + lane * n);
  }
}

void HostDeployExecutor::Begin(const uint8_t* pixels, const uint32_t* image_ids, int images) {
  Encode(pixels, image_ids, images);
  const int64_t n = images * state_.ShapeOf(0).Elements();
  int8_t* codes = state_.Codes(0);
  for (int lane = 1; lane < lanes_; ++lane) std::copy_n(codes, n, codes + lane * n);
  if (state_.lanes->Feature(0) != nullptr)
    state_.backend.Inject(state_.dims, state_.ShapeOf(0), state_.lanes->Feature(0), codes);
}

// The images' codes on the first lane.
void HostDeployExecutor::Encode(const uint8_t* pixels, const uint32_t* image_ids, int images) {
  HostDeploy& m = state_;
  lanes_ = m.lanes->Lanes();
  images_ = images;
  m.ids.assign(image_ids, image_ids + images);
  m.dims = {m.lanes->Lanes(), images, m.ids.data()};
  m.Plan();
  const int64_t n = m.ShapeOf(0).Elements();
  int8_t* codes = m.Codes(0);
  m.backend.For(images,
                [&](int i, int) { m.model.coding.Encode(pixels + i * n, n, codes + i * n); });
}

void HostDeployExecutor::RunOp(size_t i) {
  HostDeploy& m = state_;
  const Op& op = m.model.program.ops[i];
  const Shape& out = m.ShapeOf(op.output);
  const LaneFaults* faults = m.lanes->Feature(op.output);
  switch (op.kind) {
    case OpKind::kConv:
    case OpKind::kPool: {
      m.backend.AccumulateQuantize(
          m.dims, WindowOf(m.model.program, op), m.model.bits, m.Codes(op.inputs[0].value),
          op.weight < 0 ? nullptr : &m.weights[i], m.model.norms[i], faults, m.Codes(op.output));
      break;
    }
    case OpKind::kAdd:
      m.backend.Add(m.dims, out, m.model.bits, m.SumInputs(op), false, m.Exponent(op.output),
                    faults, m.Codes(op.output), nullptr, false);
      break;
    case OpKind::kConcat:
      m.backend.Concat(m.dims, out, m.model.bits, m.SumInputs(op), m.Exponent(op.output), faults,
                       m.Codes(op.output));
      break;
    case OpKind::kGlobalPool:
      m.RunGlobalPool(i);
      break;
    case OpKind::kLinear:
      m.RunLinear(i);
      break;
  }
}

}  // namespace

const std::vector<float>& DeployExecutor::Run(const uint8_t* pixels, const uint32_t* image_ids,
                                              int images) {
  Begin(pixels, image_ids, images);
  for (size_t i = 0; i < program_.ops.size(); ++i) RunOp(i);
  return Logits();
}

int64_t DeployExecutor::CodeCount(int value) const {
  return int64_t{lanes_} * images_ * program_.values[static_cast<size_t>(value)].Elements();
}

std::unique_ptr<DeployExecutor> MakeDeployExecutor(Backend& backend, const DeployModel& model) {
  return std::make_unique<HostDeployExecutor>(backend, model);
}

}  // namespace ftt
