// What the backward kernels of convolutions and pools share: the gradient they read, and which
// outputs an input pixel has had a part in. Plain structs, for host and device.
#pragma once

#include <cstdint>

#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

// Gradient of an output, [lanes][Pixels()][Stride()], pads 0. With `mask` it is zeroed where a bit
// is 0; with `raw` it is then mapped by g -> fma(raw, q, fma(g, p, r)) in float32, the backward
// pass of a batch norm, so that no pass of its own has to read and write it.
struct OutputGradient {
  const Bf16* grad = nullptr;
  const uint8_t* mask = nullptr;  // null: everything passes
  const void* raw = nullptr;      // stored outputs of the convolution; null: no map
  RawType raw_type = RawType::kInt32;
  const float* p = nullptr;  // p, q, r: [lanes][Stride()], 0 in pads; q is per stored unit of raw
  const float* q = nullptr;
  const float* r = nullptr;
};

// Rows (or columns) of the input that are alike: first, first + stride, ... `count` of them. The
// i-th takes part in outputs i + offset - j * offset_step through kernel rows
// first_tap + j * tap_step, j < taps. With stride 1 there is one class, with stride 2 two, so no
// product with a tap that does not exist is ever formed.
struct GradAxis {
  int first = 0, count = 0;
  int taps = 0, first_tap = 0, tap_step = 1;
  int offset = 0, offset_step = 1;

  // What outputs of neighbouring inputs span beyond their number, and the first of them.
  FTT_HD int Halo() const { return taps == 0 ? 0 : (taps - 1) * offset_step; }
  FTT_HD int Low() const { return offset - Halo(); }
};

// Class `first` (0 .. stride - 1) of an axis of `size` inputs.
inline GradAxis MakeGradAxis(const WindowGeometry& g, int size, int first) {
  GradAxis axis;
  axis.first = first;
  axis.count = size > first ? DivideUp(size - first, g.stride) : 0;
  while (axis.tap_step * g.dilation % g.stride != 0) ++axis.tap_step;
  axis.offset_step = axis.tap_step * g.dilation / g.stride;
  for (int tap = 0; tap < axis.tap_step && tap < g.kernel; ++tap) {
    const int at = first - g.origin - tap * g.dilation;
    if (at % g.stride != 0) continue;
    axis.first_tap = tap;
    axis.taps = (g.kernel - 1 - tap) / axis.tap_step + 1;
    axis.offset = at / g.stride;
    break;
  }
  return axis;
}

}  // namespace ftt::cuda
