// Compiled for AMX; runs only where DirectConv::Available().
#include "kernels/cpu/direct_amx.h"

#include <immintrin.h>

namespace ftt::cpu {
namespace {

// Tiles 0..3 hold sums, 4 and 5 pixels, 6 and 7 weights.

// GCC's intrinsics admit to reading and writing the first 8 bytes of a configuration only.
inline void Escape(void* config) { asm volatile("" : : "r"(config) : "memory"); }

struct Operands {
  const int64_t* offsets;
  int parts;
  int64_t pixel_bytes;  // input, from pixel to pixel
  int64_t weight_part, weight_block;
  int64_t sum_pixel;  // bytes from pixel to pixel
};

// Up to 4 tiles of pixels: where their input starts, and where their sums go.
struct Group {
  const int8_t* x[4];
  int32_t* acc[4];
};

// kM tiles of pixels by one block of channels; weights are loaded once for all of them.
template <int kM>
void Column(const Operands& o, const Group& g, const int8_t* w, int channel) {
  _tile_zero(0);
  if (kM > 1) _tile_zero(1);
  if (kM > 2) _tile_zero(2);
  if (kM > 3) _tile_zero(3);
  for (int k = 0; k < o.parts; ++k, w += o.weight_part) {
    const int64_t at = o.offsets[k];
    _tile_loadd(6, w, 64);
    _tile_loadd(4, g.x[0] + at, o.pixel_bytes);
    _tile_dpbssd(0, 4, 6);
    if (kM > 1) {
      _tile_loadd(5, g.x[1] + at, o.pixel_bytes);
      _tile_dpbssd(1, 5, 6);
    }
    if (kM > 2) {
      _tile_loadd(4, g.x[2] + at, o.pixel_bytes);
      _tile_dpbssd(2, 4, 6);
    }
    if (kM > 3) {
      _tile_loadd(5, g.x[3] + at, o.pixel_bytes);
      _tile_dpbssd(3, 5, 6);
    }
  }
  _tile_stored(0, g.acc[0] + channel, o.sum_pixel);
  if (kM > 1) _tile_stored(1, g.acc[1] + channel, o.sum_pixel);
  if (kM > 2) _tile_stored(2, g.acc[2] + channel, o.sum_pixel);
  if (kM > 3) _tile_stored(3, g.acc[3] + channel, o.sum_pixel);
}

// kM (1 or 2) tiles of pixels by two blocks of channels.
template <int kM>
void Square(const Operands& o, const Group& g, const int8_t* w, int channel) {
  _tile_zero(0);
  _tile_zero(1);
  if (kM > 1) _tile_zero(2);
  if (kM > 1) _tile_zero(3);
  for (int k = 0; k < o.parts; ++k, w += o.weight_part) {
    const int64_t at = o.offsets[k];
    _tile_loadd(4, g.x[0] + at, o.pixel_bytes);
    _tile_loadd(6, w, 64);
    _tile_loadd(7, w + o.weight_block, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    if (kM > 1) {
      _tile_loadd(5, g.x[1] + at, o.pixel_bytes);
      _tile_dpbssd(2, 5, 6);
      _tile_dpbssd(3, 5, 7);
    }
  }
  // A partial last block spills into the first channels of the next pixel: last block first.
  _tile_stored(1, g.acc[0] + channel + 16, o.sum_pixel);
  if (kM > 1) _tile_stored(3, g.acc[1] + channel + 16, o.sum_pixel);
  _tile_stored(0, g.acc[0] + channel, o.sum_pixel);
  if (kM > 1) _tile_stored(2, g.acc[1] + channel, o.sum_pixel);
}

// All channels of a group, the last ones first for the sake of what they spill: pairs of blocks
// where the group has at most 2 tiles.
void RunGroup(const Operands& o, const Group& g, int count, int blocks, const int8_t* w) {
  int block = blocks;
  if (blocks % 2 == 1) {
    --block;
    const int8_t* last = w + block * o.weight_block;
    if (count == 1) Column<1>(o, g, last, block * 16);
    if (count == 2) Column<2>(o, g, last, block * 16);
    if (count == 3) Column<3>(o, g, last, block * 16);
    if (count == 4) Column<4>(o, g, last, block * 16);
  }
  while (block > 0) {
    block -= 2;
    if (count == 1) Square<1>(o, g, w + block * o.weight_block, block * 16);
    if (count == 2) Square<2>(o, g, w + block * o.weight_block, block * 16);
  }
}

void CopyRow(const int8_t* from, int64_t n, bool relu, int8_t* to) {
  const __m512i low = _mm512_set1_epi8(static_cast<char>(relu ? 0 : -128));
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    _mm512_storeu_si512(to + i, _mm512_max_epi8(_mm512_loadu_si512(from + i), low));
  }
  if (i < n) {
    const __mmask64 lanes = (1ull << (n - i)) - 1;
    const __m512i codes = _mm512_maskz_loadu_epi8(lanes, from + i);
    _mm512_mask_storeu_epi8(to + i, lanes, _mm512_max_epi8(codes, low));
  }
}

}  // namespace

void DirectStageAmx(const DirectPlan& plan, const int8_t* x, bool relu, int8_t* staged) {
  const DirectShape& s = plan.shape;
  const int left = s.pad > 0 ? s.pad : 0, skip = s.pad < 0 ? -s.pad : 0;
  const int used = s.in_w - skip < plan.staged_w - left ? s.in_w - skip : plan.staged_w - left;
  if (used <= 0) return;
  for (int y = 0; y < plan.staged_h; ++y) {
    const int iy = y - s.pad;
    if (iy < 0 || iy >= s.in_h) continue;
    CopyRow(x + (static_cast<int64_t>(iy) * s.in_w + skip) * s.in_c,
            static_cast<int64_t>(used) * s.in_c, relu,
            staged + (static_cast<int64_t>(y) * plan.staged_w + left) * s.in_c);
  }
}

void DirectBeginAmx(const DirectPlan& plan, TileConfig* previous) {
  _tile_storeconfig(previous);
  Escape(previous);
  TileConfig config;
  config.palette = 1;
  for (int t = 0; t < 8; ++t) {
    config.bytes[t] = static_cast<uint16_t>(t == 4 || t == 5 ? plan.part_bytes : 64);
    config.rows[t] = static_cast<uint8_t>(t < 6 ? kTilePixels : plan.part_bytes / 4);
  }
  Escape(&config);
  _tile_loadconfig(&config);
}

void DirectEndAmx(const TileConfig& previous) {
  if (previous.palette == 0) {
    _tile_release();
  } else {
    _tile_loadconfig(&previous);
  }
}

void DirectRowsAmx(const DirectPlan& plan, const int64_t* offsets, const int8_t* weights,
                   const int8_t* staged, int first_row, int rows, int32_t* acc) {
  const DirectShape& s = plan.shape;
  Operands o;
  o.offsets = offsets;
  o.parts = plan.parts;
  o.pixel_bytes = static_cast<int64_t>(s.stride) * s.in_c;
  o.weight_part = int64_t{16} * plan.part_bytes;
  o.weight_block = plan.parts * o.weight_part;
  o.sum_pixel = int64_t{4} * s.out_c;
  const int64_t row_bytes = static_cast<int64_t>(s.stride) * plan.staged_w * s.in_c;
  const int8_t* x = staged + first_row * row_bytes;
  const int flat_pixels = (rows - 1) * plan.row_pixels + s.out_w;
  const int per_row =
      plan.flat ? (flat_pixels + kTilePixels - 1) / kTilePixels : plan.row_pixels / kTilePixels;
  const int tiles = plan.flat ? per_row : rows * per_row;
  const int most = plan.blocks == 1 ? 4 : 2;
  Group group;
  int row = 0, column = 0;  // of the next tile
  for (int done = 0; done < tiles;) {
    const int count = tiles - done < most ? tiles - done : most;
    for (int t = 0; t < count; ++t) {
      group.x[t] = x + row * row_bytes + column * kTilePixels * o.pixel_bytes;
      group.acc[t] =
          acc + (static_cast<int64_t>(row) * plan.row_pixels + column * kTilePixels) * s.out_c;
      if (++column < per_row) continue;
      column = 0;
      ++row;
    }
    RunGroup(o, group, count, plan.blocks, weights);
    done += count;
  }
}

}  // namespace ftt::cpu
