// From the engine's shapes to those of the device kernels.
#pragma once

#include <vector>

#include "engine/input_coding.h"
#include "engine/program.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

MapShape MapOf(const Shape& shape, int lanes, int images);
// Of a convolution or pool.
WindowGeometry GeometryOf(const Program& program, const Op& op, int lanes, int images);
bool IsDepthwise(const Op& op);
// Bytes of one lane's packed weights of a convolution.
int64_t PackedBytes(const WindowGeometry& geometry, bool depthwise);
// For each op the one that it shares a kernel with: a depthwise convolution and the 1x1 convolution
// that alone reads its output; -1 where there is none. Training computes the depthwise one twice,
// so that only pairs of stride 1 are worth it, and backward passes without a batch norm in between
// do not ask for what was not stored.
std::vector<int> SeparablePartners(const Program& program, bool training);
// Throws ftt::Error for networks that the kernels cannot run, naming the op.
void CheckSupported(const Program& program);
// [channels][256]: the code of each pixel value.
std::vector<int8_t> CodeTable(const InputCoding& coding, int channels);

}  // namespace ftt::cuda
