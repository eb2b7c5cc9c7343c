#include "search/search.h"

#include <algorithm>
#include <optional>

#include "core/clock.h"
#include "core/error.h"
#include "data/split.h"

namespace ftt {
namespace {

constexpr int64_t kStepsAhead = 4;                            // of the host before the device
constexpr uint64_t kRewardFaults = 0x7265'7761'7264'0000ull;  // apart from training and evaluation
constexpr uint32_t kRewardDraw = 0x4000'0000u;
constexpr uint32_t kDeriveDraw = 0x8000'0000u;
constexpr uint32_t kRandomDraw = 0x9000'0000u;

// Walks through shuffled passes over a set of image indices.
class BatchWalk {
 public:
  BatchWalk(std::vector<uint32_t> indices, int batch, uint64_t seed)
      : indices_(std::move(indices)), batch_(batch), seed_(seed) {}
  int64_t PerPass() const { return static_cast<int64_t>(indices_.size()) / batch_; }
  // The batch of position `at`; pass = at / PerPass().
  std::vector<uint32_t> At(int64_t at) {
    const int64_t pass = at / PerPass();
    if (pass != pass_) {
      order_ =
          EpochOrder(static_cast<int64_t>(indices_.size()), seed_, static_cast<uint32_t>(pass));
      pass_ = pass;
    }
    std::vector<uint32_t> out(static_cast<size_t>(batch_));
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = indices_[order_[static_cast<size_t>(at % PerPass()) * out.size() + i]];
    }
    return out;
  }

 private:
  std::vector<uint32_t> indices_, order_;
  int batch_;
  uint64_t seed_;
  int64_t pass_ = -1;
};

}  // namespace

void Validate(const SearchConfig& c) {
  FTT_CHECK(c.epochs >= 1, "epochs: {} is below 1", c.epochs);
  FTT_CHECK(c.warmup_epochs >= 0 && c.warmup_epochs <= c.epochs,
            "warmup-epochs: {} is outside 0..{}", c.warmup_epochs, c.epochs);
  FTT_CHECK(c.batch >= 1, "batch: {} is below 1", c.batch);
  FTT_CHECK(c.fault_loss_coeff >= 0 && c.fault_loss_coeff <= 1,
            "fault-loss-coeff: {} is outside [0, 1]", c.fault_loss_coeff);
  FTT_CHECK(c.fault_reward_coeff >= 0 && c.fault_reward_coeff <= 1,
            "fault-reward-coeff: {} is outside [0, 1]", c.fault_reward_coeff);
  FTT_CHECK(c.weight_fraction > 0 && c.weight_fraction < 1, "weight-fraction: {} is outside (0, 1)",
            c.weight_fraction);
  FTT_CHECK(c.controller_every >= 1, "controller-every: {} is below 1", c.controller_every);
  FTT_CHECK(c.derive_draws >= 1 && c.derive_samples >= 1 && c.derive_batches >= 1,
            "derivation needs at least one draw, one sample and one batch");
  FTT_CHECK(c.flops_bound >= 0 && c.flops_penalty >= 0,
            "flops-bound and flops-penalty must not be negative");
  FTT_CHECK(c.bits >= 4 && c.bits <= 8, "bits: {} is outside 4..8", c.bits);
  Validate(c.optimizer);
}

struct SearchLoop::Impl {
  const Dataset& data;
  ParamStore& params;
  SearchConfig config;
  Shape input;
  std::unique_ptr<TrainExecutor> executor;
  std::unique_ptr<BatchWalk> weight_walk, reward_walk;
  std::unique_ptr<Strategy> strategy;
  std::vector<Reward> trace;
  int64_t step = 0;
  int64_t in_flight = 0;  // steps whose results are not in sums yet
  EpochSums sums;
  // The network of the next supernet step, if a proposal's reward does not change which one that
  // is: one update of a strategy hardly moves its draws.
  struct Guess {
    Genotype genotype;
    Program program;
  };
  std::optional<Guess> guess;
  std::vector<uint8_t> labels;
  std::vector<uint32_t> ids;

