// A convolution's output the usual way, a kernel and a pass over memory for each operation: batch
// norm, largest magnitude, codes, faults, ReLU. What `ftt-cuda bench kernels` measures fusion
// against; no network runs on it.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

// How the convolution's output is stored.
enum class RawNumber : uint8_t { kHalf, kFloat, kInt32 };

struct UnfusedArguments {
  MapShape shape;  // one lane
  int bits = 8;
  RawNumber raw_type = RawNumber::kHalf;
  const void* raw = nullptr;  // [Pixels()][Stride()], pads 0
  float raw_unit = 1;         // real value of a raw 1
  // Scratch.
  float* sums = nullptr;       // [UnfusedBlocks()][2][Stride()]
  float* affine = nullptr;     // [2][Stride()]
  void* normalized = nullptr;  // [Pixels()][Stride()] in half precision
  float* largest = nullptr;    // [UnfusedBlocks()]
  SiteFaultsView faults;
  int* exponent = nullptr;      // out: one
  int8_t* codes = nullptr;      // out: [Pixels()][Stride()]
  int8_t* rectified = nullptr;  // out: the same after ReLU
};

int UnfusedBlocks(const MapShape& shape);
// Throws ftt::Error on more than one lane or too many channels.
void Unfused(const UnfusedArguments& arguments, DeviceStream stream);

}  // namespace ftt::cuda
