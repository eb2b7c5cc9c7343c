// How a search chooses genotypes: propose, be told rewards, name candidates for the end.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/genotype.h"
#include "search/controller.h"
#include "search/space.h"
#include "search/state.h"

namespace ftt {

// Strategies are deterministic: what they return depends on the construction, on what they were
// told so far, and on the step or draw number. All that they were told is in Export(), so a resumed
// search proposes the same genotypes.
class Strategy {
 public:
  virtual ~Strategy() = default;

  // The proposal of that number. Does not change the strategy; asking twice gives the same answer.
  virtual Genotype Propose(uint32_t step) const = 0;
  // The reward (higher is better) of a proposed genotype. Throws ftt::Error where it is not finite
  // or the genotype is not in the space.
  virtual void Tell(const Genotype& genotype, double reward) = 0;
  // `n` genotypes from which the search derives its result, n >= 1; `draw` numbers the random part.
  virtual std::vector<Genotype> Candidates(int n, uint32_t draw) const = 0;
  // Mean entropy of a decision in nats, between 0 (always the same genotype) and
  // UniformEntropy(space).
  virtual double Entropy() const = 0;

  virtual StateDict Export() const = 0;
  // Throws ftt::Error, and changes nothing, where the state is of another strategy, space or other
  // options.
  virtual void Import(const StateDict& state) = 0;
};

// Samples of a Controller, which every Tell trains. Candidates are fresh samples.
std::unique_ptr<Strategy> MakeReinforceStrategy(const SearchSpace& space, uint64_t seed,
                                                const ControllerOptions& options = {});

// Uniform genotypes. Candidates are the best of those told (at most 64 are kept), then fresh ones.
std::unique_ptr<Strategy> MakeRandomStrategy(const SearchSpace& space, uint64_t seed);

struct EvolutionOptions {
  int population = 50;  // >= 2
  int tournament = 10;  // drawn with replacement, 1 to population
};
// Regularized evolution (Real et al., AAAI'19): uniform genotypes until the population is full,
// then a mutation of the best of a tournament; the oldest dies. Candidates are the best of the
// living, then fresh mutations.
std::unique_ptr<Strategy> MakeEvolutionStrategy(const SearchSpace& space, uint64_t seed,
                                                const EvolutionOptions& options = {});

struct StrategyEntry {
  const char* name;
  const char* help;  // one line
};
// reinforce, random, evolution.
const std::vector<StrategyEntry>& Strategies();

// A strategy by name, with default options. Throws ftt::Error on an unknown name or a bad space.
std::unique_ptr<Strategy> MakeStrategy(const std::string& name, const SearchSpace& space,
                                       uint64_t seed);

}  // namespace ftt
