#include "search/derivation.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace ftt {
namespace {

struct Contender {
  Genotype genotype;
  Reward sum;  // over the first `batches` reward batches
  int batches = 0;
};

// The best ones, in the order they were in; the earlier of equals.
void Keep(size_t count, std::vector<Contender>& contenders) {
  if (contenders.size() <= count) return;
  std::vector<size_t> order(contenders.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t i, size_t j) {
    const Contender &a = contenders[i], &b = contenders[j];
    return a.sum.value / a.batches > b.sum.value / b.batches;
  });
  order.resize(count);
  std::sort(order.begin(), order.end());
  std::vector<Contender> kept;
  for (const size_t i : order) kept.push_back(std::move(contenders[i]));
  contenders = std::move(kept);
}

}  // namespace

void Accumulate(const Reward& r, Reward& sum) {
  sum.clean += r.clean;
  sum.fault += r.fault;
  sum.penalty += r.penalty;
  sum.value += r.value;
}

Reward Mean(const Reward& sum, double count) {
  return {sum.clean / count, sum.fault / count, sum.penalty / count, sum.value / count};
}

Derivation Derive(const std::vector<Genotype>& draws, const DerivationOptions& o,
                  const MeasureBatches& measure) {
  FTT_CHECK(!draws.empty() && o.kept >= 1 && o.samples >= 1 && o.batches >= 1,
            "derivation needs at least one draw, one sample and one batch");
  Derivation result;
  std::vector<Contender> contenders;
  const auto measure_up_to = [&](Contender& c, int batches) {
    if (c.batches >= batches) return;
    Accumulate(measure(c.genotype, c.batches, batches), c.sum);
    result.evaluations += batches - c.batches;
    c.batches = batches;
  };
  for (const Genotype& g : draws) {
    Contender& c = contenders.emplace_back(Contender{g, {}, 0});
    measure_up_to(c, 1);
    Accumulate(c.sum, result.drawn);
  }
  result.drawn = Mean(result.drawn, static_cast<double>(draws.size()));
  Keep(o.kept, contenders);

  const auto samples = static_cast<size_t>(o.samples);
  int rounds = 0;
  while ((samples << rounds) < contenders.size()) ++rounds;
  for (; rounds > 0; --rounds) {
    for (Contender& c : contenders) measure_up_to(c, o.batches >> rounds);
    Keep(std::max(samples, (contenders.size() + 1) / 2), contenders);
  }
  for (Contender& c : contenders) {
    measure_up_to(c, o.batches);
    result.candidates.push_back({c.genotype, Mean(c.sum, c.batches)});
  }
  return result;
}

const Candidate& Best(const std::vector<Candidate>& candidates) {
  return *std::max_element(
      candidates.begin(), candidates.end(),
      [](const Candidate& a, const Candidate& b) { return a.reward.value < b.reward.value; });
}

}  // namespace ftt