  Impl(Device& device, const Dataset& d, ParamStore& p, const SearchConfig& c)
      : data(d),
        params(p),
        config(c),
        input{d.train.height, d.train.width, d.train.channels},
        executor(device.NewTrainExecutor(p, InputCoding(d.mean, d.stddev, c.bits),
                                         {c.bits, 0.1f, c.seed})) {
    Validate(c);
    config.network.affine = false;
    config.network.shared = true;
    const int64_t used = c.limit > 0 ? std::min<int64_t>(c.limit, d.train.Size()) : d.train.Size();
    const Split split = SplitTrain(used, c.weight_fraction, c.seed);
    weight_walk = std::make_unique<BatchWalk>(split.first, c.batch, c.seed);
    reward_walk = std::make_unique<BatchWalk>(split.second, c.batch, c.seed ^ kRewardFaults);
    FTT_CHECK(weight_walk->PerPass() > 0 && reward_walk->PerPass() > 0,
              "search: {} images, split {:.0f}:{:.0f}, do not fill one batch of {} on both sides",
              used, 100 * c.weight_fraction, 100 * (1 - c.weight_fraction), c.batch);
    ControllerOptions controller;
    controller.learning_rate = c.controller_lr;
    // Such a device waits for the next architecture; threads of the host's own have better to do.
    if (device.LeavesHostIdle()) controller.threads = 2;
    strategy = c.strategy == "reinforce" ? MakeReinforceStrategy(c.space, c.seed, controller)
                                         : MakeStrategy(c.strategy, c.space, c.seed);
  }

  int64_t StepsPerEpoch() const { return weight_walk->PerPass(); }
  bool Warming() const { return step < StepsPerEpoch() * config.warmup_epochs; }
  Program Build(const Genotype& genotype) const {
    return BuildCellNetwork(genotype, config.network, input, data.classes);
  }
  TrainBatch Load(std::vector<uint32_t> indices, const AugmentOptions* augment, uint32_t pass,
                  uint32_t step);
  Reward Measure(const Program& program, int64_t reward_batch, uint64_t fault_seed, uint32_t trial,
                 const TrainExecutor::Meanwhile& meanwhile = nullptr);
  Reward MeasureBatches(const Genotype& genotype, int first, int end);
  Genotype SupernetGenotype(int64_t at) const;
  std::vector<LaneSpec> SupernetLanes(int64_t at) const;
  void GuessNextStep();
  void SupernetStep();
  void TakeResults(int64_t most);
  void Propose();
  Reward MeanReward(size_t count) const;
};

TrainBatch SearchLoop::Impl::Load(std::vector<uint32_t> indices, const AugmentOptions* augment,
                                  uint32_t pass, uint32_t step) {
  ids = std::move(indices);
  labels.resize(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) labels[i] = data.train.labels[ids[i]];
  return {.images = static_cast<int>(ids.size()),
          .labels = labels.data(),
          .image_ids = ids.data(),
          .step = step,
          .source = &data.train,
          .augment = augment,
          .augment_seed = config.seed,
          .epoch = pass};
}

// One reward batch on the shared weights, in train mode (batch statistics), without gradients.
Reward SearchLoop::Impl::Measure(const Program& program, int64_t reward_batch, uint64_t fault_seed,
                                 uint32_t trial, const TrainExecutor::Meanwhile& meanwhile) {
  const TrainBatch batch = Load(reward_walk->At(reward_batch), nullptr, 0, trial);
  std::vector<LaneSpec> lanes(1);
  if (!config.faults.terms.empty()) {
    LaneSpec faulty;
    faulty.faults = &config.faults;
    faulty.seed = fault_seed;
    faulty.moment = {trial, true};
    lanes.push_back(faulty);
  }
  const std::vector<LaneResult> results =
      executor->Run(program, batch, lanes, TrainMode::kForward, meanwhile);
  Reward r;
  r.clean = static_cast<double>(results.front().correct) / batch.images;
  r.fault = static_cast<double>(results.back().correct) / batch.images;
  const double mflops = 2e-6 * static_cast<double>(program.MultiplyAdds());
  if (config.flops_bound > 0)
    r.penalty = config.flops_penalty * std::max(0.0, mflops / config.flops_bound - 1.0);
  r.value =
      (1.0 - config.fault_reward_coeff) * r.clean + config.fault_reward_coeff * r.fault - r.penalty;
  return r;
}

