// How long the buffers of a training run live, on every device.
#pragma once

#include <vector>

#include "engine/program.h"
#include "kernels/raw_map.h"

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

// By value: 1 where an op with a mask writes it and all its readers apply a ReLU, so that the mask
// can hold the ReLU's gradient as well.
std::vector<char> ReadThroughRelu(const Program& program);

// By value: the value whose gradient it shares, itself where none. A sum hands its gradient on
// unchanged but for its mask; an input that nobody else reads needs no copy of its own if that mask
// is put into its own and whoever made it does not write to its gradient (a batch norm, a pool, a
// sum). relu: also inputs read through a ReLU, whose mask holds that, too.
std::vector<int> SharedGradients(const Program& program, bool relu = true);

// By value: 1 where its gradient is written at once, by the one convolution that reads it, and read
// by its maker's batch norm alone, so that it can be kept in bfloat16.
std::vector<char> NarrowGradients(const Program& program);

// By value: the first op that reads it and passes a gradient to it, and so the last one to do so;
// -1 where none.
std::vector<int> LastGradientWriters(const Program& program,
                                     const std::vector<ValueBuffers>& buffers);

// How raw outputs of an op are stored where maps are kept as `type`, and by how many bits they are
// then shifted so that the largest accumulator stays finite as a half.
RawType StoredAs(const Op& op, RawType type);
int RawShift(const Program& program, const Op& op, int bits, RawType type);

// By value. training: with a backward pass, for every op on the way from the logits to a value that
// is not the image.
std::vector<ValueBuffers> PlanTrainBuffers(const Program& program, bool training);

}  // namespace ftt
