#include "engine/cuda/cuda_deploy.h"

#include <algorithm>

#include "core/error.h"
#include "engine/cuda/layout.h"
#include "engine/cuda/pack_list.h"
#include "engine/weights.h"
#include "kernels/cuda/head.h"
#include "kernels/cuda/input.h"
#include "kernels/cuda/pool.h"
#include "kernels/cuda/quantize.h"
#include "kernels/cuda/sum.h"

namespace ftt::cuda {
namespace {

constexpr int kBatchesAhead = 4;

template <typename T>
DeviceMemory Upload(const std::vector<T>& values, DeviceStream stream) {
  const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
  DeviceMemory memory(bytes);
  CopyToDevice(memory.Data(), values.data(), bytes, stream);
  return memory;
}

}  // namespace

CudaDeployExecutor::CudaDeployExecutor(const DeployModel& model, bool graphs)
    : DeployExecutor(model.program),
      model_(model),
      partners_(SeparablePartners(model.program)),
      lane_staging_(1),
      batch_staging_(kBatchesAhead),
      graphs_(graphs),
      constants_(model.program.ops.size()) {
  CheckSupported(program_);
  const std::vector<int8_t> table = CodeTable(model.coding, program_.InputShape().c);
  table_ = Upload(table, stream_.Get());
  UploadNorms();
  stream_.Wait();
  SetLanes({LaneSpec{}}, nullptr);
}

void CudaDeployExecutor::UploadNorms() {
  std::vector<float> all;
  const auto append = [&](const std::vector<float>& values, int64_t* at) {
    *at = static_cast<int64_t>(all.size());
    all.insert(all.end(), values.begin(), values.end());
    all.resize(static_cast<size_t>(RoundUp(static_cast<int>(all.size()), kChannelPad)), 0.0f);
  };
  for (size_t i = 0; i < program_.ops.size(); ++i) {
    const LaneNorm& norm = model_.norms[i];
    if (!norm.scale.empty()) append(norm.scale, &constants_[i].scale);
    if (!norm.shift.empty()) append(norm.shift, &constants_[i].shift);
  }
  norms_ = Upload(all, stream_.Get());
  stream_.Wait();  // `all` is not page-locked
}

void CudaDeployExecutor::SetLanes(const std::vector<LaneSpec>& lanes, FaultRecorder* recorder) {
  FTT_CHECK(!lanes.empty(), "deploy run: needs at least one lane");
  FTT_CHECK(recorder == nullptr,
            "delivered faults are recorded on the host only; use --backend cpu");
  lane_plan_ = std::make_unique<LanePlan>(program_, lanes, model_.bits);
  lanes_ = lanes_run_ = lane_plan_->Lanes();
  shared_ops_ = lanes_ > 1 ? lane_plan_->FirstFaultyOp(program_) : 0;
  lane_staging_.Begin();
  hits_.Resize(DeviceFaults::HitSlots(lane_plan_->Sites(), lanes_, true) *
               static_cast<int64_t>(sizeof(HitCounts)));
  FillDevice(hits_.Data(), 0, hits_.Size(), stream_.Get());
  images_run_ = 0;
  faults_ = std::make_unique<DeviceFaults>(*lane_plan_, false, true, hits_.As<HitCounts>(),
                                           lane_staging_);
  std::vector<int> exponents;
  for (const int e : model_.exponents)
    exponents.insert(exponents.end(), static_cast<size_t>(lanes_), e);
  exponents_.Resize(static_cast<int64_t>(exponents.size() * sizeof(int)));
  const int* staged = lane_staging_.Add(exponents);
  units_.Resize(lanes_ * static_cast<int64_t>(sizeof(float)));
  const std::vector<float> units(static_cast<size_t>(lanes_), model_.norms.back().unit);
  const float* staged_units = lane_staging_.Add(units);
  UploadWeights();
  CopyOnDevice(exponents_.Data(), staged, static_cast<int64_t>(exponents.size() * sizeof(int)),
               stream_.Get());
  CopyOnDevice(units_.Data(), staged_units, static_cast<int64_t>(units.size() * sizeof(float)),
               stream_.Get());
}

// Faulty codes from the host, packed on the device.
void CudaDeployExecutor::UploadWeights() {
  std::vector<const int8_t*> plain(program_.ops.size());
  int64_t bytes = 0;
  for (size_t i = 0; i < program_.ops.size(); ++i) {
    const Op& op = program_.ops[i];
    if (op.weight < 0) continue;
    WeightCodes codes = model_.weights[i];
    ApplyWeightFaults(codes, *lane_plan_, i, false);
    constants_[i].one_weight = codes.copies == 1;
    plain[i] = lane_staging_.Add(codes.codes);
    constants_[i].weights = bytes;
    bytes += (DeployedWeightBytes(program_, op) * codes.copies + 255) / 256 * 256;
  }
  weights_.Resize(bytes);
  PackList packs;
  for (size_t i = 0; i < program_.ops.size(); ++i) {
    const Op& op = program_.ops[i];
    if (op.kind != OpKind::kConv) continue;
    packs.Add({IsDepthwise(op) ? PackLayout::kDepthwise : PackLayout::kConv,
               GeometryOf(program_, op, lanes_, 1), constants_[i].one_weight ? 1 : lanes_, plain[i],
               weights_.Data() + constants_[i].weights});
  }
  const PackArguments arguments = packs.Stage(lane_staging_);
  lane_staging_.Send(stream_.Get());
  PackWeights(arguments, stream_.Get());
  for (size_t i = 0; i < program_.ops.size(); ++i) {
    if (program_.ops[i].kind != OpKind::kLinear) continue;
    const int copies = constants_[i].one_weight ? 1 : lanes_;
    CopyOnDevice(weights_.Data() + constants_[i].weights, plain[i], model_.weights[i].n * copies,
                 stream_.Get());
  }
}

LanePlan& CudaDeployExecutor::Lanes() {
  if (images_run_ > 0) {
    std::vector<HitCounts> hits(static_cast<size_t>(hits_.Size()) / sizeof(HitCounts));
    CopyToHost(hits.data(), hits_.Data(), static_cast<int64_t>(hits.size() * sizeof(HitCounts)),
               stream_.Get());
    FillDevice(hits_.Data(), 0, hits_.Size(), stream_.Get());
    stream_.Wait();
    faults_->AddTo(*lane_plan_, hits.data(), images_run_);
    images_run_ = 0;
  }
  return *lane_plan_;
}

void CudaDeployExecutor::RunSum(const Op& op) {
  SumArguments a;
  a.shape = MapOf(ShapeOf(op.output), lanes_run_, images_);
  a.bits = model_.bits;
  for (const OpInput& in : op.inputs) {
    a.inputs[a.count++] = {DeviceCodes(in.value), Exponent(in.value), ShapeOf(in.value).c, in.relu};
  }
  a.exponent = const_cast<int*>(Exponent(op.output));
  a.faults = FaultsAt(op.output);
  a.codes = DeviceCodes(op.output);
  if (op.kind == OpKind::kAdd) {
    Add(a, stream_.Get());
  } else {
    Concat(a, true, stream_.Get());
  }
}

void CudaDeployExecutor::RunGlobalPool(size_t i) {
  const Op& op = program_.ops[i];
  const OpInput& in = op.inputs[0];
  GlobalSum({MapOf(ShapeOf(in.value), lanes_run_, images_), in.relu, DeviceCodes(in.value),
             sums_.As<int32_t>(), nullptr},
            stream_.Get());
  QuantizeArguments a;
  a.shape = MapOf(ShapeOf(op.output), lanes_run_, images_);
  a.bits = model_.bits;
  a.raw = sums_.Data();
  a.scale = norms_.As<float>() + constants_[i].scale;
  a.shift = norms_.As<float>() + constants_[i].shift;
  a.one_norm = true;
  a.faults = FaultsAt(op.output);
  a.codes = DeviceCodes(op.output);
  Quantize(a, stream_.Get());
}

void CudaDeployExecutor::RunLinear(size_t i) {
  const Op& op = program_.ops[i];
  LinearArguments a;
  a.lanes = lanes_run_;
  a.images = images_;
  a.in = static_cast<int>(ShapeOf(op.inputs[0].value).Elements());
  a.out = program_.classes;
  a.x = DeviceCodes(op.inputs[0].value);
  a.weights = reinterpret_cast<const int8_t*>(weights_.Data() + constants_[i].weights);
  a.one_weight = constants_[i].one_weight;
  a.unit = units_.As<float>();
  a.bias = norms_.As<float>() + constants_[i].shift;
  a.logits = logits_memory_.As<float>();
  Linear(a, stream_.Get());
  const SiteFaultsView faults = FaultsAt(op.output);
  if (faults.lanes == nullptr) return;
  InjectLogits(
      {lanes_run_, images_, program_.classes, model_.bits, faults, logits_memory_.As<float>()},
      stream_.Get());
}

void CudaDeployExecutor::RunOp(size_t i) {
  const Op& op = program_.ops[i];
  switch (op.kind) {
    case OpKind::kConv:
    case OpKind::kPool:
      return RunWindow(i);
    case OpKind::kAdd:
    case OpKind::kConcat:
      return RunSum(op);
    case OpKind::kGlobalPool:
      return RunGlobalPool(i);
    case OpKind::kLinear:
      return RunLinear(i);
  }
}

}  // namespace ftt::cuda
