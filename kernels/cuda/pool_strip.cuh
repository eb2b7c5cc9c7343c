// What kernels of 3x3 pools share.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/pool.h"

namespace ftt::cuda {

__device__ __forceinline__ bool IsInside(int at, int size) {
  return static_cast<unsigned>(at) < static_cast<unsigned>(size);
}

// What a thread computes of 3x3 windows at a time: neighbouring outputs of a row, for which it
// combines the rows of every column once.
template <int kStride>
struct PoolStrip {
  static constexpr int kOutputs = kStride == 1 ? 4 : 2;
  static constexpr int kColumns = (kOutputs - 1) * kStride + 3;
  // The word of pixel (iy0 + row, ix0 + column), taken from the nearest one inside the map.
  uint32_t word[3][kColumns];

  __device__ __forceinline__ void Load(const WindowGeometry& g, const int8_t* image, int words,
                                       int iy0, int ix0) {
    int column[kColumns];
    FTT_UNROLL
    for (int j = 0; j < kColumns; ++j) column[j] = Nearest(ix0 + j, g.in_w - 1) * words;
    FTT_UNROLL
    for (int k = 0; k < 3; ++k) {
      const auto* row = reinterpret_cast<const uint32_t*>(image + Nearest(iy0 + k, g.in_h - 1) *
                                                                      (4 * g.in_w * words));
      FTT_UNROLL
      for (int j = 0; j < kColumns; ++j) word[k][j] = row[column[j]];
    }
  }
};

// 3x3 windows without dilation, each with a pixel of the map.
inline bool IsStripPool(const WindowGeometry& g) {
  const auto touches = [&](int outputs, int inputs) {
    return g.origin > -3 && (outputs - 1) * g.stride + g.origin < inputs;
  };
  return g.kernel == 3 && g.dilation == 1 && g.stride <= 2 && touches(g.out_h, g.in_h) &&
         touches(g.out_w, g.in_w);
}

}  // namespace ftt::cuda