// What Derive asks for; candidates see the same batches under the same faults.
Reward SearchLoop::Impl::MeasureBatches(const Genotype& genotype, int first, int end) {
  const Program program = Build(genotype);
  Reward sum;
  for (int i = first; i < end; ++i) {
    Accumulate(
        Measure(program, i, config.seed ^ kRewardFaults, kDeriveDraw + static_cast<uint32_t>(i)),
        sum);
  }
  return sum;
}

Genotype SearchLoop::Impl::SupernetGenotype(int64_t at) const {
  const auto number = static_cast<uint32_t>(at);
  PhiloxSequence draws(config.seed, Stream::kSearch, number, 1);
  return Warming() ? RandomGenotype(config.space, draws) : strategy->Propose(number);
}

std::vector<LaneSpec> SearchLoop::Impl::SupernetLanes(int64_t at) const {
  return TrainingLanes(config.faults, config.fault_loss_coeff, config.seed,
                       static_cast<uint32_t>(at));
}

void SearchLoop::Impl::GuessNextStep() {
  const Genotype genotype = SupernetGenotype(step + 1);
  guess = Guess{genotype, Build(genotype)};
  executor->Prepare(guess->program, SupernetLanes(step + 1), config.batch);
}

void SearchLoop::Impl::SupernetStep() {
  const auto number = static_cast<uint32_t>(step);
  const Genotype genotype = SupernetGenotype(step);
  const bool guessed = guess && guess->genotype == genotype;
  const Program built = guessed ? Program{} : Build(genotype);
  const Program& program = guessed ? guess->program : built;
  const auto pass = static_cast<uint32_t>(step / StepsPerEpoch());
  const TrainBatch batch = Load(weight_walk->At(step), &config.augment, pass, number);
  const float rate = LearningRate(config.schedule, step, StepsPerEpoch() * config.epochs);
  executor->Step(program, batch, SupernetLanes(step), config.optimizer, rate);
  ++in_flight;
}

// Until at most so many are left to take.
void SearchLoop::Impl::TakeResults(int64_t most) {
  while (auto results = executor->NextResult(in_flight > most)) {
    sums.Add(*results, config.fault_loss_coeff > 0 && !config.faults.terms.empty());
    --in_flight;
  }
}

void SearchLoop::Impl::Propose() {
  const auto number = static_cast<uint32_t>(trace.size());
  // proposals for rewards and for supernet steps are different draws
  const Genotype genotype = strategy->Propose(kRewardDraw + number);
  const Reward r =
      Measure(Build(genotype), static_cast<int64_t>(number), config.seed ^ kRewardFaults,
              static_cast<uint32_t>(step), [this] { GuessNextStep(); });
  strategy->Tell(genotype, r.value);
  trace.push_back(r);
}

SearchLoop::SearchLoop(Device& device, const Dataset& data, ParamStore& params,
                       const SearchConfig& config)
    : impl_(std::make_unique<Impl>(device, data, params, config)) {}
SearchLoop::~SearchLoop() = default;

void SearchLoop::Synchronize() {
  impl_->TakeResults(0);
  impl_->executor->Synchronize();
}

int64_t SearchLoop::Step() const { return impl_->step; }
int64_t SearchLoop::StepsPerEpoch() const { return impl_->StepsPerEpoch(); }
bool SearchLoop::Done() const {
  return impl_->step >= impl_->StepsPerEpoch() * impl_->config.epochs;
}
const EpochSums& SearchLoop::Sums() const { return impl_->sums; }
const std::vector<Reward>& SearchLoop::Trace() const { return impl_->trace; }
Strategy& SearchLoop::GetStrategy() { return *impl_->strategy; }

