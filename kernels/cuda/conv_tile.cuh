// The part of a map that a block's neighbouring positions and their windows read, in shared memory:
// copied once, then read by matrix loads for every tap.
#pragma once

#include "kernels/cuda/divider.h"
#include "kernels/cuda/gradient.cuh"
#include "kernels/cuda/relu.cuh"

namespace ftt::cuda {

inline constexpr int kTilePositions = 128;
// Values after each pixel of a tile of bfloat16: rows of matrix loads are an odd number of 16 bytes
// apart, so that eight of them lie on different banks.
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
  int block = kTilePositions;  // positions of a block
  // What follows from the above.
  int positions = 0, width = 0;  // all positions; pixels of a row of the tile
  Divider by_w = {}, by_h = {}, by_image_rows = {};

  // Once all but these is set.
  void Prepare() {
    positions = images * h * w;
    width = (w - 1) * advance + 1 + halo_x;
    by_w = Divider(w);
    by_h = Divider(h);
    by_image_rows = Divider((h - 1) * advance + 1 + halo_y);
  }

  FTT_HD int Positions() const { return positions; }
  FTT_HD int Blocks() const { return DivideUp(positions, block); }
  FTT_HD int Width() const { return width; }
  FTT_HD int ImageRows() const { return by_image_rows.Divisor(); }
  // The tile row (counted from the first image) of a row of positions, likewise.
  FTT_HD int Row(int row) const {
    const int image = by_h(row);
    return image * ImageRows() + (row - image * h) * advance;
  }

  // Largest number of rows of any tile.
  int MaxRows() const {
    const int rows = Most(w, images * h), maps = Most(h * w, images);
    const int gap = 1 + halo_y - advance;  // more rows from one image to the next
    return (rows - 1) * advance + (gap > 0 ? (maps - 1) * gap : 0) + 1 + halo_y;
  }
  int MaxPixels() const { return MaxRows() * Width(); }

 private:
  // Runs of `length` positions that a tile can touch, of `limit`.
  int Most(int length, int limit) const {
    int n = (block - 2) / length + 2;
    if (block % length == 0) n = block / length;
    if (length % block == 0) n = 1;
    return n < limit ? n : limit;
  }
};

// Of windows of one pixel, without padding: positions are pixels, so rows may have any length that
// all of them can be cut into, and a tile, which has whole rows, has few pixels that it needs not.
inline MapTile PixelTile(int images, int h, int w) {
  const int pixels = images * h * w;
  for (int longer = w + 1; longer <= kTilePositions; ++longer) {
    if (pixels % longer == 0) w = longer;
  }
  return {1, pixels / w, w, 1, 0, 0, 0, 0, 1, pixels / w, w};
}

// The rows of one block's tile.
struct TileRows {
  int first = 0, count = 0;

  TileRows() = default;
  __device__ TileRows(const MapTile& t, int first_position) {
    const int after = first_position + t.block;
    const int last_position = (after < t.Positions() ? after : t.Positions()) - 1;
    const int top = t.by_w(first_position), bottom = t.by_w(last_position);
    first = t.Row(top);
    count = t.Row(bottom) - first + t.halo_y + 1;
  }
};

// The pixel of the tile where the window of a position starts; 0 for positions beyond the last.
__device__ __forceinline__ int TilePixel(const MapTile& t, const TileRows& rows, int position) {
  if (position >= t.Positions()) return 0;
  const int row = t.by_w(position), x = position - row * t.w;
  return (t.Row(row) - rows.first) * t.Width() + x * t.advance;
}

// Shares out `groups` items of each of many columns over kThreads threads, a power of two of them a
// column: a thread keeps its group, at the price of idle threads.
template <int kThreads>
struct GroupShare {
  int log2 = 0;
  int group, column;  // the thread's first ones

  __device__ __forceinline__ GroupShare(int groups, int thread) {
    while (1 << log2 < groups && 1 << log2 < kWarpSize) ++log2;
    group = thread & ((1 << log2) - 1);
    column = thread >> log2;
  }
  // To its next column, and to its next group, of which it seldom has more than one.
  __device__ __forceinline__ int ColumnStep() const { return kThreads >> log2; }
  __device__ __forceinline__ int GroupStep() const { return 1 << log2; }
};

// Calls load(source pixel or -1, group, pixel of the tile) for `groups` groups of channels of
// every pixel: a row of the tile a warp, neighbouring threads on neighbouring addresses.
template <int kThreads, typename Load>
__device__ __forceinline__ void ForTile(const MapTile& t, const TileRows& rows, int groups,
                                        const Load& load) {
  const int width = t.Width(), image_rows = t.ImageRows();
  const GroupShare<kWarpSize> share(groups, static_cast<int>(threadIdx.x) % kWarpSize);
  const int column_step = share.ColumnStep(), x_step = column_step * t.step;
  FTT_ROLLED
  for (int row = static_cast<int>(threadIdx.x) / kWarpSize; row < rows.count;
       row += kThreads / kWarpSize) {
    const int image = t.by_image_rows(rows.first + row);
    const int y = t.low_y + (rows.first + row - image * image_rows) * t.step;
    const bool inside = static_cast<unsigned>(y) < static_cast<unsigned>(t.source_h);
    const int source = (image * t.source_h + y) * t.source_w;
    FTT_ROLLED
    for (int group = share.group; group < groups; group += share.GroupStep()) {
      int x = t.low_x + share.column * t.step;
      FTT_ROLLED
      for (int column = share.column; column < width; column += column_step, x += x_step) {
        const bool hit = inside && static_cast<unsigned>(x) < static_cast<unsigned>(t.source_w);
        load(hit ? source + x : -1, group, row * width + column);
      }
    }
  }
}

