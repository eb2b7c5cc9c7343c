#include "search/strategy.h"

#include <algorithm>
#include <cmath>
#include <deque>

#include "core/error.h"

namespace ftt {
namespace {

// Block counter word b: what the draws of one step number are for. The search loop itself uses
// small numbers.
constexpr uint32_t kProposal = 0x100, kMutation = 0x101, kCandidate = 0x10000;
// Draws that no search reaches as a step number, for the estimate of the entropy.
constexpr uint32_t kEntropyDraw = 0xFFFFFF00u;
constexpr uint32_t kEntropySamples = 4;
constexpr size_t kArchive = 64;

struct Scored {
  Genotype genotype;
  double reward = 0;
};

void CheckReward(double reward) {
  FTT_CHECK(std::isfinite(reward), "strategy: the reward is not a finite number");
}

// Tensors "genotypes" [n, decisions], "rewards" [n] and "space" [1].
template <typename Container>
StateDict ExportScored(const SearchSpace& space, const Container& members) {
  const auto n = static_cast<int64_t>(members.size());
  StateTensor genotypes{"genotypes", {n, 2 * int64_t{DecisionsPerCell(space)}}, {}};
  StateTensor rewards{"rewards", {n}, {}};
  for (const Scored& s : members) {
    for (const int d : EncodeGenotype(space, s.genotype)) genotypes.values.push_back(d);
    rewards.values.push_back(s.reward);
  }
  return {genotypes, rewards, {"space", {1}, {static_cast<double>(SpaceHash(space))}}};
}

std::vector<Scored> ImportScored(const SearchSpace& space, const StateDict& state, size_t most) {
  FTT_CHECK(FindState(state, "space", {1}).values[0] == static_cast<double>(SpaceHash(space)),
            "search state: it belongs to another search space");
  const int64_t width = 2 * int64_t{DecisionsPerCell(space)};
  const StateTensor& genotypes = FindState(state, "genotypes", {-1, width});
  const StateTensor& rewards = FindState(state, "rewards", {genotypes.shape[0]});
  FTT_CHECK(rewards.values.size() <= most,
            "search state: {} genotypes are more than this strategy keeps ({})",
            rewards.values.size(), most);
  std::vector<Scored> members;
  for (size_t i = 0; i < rewards.values.size(); ++i) {
    const auto first = genotypes.values.begin() + static_cast<int64_t>(i) * width;
    const std::vector<int> decisions(first, first + width);
    members.push_back({DecodeGenotype(space, decisions), rewards.values[i]});
  }
  return members;
}

// Best first; equal rewards keep their order; a genotype counts once, with its best reward.
template <typename Container>
std::vector<Genotype> BestDistinct(const Container& members, size_t n) {
  std::vector<Scored> sorted(members.begin(), members.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Scored& a, const Scored& b) { return a.reward > b.reward; });
  std::vector<Genotype> best;
  for (const Scored& s : sorted) {
    if (best.size() == n) break;
    if (std::find(best.begin(), best.end(), s.genotype) == best.end()) best.push_back(s.genotype);
  }
  return best;
}

class ReinforceStrategy : public Strategy {
 public:
  ReinforceStrategy(const SearchSpace& space, uint64_t seed, const ControllerOptions& options)
      : decisions_(2 * DecisionsPerCell(space)), controller_(space, options, seed) {}

  Genotype Propose(uint32_t step) const override { return controller_.Sample(step).genotype; }

  void Tell(const Genotype& genotype, double reward) override {
    controller_.Reinforce(genotype, reward);
  }

  std::vector<Genotype> Candidates(int n, uint32_t draw) const override {
    std::vector<Genotype> result;
    for (int i = 0; i < n; ++i) {
      result.push_back(controller_.Sample(draw, 1 + static_cast<uint32_t>(i)).genotype);
    }
    return result;
  }

  // The policy's entropy is a mean over its own samples; a few fixed ones estimate it.
  double Entropy() const override {
    double sum = 0;
    for (uint32_t i = 0; i < kEntropySamples; ++i) {
      sum += controller_.Sample(kEntropyDraw + i).entropy;
    }
    return sum / kEntropySamples / decisions_;
  }

  StateDict Export() const override { return controller_.Export(); }
  void Import(const StateDict& state) override { controller_.Import(state); }

 private:
  int decisions_;
  Controller controller_;
};

class RandomStrategy : public Strategy {
 public:
  RandomStrategy(const SearchSpace& space, uint64_t seed) : space_(space), seed_(seed) {
    CheckSpace(space);
  }

  Genotype Propose(uint32_t step) const override {
    PhiloxSequence draws(seed_, Stream::kSearch, step, kProposal);
    return RandomGenotype(space_, draws);
  }

  void Tell(const Genotype& genotype, double reward) override {
    CheckReward(reward);
    EncodeGenotype(space_, genotype);
    const auto better = [&](const Scored& s) { return s.reward < reward; };
    const auto at = std::find_if(best_.begin(), best_.end(), better);
    best_.insert(at, {genotype, reward});
    if (best_.size() > kArchive) best_.pop_back();
  }

  std::vector<Genotype> Candidates(int n, uint32_t draw) const override {
    std::vector<Genotype> result = BestDistinct(best_, static_cast<size_t>(n));
    for (uint32_t i = 0; result.size() < static_cast<size_t>(n); ++i) {
      PhiloxSequence draws(seed_, Stream::kSearch, draw, kCandidate + i);
      result.push_back(RandomGenotype(space_, draws));
    }
    return result;
  }

