// Orders and subsets of image indices. All are pure functions of their arguments, drawn from stream
// kShuffle.
#pragma once

#include <cstdint>
#include <vector>

namespace ftt {

// A uniformly random permutation of 0..n-1 for one epoch (Fisher-Yates). 0 <= n < 2^32.
std::vector<uint32_t> EpochOrder(int64_t n, uint64_t seed, uint32_t epoch);

struct Split {
  std::vector<uint32_t> first, second;  // ascending, disjoint; together 0..n-1
};

// Splits 0..n-1 at random, round(n * first_fraction) into the first part. Throws unless
// first_fraction is in [0, 1].
Split SplitTrain(int64_t n, double first_fraction, uint64_t seed);

// `count` indices with the classes in equal numbers (as far as there are enough of each; one more
// of some where count is no multiple), in a random order that goes round the classes. A smaller
// subset of the same seed is a prefix of a larger one. Throws unless 0 <= count <= labels.size().
std::vector<uint32_t> BalancedSubset(const std::vector<uint8_t>& labels, int64_t count,
                                     uint64_t seed);

}  // namespace ftt
