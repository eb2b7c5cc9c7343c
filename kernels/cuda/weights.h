// Float weights -> codes with their faults, for all tensors of a network at once.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

// Blocks take parts of tensors: at most so many weights from a multiple of it on.
inline constexpr int kWeightChunk = 4096;
FTT_HD constexpr int WeightChunks(int n) { return DivideUp(n, kWeightChunk); }

// One tensor, in device memory. With faults there is a copy for each lane, else one.
struct WeightTensor {
  const float* value = nullptr;  // [n]
  int n = 0;
  int copies = 1;
  int8_t* codes = nullptr;   // out: [copies][n]
  uint8_t* keep = nullptr;   // out, nullable: [copies][n], 1 where the gradient passes
  int* exponent = nullptr;   // out: one, of the weights before faults
  float* largest = nullptr;  // scratch: [WeightChunks(n)]
  const LaneFaultSteps* faults = nullptr;  // [copies], or null
};

struct WeightChunk {
  int tensor = 0, first = 0;
};

struct WeightArguments {
  const WeightTensor* tensors = nullptr;  // [count], device memory
  int count = 0;
  const WeightChunk* chunks = nullptr;  // [chunk_count], device memory: every tensor from 0 to n
  int chunk_count = 0;
  int copies = 1;  // the most of any tensor
  int bits = 8;
  bool collects = false;           // see SiteFaultsView
  const uint32_t* zero = nullptr;  // a zero in device memory, the image id of weights
};

// As QuantizeWeights and ApplyWeightFaults of engine/weights.h.
void QuantizeWeights(const WeightArguments& arguments, DeviceStream stream);

}  // namespace ftt::cuda
