// How the input pixels of a convolution's data gradient are shared out among blocks.
#pragma once

#include "core/error.h"
#include "kernels/cuda/conv_tile.cuh"

namespace ftt::cuda {

inline void CheckBackward(const WindowGeometry& g) {
  FTT_CHECK(g.lanes > 0 && g.images > 0 && g.in_h > 0 && g.in_w > 0 && g.out_h > 0 && g.out_w > 0,
            "convolution backward: empty map");
  FTT_CHECK(g.kernel > 0 && g.dilation > 0 && (g.stride == 1 || g.stride == 2),
            "convolution backward: kernel {}, stride {}, dilation {}; strides 1 and 2 are possible",
            g.kernel, g.stride, g.dilation);
}

// Input pixels that are alike (gradient.h): positions of the tile, whose source is the gradient of
// the output.
struct GradClass {
  GradAxis y, x;
  MapTile tile;
  int first_block = 0;

  FTT_HD int Taps() const { return y.taps * x.taps; }
  // The input pixel of a position.
  FTT_HD int Pixel(const WindowGeometry& g, int position) const {
    if (g.stride == 1) return position;
    const int row = tile.by_w(position), column = position - row * tile.w;
    const int image = tile.by_h(row);
    return (image * g.in_h + y.first + g.stride * (row - image * tile.h)) * g.in_w + x.first +
           g.stride * column;
  }
};

// Calls visit(class) for the classes that there are, in order; blocks of so many positions.
template <typename Visit>
void ForGradClasses(const WindowGeometry& g, int block_positions, const Visit& visit) {
  int blocks = 0;
  for (int i = 0; i < g.stride * g.stride; ++i) {
    GradClass k;
    k.y = MakeGradAxis(g, g.in_h, i / g.stride);
    k.x = MakeGradAxis(g, g.in_w, i % g.stride);
    if (k.y.count == 0 || k.x.count == 0) continue;
    k.tile = {g.images,  k.y.count, k.x.count, 1,       k.y.Halo(), k.x.Halo(),
              k.y.Low(), k.x.Low(), 1,         g.out_h, g.out_w};
    if (g.IsPointwise()) k.tile = PixelTile(g.images, g.out_h, g.out_w);
    k.tile.block = block_positions;
    k.tile.Prepare();
    k.first_block = blocks;
    blocks += k.tile.Blocks();
    visit(k);
  }
}

}  // namespace ftt::cuda
