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
// that alone reads its output; -1 where there is none. For deployment: in training the statistics
// of the whole batch come before the first code of the depthwise one.
std::vector<int> SeparablePartners(const Program& program);
// Throws ftt::Error for networks that the kernels cannot run, naming the op.
void CheckSupported(const Program& program);
// [channels][256]: the code of each pixel value.
std::vector<int8_t> CodeTable(const InputCoding& coding, int channels);

}  // namespace ftt::cuda
