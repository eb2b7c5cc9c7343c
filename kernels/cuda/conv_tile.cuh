// The part of a map that 128 neighbouring positions and their windows read, in shared memory as
// bfloat16: loaded and converted once, then read by matrix loads for every tap.
#pragma once

#include "kernels/cuda/gradient.cuh"

namespace ftt::cuda {

inline constexpr int kTilePositions = 128;
// Values after each pixel of a tile: rows of matrix loads are an odd number of 16 bytes apart, so
// that eight of them lie on different banks.
inline constexpr int kTileSkew = 8;

// Positions are the pixels of `images` grids of h x w in order. Position (y, x) reads source rows
// low_y + step * (advance * y + 0 .. halo_y), likewise columns; outside the source map lie zeros.
// The tile holds whole rows, from that of its first position to that of its last; below each image
// lie halo_y further rows.
struct MapTile {
  int images = 0, h = 0, w = 0;
  int advance = 1, halo_y = 0, halo_x = 0;
  int low_y = 0, low_x = 0, step = 1;
  int source_h = 0, source_w = 0;

  FTT_HD int Positions() const { return images * h * w; }
  FTT_HD int Blocks() const { return DivideUp(Positions(), kTilePositions); }
  FTT_HD int Width() const { return (w - 1) * advance + 1 + halo_x; }
  FTT_HD int ImageRows() const { return (h - 1) * advance + 1 + halo_y; }
  // The tile row (counted from the first image) of row y of an image.
  FTT_HD int Row(int image, int y) const { return image * ImageRows() + y * advance; }

  // Largest number of rows of any tile.
  int MaxRows() const {
    const int rows = Most(w, images * h), maps = Most(h * w, images);
    const int gap = 1 + halo_y - advance;  // more rows from one image to the next
    return (rows - 1) * advance + (gap > 0 ? (maps - 1) * gap : 0) + 1 + halo_y;
  }
  int MaxPixels() const { return MaxRows() * Width(); }

 private:
  // Runs of `length` positions that a tile can touch, of `limit`.
  static int Most(int length, int limit) {
    int n = (kTilePositions - 2) / length + 2;
    if (kTilePositions % length == 0) n = kTilePositions / length;
    if (length % kTilePositions == 0) n = 1;
    return n < limit ? n : limit;
  }
};

// The rows of one block's tile.
struct TileRows {
  int first = 0, count = 0;

  __device__ TileRows(const MapTile& t, int first_position) {
    const int after = first_position + kTilePositions;
    const int last_position = (after < t.Positions() ? after : t.Positions()) - 1;
    const int top = first_position / t.w, bottom = last_position / t.w;
    first = t.Row(top / t.h, top % t.h);
    count = t.Row(bottom / t.h, bottom % t.h) - first + t.halo_y + 1;
  }
};

// The pixel of the tile where the window of a position starts; 0 for positions beyond the last.
__device__ __forceinline__ int TilePixel(const MapTile& t, const TileRows& rows, int position) {
  if (position >= t.Positions()) return 0;
  const int row = position / t.w, x = position - row * t.w;
  return (t.Row(row / t.h, row % t.h) - rows.first) * t.Width() + x * t.advance;
}

// Calls load(source pixel or -1, group, pixel of the tile) for `groups` groups of channels of
// every pixel: a row of the tile a warp, neighbouring threads on neighbouring addresses.
template <int kThreads, typename Load>
__device__ __forceinline__ void ForTile(const MapTile& t, const TileRows& rows, int groups,
                                        const Load& load) {
  const int width = t.Width(), items = width * groups, image_rows = t.ImageRows();
  for (int row = static_cast<int>(threadIdx.x) / kWarpSize; row < rows.count;
       row += kThreads / kWarpSize) {
    const int image = (rows.first + row) / image_rows;
    const int y = t.low_y + (rows.first + row - image * image_rows) * t.step;
    const bool inside =
        image < t.images && static_cast<unsigned>(y) < static_cast<unsigned>(t.source_h);
    const int source = (image * t.source_h + y) * t.source_w;
    for (int i = static_cast<int>(threadIdx.x) % kWarpSize; i < items; i += kWarpSize) {
      const int column = i / groups, x = t.low_x + column * t.step;
      const bool hit = inside && static_cast<unsigned>(x) < static_cast<unsigned>(t.source_w);
      load(hit ? source + x : -1, i - column * groups, row * width + column);
    }
  }
}

// Eight channels of a gradient as bfloat16; pixel < 0: zeros.
__device__ __forceinline__ uint4 GradientBf16(const OutputGradient& y, const MapShape& s, int lane,
                                              int pixel, int channel) {
  if (pixel < 0) return make_uint4(0, 0, 0, 0);
  float v[8];
  const int stride = s.Stride();
  LoadGradient<8>(y, lane * s.LaneElements() + int64_t{pixel} * stride + channel,
                  int64_t{lane} * stride + channel, v);
  return make_uint4(PackBf16(v[0], v[1]), PackBf16(v[2], v[3]), PackBf16(v[4], v[5]),
                    PackBf16(v[6], v[7]));
}

// Four codes as bfloat16.
__device__ __forceinline__ uint2 CodesBf16(uint32_t word, bool relu) {
  return make_uint2(PackBf16(CodeToFloat(word, 0, relu), CodeToFloat(word, 1, relu)),
                    PackBf16(CodeToFloat(word, 2, relu), CodeToFloat(word, 3, relu)));
}

}  // namespace ftt::cuda
