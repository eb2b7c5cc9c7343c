#include "engine/train_executor.h"

#include <algorithm>
#include <cmath>
#include <deque>

#include "core/error.h"
#include "core/philox.h"
#include "engine/loss.h"
#include "engine/optimizer.h"
#include "engine/train_state.h"

namespace ftt {

std::vector<SumInput> HostTrain::SumInputs(const Op& op) {
  std::vector<SumInput> inputs;
  for (const OpInput& in : op.inputs) {
    inputs.push_back({Codes(in.value), Exponent(in.value), ShapeOf(in.value).c, in.relu});
  }
  return inputs;
}

// Real value of one accumulator step of a window op or classifier.
float HostTrain::LaneUnit(const Op& op, int lane, float scale) {
  const size_t i = static_cast<size_t>(&op - program->ops.data());
  const int weight_exponent = op.weight < 0 ? 0 : weights[i].exponent;
  return scale * PowerOfTwo(Exponent(op.inputs[0].value)[lane] + weight_exponent);
}

void HostTrain::UpdateRunningStats(const Op& op, const std::vector<Moments>& moments,
                                   double count) {
  float* mean = ParamValue(op.running_mean);
  float* variance = ParamValue(op.running_var);
  const float share = options.bn_momentum / static_cast<float>(moments.size());
  const auto unbias = static_cast<float>(count > 1 ? count / (count - 1) : 1.0);
  const size_t channels = moments[0].mean.size();
  for (size_t c = 0; c < channels; ++c) {
    mean[c] *= 1.0f - options.bn_momentum;
    variance[c] *= 1.0f - options.bn_momentum;
    for (const Moments& m : moments) {
      mean[c] += share * m.mean[c];
      variance[c] += share * m.variance[c] * unbias;
    }
  }
}

// Turns the statistics of op i into affine maps and exponents, then writes the codes of its output.
void HostTrain::Quantize(size_t i, const Shape& s) {
  const Op& op = OpAt(i);
  const double count = static_cast<double>(dims.images) * s.h * s.w;
  std::vector<Moments> moments;
  norms[i].clear();
  for (int lane = 0; lane < dims.lanes; ++lane) {
    const ChannelStats* lane_stats = stats.data() + lane * s.c;
    const float average = op.kind == OpKind::kGlobalPool
                              ? 1.0f / static_cast<float>(ShapeOf(op.inputs[0].value).h *
                                                          ShapeOf(op.inputs[0].value).w)
                              : 1.0f;
    NormInputs in{s.c, op.batch_norm, ParamValue(op.gamma),
                  ParamValue(op.batch_norm ? op.beta : op.bias), LaneUnit(op, lane, average)};
    const bool frozen = mode == TrainMode::kCalibrate || (Training() && batch->frozen_norm);
    if (op.batch_norm && frozen) {
      const float* mean = ParamValue(op.running_mean);
      const float* variance = ParamValue(op.running_var);
      moments.push_back({{mean, mean + s.c}, {variance, variance + s.c}});
    } else if (op.batch_norm) {
      moments.push_back(MomentsOf(lane_stats, s.c, count, in.unit));
    }
    LaneNorm norm = RealNorm(in, op.batch_norm ? &moments.back() : nullptr);
    norm.frozen = frozen;
    Exponent(op.output)[lane] = ExponentFor(LargestOutput(norm, lane_stats), options.bits);
    ScaleToCodes(norm, Exponent(op.output)[lane]);
    norms[i].push_back(std::move(norm));
  }
  backend.Quantize(dims, s, options.bits, Acc(op), norms[i].data(), lanes->Feature(op.output),
                   Codes(op.output), Mask(op.output), ReluOnly(op.output));
  if (op.batch_norm && Training() && !batch->frozen_norm) UpdateRunningStats(op, moments, count);
}

// Weights do not wait for activations: those of all ops side by side.
void HostTrain::PrepareWeights() {
  std::vector<size_t> ops;
  for (size_t i = 0; i < program->ops.size(); ++i) {
    if (OpAt(i).weight >= 0) ops.push_back(i);
  }
  backend.For(static_cast<int>(ops.size()), [&](int k, int worker) {
    const size_t i = ops[static_cast<size_t>(k)];
    const Op& op = OpAt(i);
    weights[i] =
        QuantizeWeights(bound[static_cast<size_t>(op.weight)]->value, options.bits, Training());
    ApplyWeightFaults(weights[i], *lanes, i, Training());
    if (op.kind != OpKind::kConv) return;
    backend.Prepare(WindowOf(*program, op), &weights[i], Training() && op.inputs[0].value != 0,
                    worker);
  });
}

void HostTrain::ForwardWindow(size_t i) {
  const Op& op = OpAt(i);
  const Shape& s = ShapeOf(op.output);
  stats.assign(static_cast<size_t>(dims.lanes * s.c), {});
  backend.Accumulate(dims, WindowOf(*program, op), Codes(op.inputs[0].value),
                     op.weight < 0 ? nullptr : &weights[i], Acc(op), stats.data());
  Quantize(i, s);
}

void HostTrain::ForwardGlobalPool(size_t i) {
  const Op& op = OpAt(i);
  const Shape& s = ShapeOf(op.output);
  backend.GlobalSum(dims, ShapeOf(op.inputs[0].value), op.inputs[0].relu, Codes(op.inputs[0].value),
                    Acc(op).As<int32_t>());
  stats.assign(static_cast<size_t>(dims.lanes * s.c), {});
  const auto* acc = Acc(op).As<const int32_t>();
  for (int lane = 0; lane < dims.lanes; ++lane) {
    for (int image = 0; image < dims.images; ++image) {
      for (int c = 0; c < s.c; ++c, ++acc) {
        ChannelStats& st = stats[static_cast<size_t>(lane * s.c + c)];
        st.min = image == 0 ? *acc : std::min(st.min, *acc);
        st.max = image == 0 ? *acc : std::max(st.max, *acc);
      }
    }
  }
  Quantize(i, s);
}

void HostTrain::ForwardLinear(size_t i) {
  const Op& op = OpAt(i);
  const auto in = static_cast<int>(ShapeOf(op.inputs[0].value).Elements());
  const bool drop = Training() && program->dropout > 0;
  keep.assign(drop ? static_cast<size_t>(dims.images * in) : 0, 1);
  for (int image = 0; drop && image < dims.images; ++image) {
    PhiloxSequence draws(options.seed, Stream::kDropout, batch->step, batch->image_ids[image]);
    for (int k = 0; k < in; ++k) {
      keep[static_cast<size_t>(image * in + k)] =
          static_cast<uint8_t>(draws.Uniform() >= program->dropout);
    }
  }
  std::vector<float> unit;
  const float keep_scale = drop ? 1.0f / (1.0f - program->dropout) : 1.0f;
  for (int lane = 0; lane < dims.lanes; ++lane) unit.push_back(LaneUnit(op, lane, keep_scale));
  logits.resize(static_cast<size_t>(dims.lanes * dims.images * program->classes));
  backend.Linear(dims, in, program->classes, Codes(op.inputs[0].value), weights[i], unit.data(),
                 ParamValue(op.bias), drop ? keep.data() : nullptr, logits.data());
  lanes->InjectLaneLogits(op.output, dims, program->classes, logits.data());
}

void HostTrain::Forward() {
  const int64_t n = ShapeOf(0).Elements(), pixels = dims.images * n;
  const uint8_t* from = batch->pixels;
  if (from == nullptr) {
    made_pixels.resize(static_cast<size_t>(pixels));
    MakeBatch(*batch->source, batch->image_ids, dims.images, batch->augment, batch->augment_seed,
              batch->epoch, made_pixels.data());
    from = made_pixels.data();
  }
  backend.For(dims.images, [&](int image, int) {
    int8_t* codes = Codes(0) + image * n;
    coding.Encode(from + image * n, n, codes);
    for (int lane = 1; lane < dims.lanes; ++lane) std::copy_n(codes, n, codes + lane * pixels);
  });
  for (int lane = 0; lane < dims.lanes; ++lane) Exponent(0)[lane] = coding.Exponent();
  if (lanes->Feature(0) != nullptr) backend.Inject(dims, ShapeOf(0), lanes->Feature(0), Codes(0));
  for (size_t i = 0; i < program->ops.size(); ++i) {
    const Op& op = OpAt(i);
    switch (op.kind) {
      case OpKind::kConv:
      case OpKind::kPool:
        ForwardWindow(i);
        break;
      case OpKind::kAdd:
        backend.Add(dims, ShapeOf(op.output), options.bits, SumInputs(op), true,
                    Exponent(op.output), lanes->Feature(op.output), Codes(op.output),
                    Mask(op.output), ReluOnly(op.output));
        break;
      case OpKind::kConcat: {
        const std::vector<SumInput> inputs = SumInputs(op);
        for (int lane = 0; lane < dims.lanes; ++lane) {
          int largest = inputs[0].exponent[lane];
          for (const SumInput& in : inputs) largest = std::max(largest, in.exponent[lane]);
          Exponent(op.output)[lane] = largest;
        }
        backend.Concat(dims, ShapeOf(op.output), options.bits, inputs, Exponent(op.output),
                       lanes->Feature(op.output), Codes(op.output));
        break;
      }
      case OpKind::kGlobalPool:
        ForwardGlobalPool(i);
        break;
      case OpKind::kLinear:
        ForwardLinear(i);
        break;
    }
  }
}

std::vector<LaneResult> HostTrain::Loss() {
  std::vector<LaneResult> results(static_cast<size_t>(dims.lanes));
  grad_logits.resize(logits.size());
  const int64_t per_lane = int64_t{dims.images} * program->classes;
  for (int lane = 0; lane < dims.lanes; ++lane) {
    LaneResult& r = results[static_cast<size_t>(lane)];
    const LossResult loss = SoftmaxCrossEntropy(
        dims.images, program->classes, logits.data() + lane * per_lane, batch->labels,
        (*lane_specs)[static_cast<size_t>(lane)].loss_weight, grad_logits.data() + lane * per_lane);
    r.loss = loss.mean;
    r.correct = loss.correct;
    r.faults = lanes->TotalCounts(lane);
  }
  return results;
}

std::vector<LaneResult> HostTrain::Run() {
  dims = {static_cast<int>(lane_specs->size()), batch->images, batch->image_ids};
  FTT_CHECK(dims.lanes > 0 && dims.images > 0,
            "training step: needs at least one lane and one image");
  lanes = std::make_unique<LanePlan>(*program, *lane_specs, options.bits);
  Bind();
  PlanBuffers();
  exponents.assign(program->values.size() * lane_specs->size(), 0);
  weights.assign(program->ops.size(), {});
  norms.resize(program->ops.size());
  PrepareWeights();
  Forward();
  std::vector<LaneResult> results = Loss();
  if (Training()) Backward();
  if (mode == TrainMode::kCalibrate) {
    calibrated.resize(program->values.size(), -1000);
    for (size_t v = 0; v < program->values.size(); ++v)
      calibrated[v] = std::max(calibrated[v], *Exponent(static_cast<int>(v)));
  }
  return results;
}

namespace {

class HostTrainExecutor final : public TrainExecutor {
 public:
  HostTrainExecutor(Backend& backend, ParamStore& params, const InputCoding& coding,
                    const TrainExecutorOptions& options)
      : state_(backend, params, coding, options) {}

