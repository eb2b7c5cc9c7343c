// Elementwise backward passes. Gradients are bfloat16 with respect to real values, laid out like
// codes: [lanes][Pixels()][Stride()]; pads are written as 0. Sums and products are float32, rounded
// once where they are stored.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/gradient.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/sum.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

// Sums of one channel: of the gradient, and of the gradient times the stored value.
struct alignas(16) GradSums {
  double grad, grad_raw;
};

struct NormBackwardArguments {
  MapShape shape;  // at most 2048 channels
  RawType raw_type = RawType::kInt32;
  int raw_shift = 0;
  const void* raw = nullptr;
  const float* mean = nullptr;     // [lanes][Stride()], as FinishNorm wrote it; null: no batch norm
  const float* inv_std = nullptr;  // [lanes][Stride()]
  const float* unit = nullptr;     // [lanes]
  const float* gamma = nullptr;    // [channels]; null: 1
  bool frozen = false;             // mean and inv_std are constants
  const uint8_t* mask = nullptr;   // null: everything passes
  Bf16* grad = nullptr;            // of the codes
  GradSums* partials = nullptr;    // scratch: [lanes][NormBackwardBlocks()][Stride()]
  float* map = nullptr;            // scratch: [3][lanes][Stride()], unused without batch norm
  float* grad_gamma = nullptr;     // [channels], added to, lanes in order; null: not wanted
  float* grad_beta = nullptr;      // [channels], without batch norm of the bias; null: not wanted
};
int NormBackwardBlocks(const MapShape& shape);
// Computes sums, grad_gamma and grad_beta. What is returned reads as the gradient of the real
// output; arguments' grad, mask, raw and map must live as long as it is read.
OutputGradient NormBackward(const NormBackwardArguments& arguments, DeviceStream stream);
// Applies mask and map of y: [lanes][Pixels()][Stride()] at `to`, which may be where y.grad lies.
void MapGradient(const MapShape& shape, const OutputGradient& y, Bf16* to, DeviceStream stream);

// One input of an addition or concatenation: grad_x (+)= grad_y where the mask passes and the
// input's ReLU was open.
struct SumBackwardArguments {
  MapShape shape;          // of the output
  int channels = 0;        // of the input
  int channel_offset = 0;  // concatenation: where the input's channels lie
  bool relu = false;
  const int8_t* x = nullptr;      // codes of the input; needed with relu
  const uint8_t* mask = nullptr;  // of the output; null: everything passes
  const Bf16* grad_y = nullptr;
  Bf16* grad_x = nullptr;
  bool accumulate = false;
};
// Other inputs, which share the gradient of their sum: bits of their masks that are 0 in the sum's
// own become 0.
struct CutMasksArguments {
  MapShape shape;
  const uint8_t* mask = nullptr;
  uint8_t* masks[kMaxSumInputs] = {};
  int count = 0;  // of masks; 0: nothing happens
};
void SumBackward(const SumBackwardArguments& arguments, DeviceStream stream);
// Several inputs of one output at once: with the same number of channels, each with a grad_x of its
// own, at most kMaxSumInputs, or none.
void SumBackwardAll(const std::vector<SumBackwardArguments>& inputs, const CutMasksArguments& cut,
                    DeviceStream stream);

struct GlobalSumBackwardArguments {
  MapShape in;
  bool relu = false;
  const int8_t* x = nullptr;
  const uint8_t* mask = nullptr;  // of the pooled value: [lanes][images][Stride()] bits
  const Bf16* grad_y = nullptr;   // [lanes][images][Stride()]
  Bf16* grad_x = nullptr;
  bool accumulate = false;
};
void GlobalSumBackward(const GlobalSumBackwardArguments& arguments, DeviceStream stream);

}  // namespace ftt::cuda