// How the rows of a tile are copied: in segments of 16 bytes.
struct TileCopy {
  Divider by_segments;                // those of a pixel
  int pitch = 16, source_pitch = 16;  // bytes from pixel to pixel of the tile, and of its source
  int left = 0, columns = 0;          // of a row of the tile: outside the map before it, inside
  int64_t line = 0, line_first = 0;   // bytes of a row of the map, and before the first one inside

  TileCopy() = default;
  // Of pixels of `pixel_bytes`, `bytes` of each to a tile with that pitch.
  TileCopy(const MapTile& t, int pixel_bytes, int bytes, int pitch)
      : by_segments(bytes / 16),
        pitch(pitch),
        source_pitch(t.step * pixel_bytes),
        left(Nearest(DivideUp(-t.low_x, t.step), t.width)),
        columns(Nearest(DivideUp(t.source_w - t.low_x, t.step), t.width) - left),
        line(int64_t{t.source_w} * pixel_bytes),
        line_first(int64_t{t.low_x + left * t.step} * pixel_bytes) {}
  // Of whole pixels, an odd number of 16 bytes apart, so that eight rows of a matrix load lie on
  // different banks.
  TileCopy(const MapTile& t, int pixel_bytes)
      : TileCopy(t, pixel_bytes, pixel_bytes, 16 * (pixel_bytes / 16 | 1)) {}
};

// Calls visit(i, pixel) for a thread's share of the segments of neighbouring pixels in a row.
template <typename Visit>
__device__ __forceinline__ void ForSegments(const TileCopy& copy, int pixels, const Visit& visit) {
  const int count = pixels * copy.by_segments.Divisor();
  FTT_ROLLED
  for (int i = static_cast<int>(threadIdx.x) % kWarpSize; i < count; i += kWarpSize)
    visit(i, copy.by_segments(i));
}

// Starts the copies of all rows, a warp each, and writes zeros outside the map. source: of the lane
// and the first channel, aligned to 16 bytes.
template <int kThreads>
__device__ __forceinline__ void CopyTile(const MapTile& t, const TileCopy& copy,
                                         const TileRows& rows, const void* source, uint8_t* tile) {
  const int segments = copy.by_segments.Divisor();
  const int skew = copy.pitch - 16 * segments, source_skew = copy.source_pitch - 16 * segments;
  FTT_ROLLED
  for (int row = static_cast<int>(threadIdx.x) / kWarpSize; row < rows.count;
       row += kThreads / kWarpSize) {
    const int image = t.by_image_rows(rows.first + row);
    const int y = t.low_y + (rows.first + row - image * t.ImageRows()) * t.step;
    const bool inside = static_cast<unsigned>(y) < static_cast<unsigned>(t.source_h);
    const uint8_t* from = static_cast<const uint8_t*>(source) +
                          (inside ? (image * t.source_h + y) * copy.line + copy.line_first : 0);
    uint8_t* to = tile + row * t.width * copy.pitch;
    ForSegments(copy, copy.columns, [&](int i, int pixel) {
      AsyncCopy16(to + copy.left * copy.pitch + 16 * i + pixel * skew,
                  from + (inside ? 16 * i + pixel * source_skew : 0), inside ? 16 : 0);
    });
    ForSegments(copy, t.width - copy.columns, [&](int i, int pixel) {
      const int skip = pixel < copy.left ? 0 : copy.columns * copy.pitch;
      *reinterpret_cast<uint4*>(to + skip + 16 * i + pixel * skew) = make_uint4(0, 0, 0, 0);
    });
  }
}

// ReLU of the codes that a thread itself has copied.
template <int kThreads>
__device__ __forceinline__ void RectifyTile(const MapTile& t, const TileCopy& copy,
                                            const TileRows& rows, uint8_t* tile) {
  const Relu relu(true);
  const int skew = copy.pitch - 16 * copy.by_segments.Divisor();
  FTT_ROLLED
  for (int row = static_cast<int>(threadIdx.x) / kWarpSize; row < rows.count;
       row += kThreads / kWarpSize) {
    uint8_t* const first = tile + (row * t.width + copy.left) * copy.pitch;
    ForSegments(copy, copy.columns, [&](int i, int pixel) {
      auto* at = reinterpret_cast<uint4*>(first + 16 * i + pixel * skew);
      const uint4 v = *at;
      *at = make_uint4(relu(v.x), relu(v.y), relu(v.z), relu(v.w));
    });
  }
}

// Sixteen codes as bfloat16: 0 to 127 are the last bits of 128 to 255, of which 128 is taken away,
// or 256 where the code is negative. Exact.
__device__ __forceinline__ void CodesToBf16(const uint4& codes, Relu relu, uint4* to) {
  const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
  uint32_t pairs[8];
  FTT_UNROLL
  for (int i = 0; i < 4; ++i) {
    const uint32_t w = relu(words[i]), low = w & 0x7F7F7F7Fu, sign = w & 0x80808080u;
    pairs[2 * i] = AddBf16(BytePermute(low, 0x43u, 0x4140), BytePermute(sign, 0xC3u, 0x4140));
    pairs[2 * i + 1] = AddBf16(BytePermute(low, 0x43u, 0x4342), BytePermute(sign, 0xC3u, 0x4342));
  }
  to[0] = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
  to[1] = make_uint4(pairs[4], pairs[5], pairs[6], pairs[7]);
}

}  // namespace ftt::cuda