// Mean of the last `count` rewards.
Reward SearchLoop::Impl::MeanReward(size_t count) const {
  Reward sum;
  for (size_t i = trace.size() - count; i < trace.size(); ++i) Accumulate(trace[i], sum);
  return Mean(sum, std::max<double>(1.0, static_cast<double>(count)));
}

bool SearchLoop::RunEpoch(SearchEpoch* stats,
                          const std::function<bool(int64_t, const EpochSums&)>& progress) {
  Impl& m = *impl_;
  const double start = MonotonicSeconds();
  const int64_t steps = m.StepsPerEpoch();
  const int64_t epoch = m.step / steps;
  const bool warming = m.Warming();
  while (m.step < (epoch + 1) * steps) {
    m.SupernetStep();
    const int64_t position = m.step % steps;
    if (!warming && (position + 1) % m.config.controller_every == 0) m.Propose();
    ++m.step;
    m.TakeResults(position + 1 < steps ? kStepsAhead : 0);
    if (progress && !progress(position + 1, m.sums) && position + 1 < steps) return false;
  }
  const EpochStats summary = Summarise(m.sums, steps, m.config.batch);
  *stats = {};
  stats->epoch = static_cast<int>(epoch) + 1;
  stats->loss = summary.loss;
  stats->accuracy = summary.accuracy;
  stats->fault_accuracy = summary.fault_accuracy;
  stats->images = summary.images;
  stats->proposals = warming ? 0 : static_cast<int>(steps / m.config.controller_every);
  stats->reward = m.MeanReward(static_cast<size_t>(stats->proposals));
  stats->entropy = m.strategy->Entropy();
  stats->seconds = MonotonicSeconds() - start;
  m.sums = {};
  return true;
}

SearchOutcome SearchLoop::Finish() {
  Impl& m = *impl_;
  SearchOutcome outcome;
  const int draws = std::max(m.config.derive_draws, m.config.derive_samples);
  const DerivationOptions options{static_cast<size_t>(draws), m.config.derive_samples,
                                  m.config.derive_batches};
  const auto measure = [&m](const Genotype& g, int first, int end) {
    return m.MeasureBatches(g, first, end);
  };
  const Derivation derived = Derive(m.strategy->Candidates(draws, kDeriveDraw), options, measure);
  outcome.derived = derived.candidates;
  outcome.best = Best(derived.candidates);
  outcome.drawn = derived.drawn;
  outcome.reward_evaluations = std::ssize(m.trace) + derived.evaluations;
  // Random baseline with the same budget: as many on one batch each as the strategy proposed and
  // drew; the best of them as the draws.
  std::vector<Genotype> random;
  for (size_t i = 0; i < m.trace.size() + static_cast<size_t>(draws); ++i) {
    PhiloxSequence numbers(m.config.seed, Stream::kSearch, kRandomDraw + static_cast<uint32_t>(i),
                           2);
    random.push_back(RandomGenotype(m.config.space, numbers));
  }
  const Derivation chance = Derive(random, options, measure);
  FTT_CHECK(chance.evaluations == outcome.reward_evaluations,
            "search: the random baseline took {} reward evaluations, the strategy {}",
            chance.evaluations, outcome.reward_evaluations);
  outcome.random_best = Best(chance.candidates);
  outcome.random_drawn = chance.drawn;
  outcome.collapse_warning = CollapseWarning(outcome.best.genotype);
  return outcome;
}

void SearchLoop::Restore(int64_t step, const EpochSums& sums, std::vector<Reward> trace,
                         const StateDict& strategy) {
  impl_->step = step;
  impl_->sums = sums;
  impl_->trace = std::move(trace);
  impl_->strategy->Import(strategy);
}

}  // namespace ftt