  double Entropy() const override { return UniformEntropy(space_); }
  StateDict Export() const override { return ExportScored(space_, best_); }
  void Import(const StateDict& state) override { best_ = ImportScored(space_, state, kArchive); }

 private:
  SearchSpace space_;
  uint64_t seed_;
  std::vector<Scored> best_;  // by falling reward
};

class EvolutionStrategy : public Strategy {
 public:
  EvolutionStrategy(const SearchSpace& space, uint64_t seed, const EvolutionOptions& options)
      : space_(space), seed_(seed), options_(options) {
    CheckSpace(space);
    FTT_CHECK(options.population >= 2, "evolution: population is {}; it must be 2 or above",
              options.population);
    FTT_CHECK(options.tournament >= 1 && options.tournament <= options.population,
              "evolution: tournament is {}; allowed is 1 to the population, {}", options.tournament,
              options.population);
  }

  Genotype Propose(uint32_t step) const override {
    if (population_.size() < static_cast<size_t>(options_.population)) {
      PhiloxSequence draws(seed_, Stream::kSearch, step, kProposal);
      return RandomGenotype(space_, draws);
    }
    PhiloxSequence draws(seed_, Stream::kSearch, step, kMutation);
    return Child(draws);
  }

  void Tell(const Genotype& genotype, double reward) override {
    CheckReward(reward);
    EncodeGenotype(space_, genotype);
    population_.push_back({genotype, reward});
    if (population_.size() > static_cast<size_t>(options_.population)) population_.pop_front();
  }

  std::vector<Genotype> Candidates(int n, uint32_t draw) const override {
    std::vector<Genotype> result = BestDistinct(population_, static_cast<size_t>(n));
    for (uint32_t i = 0; result.size() < static_cast<size_t>(n); ++i) {
      PhiloxSequence draws(seed_, Stream::kSearch, draw, kCandidate + i);
      result.push_back(population_.empty() ? RandomGenotype(space_, draws) : Child(draws));
    }
    return result;
  }

  // Of the living population, decision by decision.
  double Entropy() const override {
    if (population_.empty()) return UniformEntropy(space_);
    const auto decisions = static_cast<size_t>(2 * DecisionsPerCell(space_));
    std::vector<std::vector<int>> rows;
    for (const Scored& s : population_) rows.push_back(EncodeGenotype(space_, s.genotype));
    double sum = 0;
    for (size_t d = 0; d < decisions; ++d) {
      const int options = OptionsOf(space_, static_cast<int>(d) % DecisionsPerCell(space_));
      std::vector<double> counts(static_cast<size_t>(options), 0.0);
      for (const auto& row : rows) counts[static_cast<size_t>(row[d])] += 1;
      for (const double c : counts) {
        const double p = c / static_cast<double>(rows.size());
        if (p > 0) sum -= p * std::log(p);
      }
    }
    return sum / static_cast<double>(decisions);
  }

  StateDict Export() const override { return ExportScored(space_, population_); }
  void Import(const StateDict& state) override {
    const auto members = ImportScored(space_, state, static_cast<size_t>(options_.population));
    population_.assign(members.begin(), members.end());
  }

 private:
  Genotype Child(PhiloxSequence& draws) const {
    const auto size = static_cast<uint32_t>(population_.size());
    const Scored* parent = nullptr;
    for (int i = 0; i < options_.tournament; ++i) {
      const Scored& rival = population_[draws.Below(size)];
      if (parent == nullptr || rival.reward > parent->reward) parent = &rival;
    }
    return MutateGenotype(space_, parent->genotype, draws);
  }

  SearchSpace space_;
  uint64_t seed_;
  EvolutionOptions options_;
  std::deque<Scored> population_;  // oldest first
};

}  // namespace

std::unique_ptr<Strategy> MakeReinforceStrategy(const SearchSpace& space, uint64_t seed,
                                                const ControllerOptions& options) {
  return std::make_unique<ReinforceStrategy>(space, seed, options);
}

std::unique_ptr<Strategy> MakeRandomStrategy(const SearchSpace& space, uint64_t seed) {
  return std::make_unique<RandomStrategy>(space, seed);
}

std::unique_ptr<Strategy> MakeEvolutionStrategy(const SearchSpace& space, uint64_t seed,
                                                const EvolutionOptions& options) {
  return std::make_unique<EvolutionStrategy>(space, seed, options);
}

const std::vector<StrategyEntry>& Strategies() {
  static const std::vector<StrategyEntry> table = {
      {"reinforce", "LSTM controller trained by REINFORCE (the reference's)"},
      {"random", "uniform genotypes, the best of those rewarded"},
      {"evolution", "regularized evolution, population 50, tournament 10"},
  };
  return table;
}

std::unique_ptr<Strategy> MakeStrategy(const std::string& name, const SearchSpace& space,
                                       uint64_t seed) {
  if (name == "reinforce") return MakeReinforceStrategy(space, seed);
  if (name == "random") return MakeRandomStrategy(space, seed);
  if (name == "evolution") return MakeEvolutionStrategy(space, seed);
  std::string known;
  for (const StrategyEntry& entry : Strategies()) {
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  Fail("unknown strategy '{}'; known: {}", name, known);
}

}  // namespace ftt
