// Operands of the benchmarks of kernels, and what their results are compared with.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

// Random codes in [low, high], which repeat after a while: the host draws slowly.
std::vector<int8_t> BenchCodes(int64_t n, int low, int high, uint64_t seed);

// Rows of `from` values -> rows of `to`, cut or padded with zeros.
template <typename T>
std::vector<T> ResizeRows(const std::vector<T>& rows, int from, int to) {
  const size_t count = rows.size() / static_cast<size_t>(from);
  std::vector<T> out(count * static_cast<size_t>(to));
  for (size_t r = 0; r < count; ++r)
    std::copy_n(rows.data() + r * static_cast<size_t>(from), std::min(from, to),
                out.data() + r * static_cast<size_t>(to));
  return out;
}
// Rows of `channels` values, dense -> padded with zeros to whole vectors.
template <typename T>
std::vector<T> PadRows(const std::vector<T>& dense, int channels) {
  return ResizeRows(dense, channels, PaddedChannels(channels));
}
// The inverse.
template <typename T>
std::vector<T> DenseRows(const std::vector<T>& padded, int channels) {
  return ResizeRows(padded, PaddedChannels(channels), channels);
}

// In half precision, exactly.
std::vector<uint16_t> Halves(const std::vector<int8_t>& codes);
// What half precision keeps of an accumulator, whatever power of two it is stored in: eleven
// significant bits, ties to even.
int32_t RoundToHalf(int32_t acc);

// A random affine map that spreads accumulators over the codes.
LaneNorm BenchNorm(const std::vector<int32_t>& acc, int channels, uint64_t seed);

// The largest difference of two lists of codes and the share of codes that differ.
struct CodeDifference {
  int largest = 0;
  double share = 0;
  bool Within(int most, double most_share) const { return largest <= most && share <= most_share; }
  std::string Text() const;  // e.g. "0.12 % of codes differ, by 1 at most"
};
CodeDifference Compare(const std::vector<int8_t>& a, const std::vector<int8_t>& b);

}  // namespace ftt::cuda
