// How a search ends: from many genotypes to a few well measured candidates.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/genotype.h"

namespace ftt {

struct Reward {
  double clean = 0, fault = 0;  // accuracies
  double penalty = 0;
  double value = 0;
};

void Accumulate(const Reward& r, Reward& sum);
Reward Mean(const Reward& sum, double count);

struct Candidate {
  Genotype genotype;
  Reward reward;
};

struct DerivationOptions {
  size_t kept = 64;  // best draws of the first batch that go on
  int samples = 8;   // candidates at the end
  int batches = 8;   // reward batches that each of them is measured on
};

struct Derivation {
  std::vector<Candidate> candidates;  // in the order of their draw
  Reward drawn;                       // mean of all draws on the first batch
  int64_t evaluations = 0;            // reward batches spent
};

// The sum of a genotype's rewards on the reward batches [first, end); the same images and faults
// for every genotype.
using MeasureBatches = std::function<Reward(const Genotype&, int first, int end)>;

// All draws on the first batch, the best go on; then sequential halving (Karnin et al., ICML'13):
// every round doubles the batches and drops the worse half, so that those left are measured on all.
// The cost depends on the numbers of draws and of those kept alone.
Derivation Derive(const std::vector<Genotype>& draws, const DerivationOptions& options,
                  const MeasureBatches& measure);

// The one of the highest reward, the earliest of equals. candidates: not empty.
const Candidate& Best(const std::vector<Candidate>& candidates);

}  // namespace ftt
