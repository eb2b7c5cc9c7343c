// How long the buffers of a training run live, on every device.
#pragma once

#include <vector>

#include "engine/program.h"

namespace ftt {

// Steps of a run: op i runs forward in step i + 1 and backward in step 2 * ops + 1 - i; the input
// image is there from step 0.
struct BufferSpan {
  int first = -1, last = -1;  // inclusive
  bool Used() const { return first >= 0; }
};

// The buffers of one value.
struct ValueBuffers {
  BufferSpan codes, acc, mask, grad;  // unused where the value has none
  bool wants_grad = false;            // some op in the backward pass adds to its gradient
};

// By value. training: with a backward pass, for every op on the way from the logits to a value that
// is not the image.
std::vector<ValueBuffers> PlanTrainBuffers(const Program& program, bool training);

}  // namespace ftt
