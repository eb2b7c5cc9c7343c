// Division by a number that the host knows before the launch. A division by a variable is a chain
// of some twenty instructions, which every block of a small kernel would go through before its
// first load.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace ftt::cuda {

// Quotients by `divisor` >= 1 as a product, a sum and a shift (Granlund, Montgomery: Division by
// Invariant Integers using Multiplication, PLDI 1994).
class Divider {
 public:
  Divider() = default;
  explicit Divider(int divisor) : divisor_(divisor) {
    while (int64_t{1} << shift_ < divisor) ++shift_;
    const uint64_t beyond = (uint64_t{1} << shift_) - static_cast<uint64_t>(divisor);
    magic_ = static_cast<uint32_t>((beyond << 32) / static_cast<uint64_t>(divisor) + 1);
  }
  FTT_HD int Divisor() const { return divisor_; }
  // Of 0 .. 2^31 - 1.
  FTT_HD int operator()(int value) const {
    const auto v = static_cast<uint32_t>(value);
    const auto high = static_cast<uint32_t>(uint64_t{magic_} * v >> 32);
    return static_cast<int>((high + v) >> shift_);
  }

 private:
  int divisor_ = 1;
  uint32_t magic_ = 1;
  int shift_ = 0;
};

}  // namespace ftt::cuda
