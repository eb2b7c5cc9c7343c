#include "data/split.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/philox.h"

namespace ftt {
namespace {

// Second name of a sequence: what the permutation is for.
constexpr uint32_t kForEpoch = 0, kForSplit = 1, kForSubset = 2;

void Shuffle(std::vector<uint32_t>* values, PhiloxSequence* random) {
  for (size_t i = values->size(); i > 1; --i) {
    std::swap((*values)[i - 1], (*values)[random->Below(static_cast<uint32_t>(i))]);
  }
}

std::vector<uint32_t> Permutation(int64_t n, PhiloxSequence random) {
  FTT_CHECK(n >= 0 && n < (int64_t{1} << 32), "cannot shuffle {} images", n);
  std::vector<uint32_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0u);
  Shuffle(&order, &random);
  return order;
}

}  // namespace

std::vector<uint32_t> EpochOrder(int64_t n, uint64_t seed, uint32_t epoch) {
  return Permutation(n, PhiloxSequence(seed, Stream::kShuffle, epoch, kForEpoch));
}

Split SplitTrain(int64_t n, double first_fraction, uint64_t seed) {
  FTT_CHECK(first_fraction >= 0 && first_fraction <= 1,
            "cannot split the training images: fraction {} is outside [0, 1]", first_fraction);
  const std::vector<uint32_t> order =
      Permutation(n, PhiloxSequence(seed, Stream::kShuffle, 0, kForSplit));
  const auto middle =
      order.begin() + static_cast<int64_t>(std::rint(static_cast<double>(n) * first_fraction));
  Split split{{order.begin(), middle}, {middle, order.end()}};
  std::sort(split.first.begin(), split.first.end());
  std::sort(split.second.begin(), split.second.end());
  return split;
}

std::vector<uint32_t> BalancedSubset(const std::vector<uint8_t>& labels, int64_t count,
                                     uint64_t seed) {
  FTT_CHECK(count >= 0 && count <= static_cast<int64_t>(labels.size()),
            "cannot take {} of {} images", count, labels.size());
  std::array<std::vector<uint32_t>, 256> members;
  for (size_t i = 0; i < labels.size(); ++i) members[labels[i]].push_back(static_cast<uint32_t>(i));
  for (size_t label = 0; label < members.size(); ++label) {
    PhiloxSequence random(seed, Stream::kShuffle, static_cast<uint32_t>(label), kForSubset);
    Shuffle(&members[label], &random);
  }
  std::vector<uint32_t> subset;
  for (size_t round = 0; subset.size() < static_cast<size_t>(count); ++round) {
    for (const auto& indices : members) {
      if (round < indices.size() && subset.size() < static_cast<size_t>(count)) {
        subset.push_back(indices[round]);
      }
    }
  }
  return subset;
}

}  // namespace ftt
