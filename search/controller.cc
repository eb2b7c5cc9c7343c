#include "search/controller.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "core/error.h"
#include "search/dense.h"

namespace ftt {
namespace {

constexpr const char* kCellNames[] = {"normal", "reduce"};

int ArgMax(const std::vector<double>& values) {
  return static_cast<int>(std::max_element(values.begin(), values.end()) - values.begin());
}

// The option at which the cumulated probability passes a uniform draw.
int DrawOption(const std::vector<double>& log_probs, PhiloxSequence& draws) {
  double left = draws.UniformDouble();
  for (size_t j = 0; j + 1 < log_probs.size(); ++j) {
    left -= std::exp(log_probs[j]);
    if (left < 0) return static_cast<int>(j);
  }
  return static_cast<int>(log_probs.size()) - 1;
}

}  // namespace

void Validate(const ControllerOptions& o) {
  FTT_CHECK(o.hidden >= 1 && o.hidden <= 4096, "controller: hidden is {}; allowed is 1 to 4096",
            o.hidden);
  FTT_CHECK(o.attention >= 1 && o.attention <= 4096,
            "controller: attention is {}; allowed is 1 to 4096", o.attention);
  FTT_CHECK(o.temperature > 0, "controller: temperature is {}; it must be above 0", o.temperature);
  FTT_CHECK(o.tanh_constant >= 0, "controller: tanh_constant is {}; it must be 0 (off) or above",
            o.tanh_constant);
  FTT_CHECK(o.op_tanh_reduce > 0, "controller: op_tanh_reduce is {}; it must be above 0",
            o.op_tanh_reduce);
  FTT_CHECK(o.init_range >= 0, "controller: init_range is {}; it must be 0 or above", o.init_range);
  FTT_CHECK(o.learning_rate > 0, "controller: learning_rate is {}; it must be above 0",
            o.learning_rate);
  FTT_CHECK(o.baseline_decay >= 0 && o.baseline_decay < 1,
            "controller: baseline_decay is {}; allowed is 0 to below 1", o.baseline_decay);
  FTT_CHECK(o.entropy_coeff >= 0, "controller: entropy_coeff is {}; it must be 0 or above",
            o.entropy_coeff);
  FTT_CHECK(o.gradient_clip >= 0, "controller: gradient_clip is {}; it must be 0 (off) or above",
            o.gradient_clip);
  FTT_CHECK(o.threads >= 1, "controller: threads is {}; it must be 1 or more", o.threads);
}

Controller::Controller(const SearchSpace& space, const ControllerOptions& options, uint64_t seed)
    : space_(space), options_(options), seed_(seed) {
  CheckSpace(space);
  Validate(options);
  for (uint32_t cell = 0; cell < 2; ++cell) {
    nets_.emplace_back(space, options, seed, cell);
    const size_t n = nets_.back().Values().size();
    adam_.push_back({std::vector<double>(n, 0.0), std::vector<double>(n, 0.0)});
  }
  PrepareTables();
}

void Controller::PrepareTables() {
  for (size_t cell = 0; cell < 2; ++cell) tables_[cell] = nets_[cell].Tables();
  for (Path& path : drawn_) path = {};
}

ControllerSample Controller::Draw(const std::vector<ControllerNet::Chooser>& choosers) const {
  Path path;
#pragma omp parallel for num_threads(options_.threads)
  for (size_t cell = 0; cell < 2; ++cell)
    path.steps[cell] = nets_[cell].Forward(tables_[cell], choosers[cell]);
  ControllerSample sample;
  for (const std::vector<ControllerStep>& steps : path.steps) {
    for (const ControllerStep& s : steps) path.decisions.push_back(s.chosen);
    sample.log_prob += ControllerNet::LogProb(steps);
    sample.entropy += ControllerNet::Entropy(steps);
  }
  sample.genotype = DecodeGenotype(space_, path.decisions);
  drawn_[1] = std::exchange(drawn_[0], std::move(path));
  return sample;
}

ControllerSample Controller::Sample(uint32_t draw, uint32_t variant) const {
  PhiloxSequence normal(seed_, Stream::kController, draw, 2 * variant);
  PhiloxSequence reduce(seed_, Stream::kController, draw, 2 * variant + 1);
  return Draw({[&](int, const std::vector<double>& lp) { return DrawOption(lp, normal); },
               [&](int, const std::vector<double>& lp) { return DrawOption(lp, reduce); }});
}

Genotype Controller::Greedy() const {
  const auto greedy = [](int, const std::vector<double>& lp) { return ArgMax(lp); };
  return Draw({greedy, greedy}).genotype;
}

std::vector<ControllerStep> Controller::Replay(int cell, const std::vector<int>& decisions) const {
  const int first = cell * DecisionsPerCell(space_);
  return nets_[static_cast<size_t>(cell)].Forward(
      tables_[cell],
      [&](int t, const std::vector<double>&) { return decisions[static_cast<size_t>(first + t)]; });
}

double Controller::LogProb(const Genotype& genotype) const {
  const std::vector<int> decisions = EncodeGenotype(space_, genotype);
  return ControllerNet::LogProb(Replay(0, decisions)) +
         ControllerNet::LogProb(Replay(1, decisions));
}

double Controller::Entropy(const Genotype& genotype) const {
  const std::vector<int> decisions = EncodeGenotype(space_, genotype);
  return ControllerNet::Entropy(Replay(0, decisions)) +
         ControllerNet::Entropy(Replay(1, decisions));
}

void Controller::Reinforce(const Genotype& genotype, double reward) {
  FTT_CHECK(std::isfinite(reward), "controller: the reward is not a finite number");
  const std::vector<int> decisions = EncodeGenotype(space_, genotype);
  if (!has_baseline_) baseline_ = reward;
  has_baseline_ = true;
  const double advantage = reward - baseline_;
  Path* path = std::find_if(std::begin(drawn_), std::end(drawn_),
                            [&](const Path& p) { return p.decisions == decisions; });
  const bool drawn = path != std::end(drawn_);
  if (!drawn) path = drawn_;
#pragma omp parallel for num_threads(options_.threads)
  for (int cell = 0; cell < 2; ++cell) {
    if (!drawn) path->steps[cell] = Replay(cell, decisions);
    nets_[static_cast<size_t>(cell)].Backward(path->steps[cell], -advantage,
                                              -options_.entropy_coeff, &gradients_[cell]);
  }
  AdamStep();
  baseline_ = options_.baseline_decay * baseline_ + (1 - options_.baseline_decay) * reward;
}

void Controller::AdamStep() {
  double scale = 1;
  if (options_.gradient_clip > 0) {
    double square = 0;
    for (const auto& gradient : gradients_) {
      for (const double g : gradient) square += g * g;
    }
    const double norm = std::sqrt(square);
    if (norm > options_.gradient_clip) scale = options_.gradient_clip / norm;
  }
  ++adam_step_;
  const double correct1 = 1 - std::pow(dense::kAdamBeta1, static_cast<double>(adam_step_));
  const double correct2 = 1 - std::pow(dense::kAdamBeta2, static_cast<double>(adam_step_));
#pragma omp parallel for num_threads(options_.threads)
  for (size_t cell = 0; cell < 2; ++cell) {
    const size_t n = nets_[cell].Values().size();
    dense::AdamUpdate(gradients_[cell].data(), n,
                      {scale, options_.learning_rate / correct1, 1 / std::sqrt(correct2)},
                      adam_[cell].m.data(), adam_[cell].v.data(), nets_[cell].Values().data());
    tables_[cell] = nets_[cell].Tables();
  }
  for (Path& path : drawn_) path = {};
}

StateDict Controller::Export() const {
  StateDict state;
  for (size_t cell = 0; cell < 2; ++cell) {
    const auto add = [&](const ControllerParam& p, const char* suffix,
                         const std::vector<double>& flat) {
      const auto first = flat.begin() + static_cast<int64_t>(p.offset);
      state.push_back({fmt::format("{}.{}{}", kCellNames[cell], p.name, suffix),
                       p.shape,
                       {first, first + static_cast<int64_t>(p.size)}});
    };
    for (const ControllerParam& p : nets_[cell].Params()) {
      add(p, "", nets_[cell].Values());
      add(p, ".adam.m", adam_[cell].m);
      add(p, ".adam.v", adam_[cell].v);
    }
  }
  state.push_back({"adam.step", {1}, {static_cast<double>(adam_step_)}});
  state.push_back({"baseline", {2}, {has_baseline_ ? 1.0 : 0.0, baseline_}});
  state.push_back({"space", {1}, {static_cast<double>(SpaceHash(space_))}});
  return state;
}

void Controller::Import(const StateDict& state) {
  FTT_CHECK(FindState(state, "space", {1}).values[0] == static_cast<double>(SpaceHash(space_)),
            "search state: the controller was trained on another search space");
  Controller next = *this;
  for (size_t cell = 0; cell < 2; ++cell) {
    const auto take = [&](const ControllerParam& p, const char* suffix, std::vector<double>* flat) {
      const StateTensor& tensor =
          FindState(state, fmt::format("{}.{}{}", kCellNames[cell], p.name, suffix), p.shape);
      std::copy(tensor.values.begin(), tensor.values.end(),
                flat->begin() + static_cast<int64_t>(p.offset));
    };
    for (const ControllerParam& p : nets_[cell].Params()) {
      take(p, "", &next.nets_[cell].Values());
      take(p, ".adam.m", &next.adam_[cell].m);
      take(p, ".adam.v", &next.adam_[cell].v);
    }
  }
  next.adam_step_ = static_cast<int64_t>(FindState(state, "adam.step", {1}).values[0]);
  const StateTensor& baseline = FindState(state, "baseline", {2});
  next.has_baseline_ = baseline.values[0] != 0;
  next.baseline_ = baseline.values[1];
  next.PrepareTables();
  *this = std::move(next);
}

}  // namespace ftt
