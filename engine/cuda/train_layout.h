// Where everything of a training run lies in device memory, and how much it takes; allocates
// nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/memory_plan.h"
#include "engine/program.h"
#include "engine/train_executor.h"
#include "engine/train_plan.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

// What an op needs beside its values, as bytes into one block.
struct OpBuffers {
  int64_t codes = 0, keep = 0, packed = 0, packed_grad = 0;  // weights
  int64_t weight_exponent = 0, weight_largest = 0;
  int64_t scale = 0, shift = 0, mean = 0, inv_std = 0, variance = 0, unit = 0, grad_map = 0;
  int copies = 1;  // of the weights
  // Partial sums of the weights' gradient, as bytes into a block of their own. Where they start it
  // anew, what lies in it is to be added up first.
  int64_t weight_partials = 0;
  bool restarts_partials = false;
};

struct TrainShape {
  int lanes = 1, images = 1;
  bool training = true;  // with a backward pass
  int bits = 8;
  bool exact_raw = false;  // TrainExecutorOptions
  int64_t partial_bytes = TrainExecutorOptions{}.partial_bytes;
  std::vector<char> faulty_weights;  // by op: each lane has its own
  friend bool operator==(const TrainShape&, const TrainShape&) = default;
};

// Weight gradients are computed in a stream of their own, at most this many ops behind the rest of
// the backward pass; what they read lives that much longer.
inline constexpr int kWeightLag = 4;

struct TrainLayout {
  MemoryPlan values;
  std::vector<int64_t> code_at, raw_at, mask_at, grad_at;  // by value, -1 where absent
  // Where the gradient of the real output goes that MapGradient makes; -1: where it lies.
  std::vector<int64_t> mapped_at;
  std::vector<int> shared_grads;  // by value, see SharedGradients
  std::vector<char> wants_grad;   // by value
  std::vector<OpBuffers> ops;
  // Bytes of the other blocks.
  int64_t op_memory = 0, scratch = 0, weight_partials = 0, moments = 0, exponents = 0, keep = 0,
          logits = 0;
  std::vector<int64_t> gradient_offset;  // by parameter of the program, floats; -1: not trained
  int64_t gradient_floats = 0;

  // Whether the op's backward pass leaves partial sums of a weight gradient.
  bool HasWeightPartials(const Program& program, size_t op) const;
  // All blocks that it describes.
  int64_t Bytes() const;
};

TrainLayout PlanTraining(const Program& program, const TrainShape& shape);

// What is allocated for so many bytes where programs differ from step to step.
inline int64_t WithRoom(int64_t bytes) { return bytes + bytes / 4; }

// What raw outputs are kept as.
inline RawType TrainingRaw(bool exact_raw) { return exact_raw ? RawType::kInt32 : RawType::kHalf; }

}  // namespace ftt::cuda
