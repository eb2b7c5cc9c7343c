// ReLU of four codes in a word.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"

namespace ftt::cuda {

// max(code, 0) where it is on. The selector of a byte permutation decides: signs of the codes, or
// zeros. With a mask the compiler would select first, one instruction more for every word.
class Relu {
 public:
  __device__ __forceinline__ explicit Relu(bool on) : selector_(on ? 0xBA98u : 0x4444u) {}
  __device__ __forceinline__ uint32_t operator()(uint32_t codes) const {
    return codes & ~BytePermute(codes, kOnes, selector_);
  }
  // Of codes that count only where `mask` has ones: no instruction more.
  __device__ __forceinline__ uint32_t operator()(uint32_t codes, uint32_t mask) const {
    return codes & ~BytePermute(codes, kOnes, selector_) & mask;
  }
  // The same, or 0 for all codes where they do not count.
  __device__ __forceinline__ Relu If(bool counts) const {
    return Relu(counts ? selector_ : 0x7777u);
  }

 private:
  static constexpr uint32_t kOnes = 0xFF000000u;  // bytes 4 to 6 are zeros, byte 7 ones

  __device__ __forceinline__ explicit Relu(uint32_t selector) : selector_(selector) {}

  uint32_t selector_;
};

// Of codes that have had theirs, or want none.
struct NoRelu {
  __device__ __forceinline__ uint32_t operator()(uint32_t codes) const { return codes; }
};

}  // namespace ftt::cuda
