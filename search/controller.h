// The REINFORCE controller of the search: one LSTM per cell kind, trained by the rewards of the
// genotypes it proposes.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/genotype.h"
#include "search/controller_net.h"
#include "search/space.h"
#include "search/state.h"

namespace ftt {

struct ControllerSample {
  Genotype genotype;
  double log_prob = 0;  // of the whole genotype, in nats
  double entropy = 0;   // sum over its decisions' distributions, in nats
};

// Throws ftt::Error that names the field out of range.
void Validate(const ControllerOptions& options);

// What it keeps between calls saves time only: everything but (space, options, seed) is in
// Export(), so that a controller that imported a state goes on exactly as the one that exported it.
class Controller {
 public:
  Controller(const SearchSpace& space, const ControllerOptions& options, uint64_t seed);

  // A draw from the policy: a pure function of (parameters, seed, draw, variant).
  ControllerSample Sample(uint32_t draw, uint32_t variant = 0) const;
  // The most likely choice at every decision, one after the other.
  Genotype Greedy() const;

  // Under the current parameters. Entropy is that of the distributions along the genotype's
  // decisions. Both throw ftt::Error where the genotype is not in the space.
  double LogProb(const Genotype& genotype) const;
  double Entropy(const Genotype& genotype) const;

  // One Adam step on -(reward - baseline) * LogProb - entropy_coeff * Entropy. The baseline, a
  // moving average, starts at the first reward and takes up this one after the step, as in the
  // reference. Throws where `reward` is not finite or the genotype is not in the space.
  void Reinforce(const Genotype& genotype, double reward);
  void Reinforce(const ControllerSample& sample, double reward) {
    Reinforce(sample.genotype, reward);
  }
  double Baseline() const { return baseline_; }

  // Parameters ("normal.lstm.input", ...), Adam moments (".adam.m", ".adam.v"), "adam.step",
  // "baseline" and "space".
  StateDict Export() const;
  // Throws ftt::Error, and changes nothing, where the state is of another space or of other
  // options.
  void Import(const StateDict& state);

 private:
  struct Moments {
    std::vector<double> m, v;
  };
  // The LSTMs' steps towards a genotype under the current parameters.
  struct Path {
    std::vector<int> decisions;
    std::vector<ControllerStep> steps[2];
  };
  std::vector<ControllerStep> Replay(int cell, const std::vector<int>& decisions) const;
  ControllerSample Draw(const std::vector<ControllerNet::Chooser>& choosers) const;
  void AdamStep();
  void PrepareTables();

  SearchSpace space_;
  ControllerOptions options_;
  uint64_t seed_;
  std::vector<ControllerNet> nets_;  // normal, reduce
  ControllerTables tables_[2];
  // The last two: the reward of one of them often comes before the parameters change.
  mutable Path drawn_[2];
  std::vector<Moments> adam_;
  std::vector<double> gradients_[2];  // of the loss; kept between steps only for their memory
  int64_t adam_step_ = 0;
  bool has_baseline_ = false;
  double baseline_ = 0;
};

}  // namespace ftt
