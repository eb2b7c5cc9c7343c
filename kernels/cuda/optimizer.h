// Clip and update of all parameters of a step: the norm of the whole gradient in one pass, SGD or
// Adam in another.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace ftt::cuda {

// A run of consecutive parameters, at most kUpdateChunk, with their state and gradient.
inline constexpr int kUpdateChunk = 4096;
struct UpdateChunk {
  float* value = nullptr;
  float* momentum = nullptr;
  float* second_moment = nullptr;  // Adam only
  const float* gradient = nullptr;
  int count = 0;
  float correction1 = 1, correction2 = 1;  // Adam only, see CorrectionsOf in engine/optimizer.h
};

struct UpdateArguments {
  const UpdateChunk* chunks = nullptr;  // [count], device memory
  int count = 0;
  const float* rate = nullptr;  // one, device memory
  float weight_decay = 0;
  float clip = 0;              // largest L2 norm of the whole gradient; 0: off
  double* partials = nullptr;  // scratch: [count]
  double* norm = nullptr;      // out: the gradient's norm before clipping
};

struct SgdArguments {
  UpdateArguments update;
  float momentum = 0.9f;
  bool nesterov = false;
};

struct AdamArguments {
  UpdateArguments update;
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
};

// engine/optimizer.cc on the device; where the norm is not finite, nothing is updated (the caller
// sees it in `norm`).
void SgdStep(const SgdArguments& arguments, DeviceStream stream);
void AdamStep(const AdamArguments& arguments, DeviceStream stream);

}  // namespace ftt::cuda
