// What a step of the device's train executor needs before its first kernel: memory, and everything
// that the host has to say, on its way to the device.
#include <algorithm>
#include <utility>

#include "core/error.h"
#include "engine/cuda/cuda_train.h"
#include "engine/cuda/pack_list.h"
#include "engine/cuda/reduce_list.h"

namespace ftt::cuda {
namespace {

bool SameFaults(const std::vector<LaneSpec>& a, const std::vector<LaneSpec>& b) {
  return std::equal(
      a.begin(), a.end(), b.begin(), b.end(), [](const LaneSpec& x, const LaneSpec& y) {
        return x.faults == y.faults && x.replay == y.replay && x.sites == y.sites &&
               x.max_rate == y.max_rate && x.seed == y.seed && x.moment.trial == y.moment.trial &&
               x.moment.training == y.moment.training;
      });
}

}  // namespace

// Programs of a search differ from step to step: some room keeps most of them from reallocating.
void CudaTrainExecutor::Reserve(DeviceMemory& memory, int64_t bytes) const {
  if (bytes > memory.Size()) memory.Resize(options_.fixed_program ? bytes : WithRoom(bytes));
}

CudaTrainExecutor::RunPlan CudaTrainExecutor::PlanRun(const Program& program,
                                                      const std::vector<LaneSpec>& lanes,
                                                      int images, TrainMode mode) const {
  RunPlan plan{LanePlan(program, lanes, options_.bits),
               program.Hash(),
               {static_cast<int>(lanes.size()),
                images,
                mode == TrainMode::kTrain,
                options_.bits,
                options_.exact_raw,
                options_.partial_bytes,
                {}},
               std::nullopt};
  for (size_t i = 0; i < program.ops.size(); ++i)
    plan.shape.faulty_weights.push_back(plan.faults.HasWeightFaults(i) ? 1 : 0);
  return plan;
}

void CudaTrainExecutor::Prepare(const Program& program, const std::vector<LaneSpec>& lanes,
                                int images) {
  prepared_ = PreparedStep{&program, lanes, PlanRun(program, lanes, images, TrainMode::kTrain)};
  prepared_->plan.layout = PlanTraining(program, prepared_->plan.shape);
}

CudaTrainExecutor::RunPlan CudaTrainExecutor::TakePlan(const std::vector<LaneSpec>& lanes) {
  std::optional<PreparedStep> prepared = std::exchange(prepared_, std::nullopt);
  if (prepared && prepared->program == program_ && prepared->plan.shape.images == images_ &&
      Training() && SameFaults(prepared->lanes, lanes))
    return std::move(prepared->plan);
  return PlanRun(*program_, lanes, images_, mode_);
}

// Parameters and memory of the program; a program that comes again keeps its layout.
void CudaTrainExecutor::Bind(RunPlan& plan) {
  const bool known = plan.hash == program_hash_;
  if (!known) {
    CheckSupported(*program_);
    places_.clear();
    for (const ParamInfo& info : program_->params) places_.push_back(&params_.Get(info));
  }
  if (known && plan.shape == shape_) return;
  program_hash_ = 0;  // in case that memory runs out
  layout_ = plan.layout ? std::move(*plan.layout) : PlanTraining(*program_, plan.shape);
  shape_ = std::move(plan.shape);
  Allocate();
  program_hash_ = plan.hash;
}

void CudaTrainExecutor::Allocate() {
  Reserve(arena_, layout_.values.total);
  Reserve(op_memory_, layout_.op_memory);
  Reserve(scratch_, layout_.scratch);
  Reserve(weight_partials_, layout_.weight_partials);
  Reserve(moments_, layout_.moments);
  Reserve(exponents_, layout_.exponents);
  Reserve(keep_, layout_.keep);
  Reserve(logits_memory_, layout_.logits);
  Reserve(grad_logits_, layout_.logits);
  Reserve(gradient_, 4 * layout_.gradient_floats);
}

// Where the images come from: the step's own pixels, or places in a set that lies on the device.
void CudaTrainExecutor::StageImages() {
  const TrainBatch& batch = *batch_;
  input_ = {};
  if (batch.pixels != nullptr) {
    input_.pixels = staging_.Add(batch.pixels, batch.images * program_->InputShape().Elements());
    return;
  }
  const ImageSet& set = *batch.source;
  DeviceMemory& resident = sets_[&set];
  if (resident.Size() == 0) {
    const auto bytes = static_cast<int64_t>(set.pixels.size());
    resident.Resize(bytes);
    CopyToDevice(resident.Data(), set.pixels.data(), bytes, S());
  }
  input_.pixels = resident.Data();
  input_.indices = staged_ids_;
  if (batch.augment == nullptr) return;
  const AugmentOptions& o = *batch.augment;
  Validate(o, set.channels);
  std::vector<ImageMoves> moves;
  for (int i = 0; i < batch.images; ++i)
    moves.push_back(DrawMoves(set, o, batch.augment_seed, batch.epoch, batch.image_ids[i]));
  input_.moves = staging_.Add(moves);
  input_.reflect = o.crop_border == "reflect";
  input_.cutout = o.cutout;
  std::copy(o.cutout_fill.begin(), o.cutout_fill.end(), input_.fill);
}

void CudaTrainExecutor::StageWeights() {
  std::vector<WeightTensor> tensors;
  std::vector<WeightChunk> chunks;
  PackList packs;
  weight_arguments_ = {};
  for (size_t i = 0; i < layout_.ops.size(); ++i) {
    const Op& op = OpAt(i);
    if (op.weight < 0) continue;
    const OpBuffers& b = layout_.ops[i];
    WeightTensor t;
    t.value = ParamValue(op.weight);
    t.n = static_cast<int>(program_->params[static_cast<size_t>(op.weight)].Elements());
    t.copies = b.copies;
    t.codes = OpMemory<int8_t>(b.codes);
    t.keep = Training() ? OpMemory<uint8_t>(b.keep) : nullptr;
    t.exponent = OpMemory<int>(b.weight_exponent);
    t.largest = OpMemory<float>(b.weight_largest);
    t.faults = faults_->Weights(i);
    for (int first = 0; first < t.n; first += kWeightChunk)
      chunks.push_back({static_cast<int>(tensors.size()), first});
    weight_arguments_.copies = std::max(weight_arguments_.copies, t.copies);
    tensors.push_back(t);
    if (op.kind != OpKind::kConv) continue;
    const WindowGeometry g = GeometryOf(*program_, op, lanes_, images_);
    packs.Add({IsDepthwise(op) ? PackLayout::kDepthwise : PackLayout::kConv, g, b.copies, t.codes,
               OpMemory<void>(b.packed)});
    if (Training() && !IsDepthwise(op))
      packs.Add({PackLayout::kConvGrad, g, b.copies, t.codes, OpMemory<void>(b.packed_grad)});
  }
  pack_arguments_ = packs.Stage(staging_);
  const uint32_t zero = 0;
  weight_arguments_.tensors = staging_.Add(tensors);
  weight_arguments_.count = static_cast<int>(tensors.size());
  weight_arguments_.chunks = staging_.Add(chunks);
  weight_arguments_.chunk_count = static_cast<int>(chunks.size());
  weight_arguments_.bits = options_.bits;
  weight_arguments_.collects = faults_->Collects();
  weight_arguments_.zero = staging_.Add(&zero, 1);
}

void CudaTrainExecutor::StageReductions() {
  ReduceList list;
  for (const bool depthwise : {true, false}) {
    if (!depthwise) dense_reductions_ = list.Launches();
    for (size_t i = layout_.ops.size(); i-- > 0;) {
      if (!layout_.HasWeightPartials(*program_, i) || IsDepthwise(OpAt(i)) != depthwise) continue;
      if (layout_.ops[i].restarts_partials) list.EndLaunch();
      list.Add(depthwise ? DepthwiseWeightPartials(WeightGradOf<DepthwiseGradArguments>(i))
                         : ConvWeightPartials(WeightGradOf<ConvWeightGradArguments>(i)));
    }
    list.EndLaunch();
  }
  reductions_ = list.Stage(staging_);
}

void CudaTrainExecutor::StageOptimizer(const OptimizerOptions& o, float learning_rate) {
  const bool adam = o.kind == "adam";
  std::vector<UpdateChunk> chunks;
  for (size_t p = 0; p < places_.size(); ++p) {
    if (layout_.gradient_offset[p] < 0) continue;
    const ParamInfo& info = program_->params[p];
    DeviceParams::Place& place = *places_[p];
    place.updated = true;
    AdamCorrections corrections;
    if (adam) {
      params_.AddSecondMoment(info, place);
      corrections = CorrectionsOf(o, ++place.updates);
    }
    const float* gradient = ParamGradient(static_cast<int>(p));
    const auto n = static_cast<int>(info.Elements());
    for (int first = 0; first < n; first += kUpdateChunk) {
      chunks.push_back({place.value + first, place.momentum + first,
                        adam ? place.second_moment + first : nullptr, gradient + first,
                        std::min(kUpdateChunk, n - first), corrections.first, corrections.second});
    }
  }
  const auto partial_bytes = static_cast<int64_t>(chunks.size() * sizeof(double));
  Reserve(partials_, partial_bytes);
  const UpdateArguments update{staging_.Add(chunks),
                               static_cast<int>(chunks.size()),
                               staging_.Add(&learning_rate, 1),
                               o.weight_decay,
                               o.clip,
                               partials_.As<double>(),
                               Norm()};
  if (adam) {
    update_ = AdamArguments{update, o.beta1, o.beta2, o.epsilon};
  } else {
    update_ = SgdArguments{update, o.momentum, o.nesterov};
  }
}

}  // namespace ftt::cuda
