// Clip and SGD over all parameters of a step: the norm of the whole gradient in one pass, the
// update in another.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace ftt::cuda {

// A run of consecutive parameters, at most kSgdChunk, and their momentum and gradient.
inline constexpr int kSgdChunk = 4096;
struct SgdChunk {
  float* value = nullptr;
  float* velocity = nullptr;
  float* gradient = nullptr;
  int count = 0;
};

struct SgdArguments {
  const SgdChunk* chunks = nullptr;  // [count], device memory
  int count = 0;
  float rate = 0;
  float momentum = 0.9f;
  bool nesterov = false;
  float weight_decay = 0;
  float clip = 0;              // largest L2 norm of the whole gradient; 0: off
  double* partials = nullptr;  // scratch: [count]
  double* norm = nullptr;      // out: the gradient's norm before clipping
};

// engine/optimizer.cc on the device; where the norm is not finite, nothing is updated (the caller
// sees it in `norm`).
void SgdStep(const SgdArguments& arguments, DeviceStream stream);

}  // namespace ftt::cuda
