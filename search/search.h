// The search loop: a supernet trained with faults, rewards under faults, a strategy that proposes
// genotypes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/augment.h"
#include "data/dataset.h"
#include "engine/genotype.h"
#include "engine/networks/cell.h"
#include "engine/optimizer.h"
#include "engine/trainer.h"
#include "search/derivation.h"
#include "search/space.h"
#include "search/strategy.h"

namespace ftt {

struct SearchConfig {
  SearchSpace space;
  CellNetOptions network;  // init channels, cells, stem, preprocess, dropout
  FaultSpec faults;
  double fault_loss_coeff = 0.0;    // 0: FT-NAS (faults in the reward only); above: FTT-NAS
  double fault_reward_coeff = 0.5;  // reward = (1 - c) * acc_clean + c * acc_fault
  double flops_bound = 0;           // MFLOPs (2 x multiply-adds) that cost nothing; 0: no bound
  double flops_penalty = 0;         // reward -= penalty * max(0, MFLOPs / bound - 1)
  std::string strategy = "reinforce";
  double controller_lr = 0.001;  // reinforce: Adam's learning rate
  int epochs = 10;               // >= 1
  int warmup_epochs = 1;         // supernet only, uniform genotypes
  int batch = 64;
  int controller_every = 4;  // one proposal is rewarded after every n supernet steps
  double weight_fraction =
      0.8;  // of the training images: train weights; the rest rewards proposals
  // Derivation: of derive_draws genotypes that the strategy names (at least derive_samples),
  // sequential halving leaves derive_samples, which are measured on derive_batches reward batches.
  // As many draws as samples, as in the paper: nothing to halve.
  int derive_draws = 8;
  int derive_samples = 8;
  int derive_batches = 8;
  OptimizerOptions optimizer;
  Schedule schedule;
  AugmentOptions augment;
  int bits = 8;
  uint64_t seed = 1;
  int64_t limit = 0;  // training images; 0: all
};
void Validate(const SearchConfig& config);

struct SearchEpoch {
  int epoch = 0;                                      // 1-based
  double loss = 0, accuracy = 0, fault_accuracy = 0;  // of the supernet
  Reward reward;                                      // mean over the epoch's proposals
  int proposals = 0;
  double entropy = 0;
  double seconds = 0;
  int64_t images = 0;
};

struct SearchOutcome {
  Candidate best;
  std::vector<Candidate> derived;  // the strategy's candidates, in the order of their draw
  Candidate random_best;           // best of as many reward evaluations spent on random genotypes
  int64_t reward_evaluations = 0;  // batches spent on each side
  // Mean reward on one batch, the same for all, of all draws of either side: whether the strategy
  // has learnt anything.
  Reward drawn, random_drawn;
  std::string collapse_warning;  // empty, or why the best genotype looks collapsed
};

class SearchLoop {
 public:
  SearchLoop(Device& device, const Dataset& data, ParamStore& params, const SearchConfig& config);
  ~SearchLoop();

  int64_t Step() const;  // supernet steps done so far
  int64_t StepsPerEpoch() const;
  bool Done() const;
  const EpochSums& Sums() const;  // of the epoch in progress; complete after Synchronize
  // Brings the parameters and Sums up to date with all steps.
  void Synchronize();
  // The rest of the current epoch: supernet steps with interleaved rewards. progress: steps done in
  // this epoch and its sums; returns false to stop there. Returns false if stopped before the
  // epoch's end.
  bool RunEpoch(SearchEpoch* stats,
                const std::function<bool(int64_t, const EpochSums&)>& progress = nullptr);
  // Derivation and the random baseline.
  SearchOutcome Finish();
  // Rewards of all proposals so far, in order.
  const std::vector<Reward>& Trace() const;
  Strategy& GetStrategy();
  // Resume: everything besides the parameters.
  void Restore(int64_t step, const EpochSums& sums, std::vector<Reward> trace,
               const StateDict& strategy);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ftt