  std::vector<LaneResult> Run(const Program& program, const TrainBatch& batch,
                              const std::vector<LaneSpec>& lanes, TrainMode mode,
                              const Meanwhile& /*meanwhile*/) override {
    state_.program = &program;
    state_.batch = &batch;
    state_.lane_specs = &lanes;
    state_.mode = mode;
    return state_.Run();
  }
  std::vector<float> Gradient() override { return state_.gradient; }
  void Step(const Program& program, const TrainBatch& batch, const std::vector<LaneSpec>& lanes,
            const OptimizerOptions& optimizer, float learning_rate) override {
    finished_.push_back(Run(program, batch, lanes, TrainMode::kTrain, nullptr));
    OptimizerStep(optimizer, program, state_.params, state_.gradient, learning_rate,
                  &state_.backend);
  }
  std::optional<std::vector<LaneResult>> NextResult(bool) override {
    if (finished_.empty()) return std::nullopt;
    std::vector<LaneResult> result = std::move(finished_.front());
    finished_.pop_front();
    return result;
  }
  void Synchronize() override {}
  const std::vector<int>& CalibratedExponents() const override { return state_.calibrated; }
  void ResetCalibration() override { state_.calibrated.clear(); }
  int64_t ArenaBytes() const override { return state_.plan.total; }
  int64_t ArenaLowerBound() const override { return state_.plan.lower_bound; }
  const std::vector<float>& Logits() override { return state_.logits; }

 private:
  HostTrain state_;
  std::deque<std::vector<LaneResult>> finished_;
};

}  // namespace

std::unique_ptr<TrainExecutor> MakeTrainExecutor(Backend& backend, ParamStore& params,
                                                 const InputCoding& coding,
                                                 const TrainExecutorOptions& options) {
  return std::make_unique<HostTrainExecutor>(backend, params, coding, options);
}

}  // namespace ftt
