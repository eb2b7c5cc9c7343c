// Nodes: sums and concatenations of codes, with their exponents.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

inline constexpr int kMaxSumInputs = 8;

struct SumOperand {
  const int8_t* codes = nullptr;  // [lanes][Pixels()][padded channels]
  const int* exponent = nullptr;  // [lanes], device memory
  int channels = 0;               // for a concatenation
  bool relu = false;
};

struct SumArguments {
  MapShape shape;  // of the output
  int bits = 8;
  SumOperand inputs[kMaxSumInputs];
  int count = 0;
  int* exponent = nullptr;     // [lanes], device memory; see the functions
  int32_t* largest = nullptr;  // Add with derived exponents: [lanes][SumBlocks()] scratch
  SiteFaultsView faults;
  int8_t* codes = nullptr;  // out
  uint8_t* mask = nullptr;  // out; null: not wanted (Add only)
};

// Blocks per lane of the pass that looks for the largest sum.
int SumBlocks(const MapShape& shape);
// Sum of the inputs, aligned to the smallest exponent. With `largest` the output's exponent is
// derived from this batch and written, else it is given. Throws ftt::Error on more than
// kMaxSumInputs.
void Add(const SumArguments& arguments, DeviceStream stream);
// Concatenation along channels, requantized to the largest exponent of the inputs, which is
// written, or where `fixed_exponent` to the given one.
void Concat(const SumArguments& arguments, bool fixed_exponent, DeviceStream stream);

}  // namespace ftt::cuda
