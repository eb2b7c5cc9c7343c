// Internal: the parts of dense_gradient.cc that need AVX2. Raw pointers and plain structs only, see
// depthwise_table.h.
#pragma once

#include <cstdint>

namespace ftt::cpu {

// Sums of a tile take 12 of 16 registers: 6 rows by 16 columns, 4 by 24 or, where only so many are
// left, 6 by 8.
inline constexpr int kTileRows = 6, kTileColumns = 16, kWideColumns = 24;
// Of which both heights are divisors.
inline constexpr int kGroupRows = 12;
// Floats that PackRowsAvx2 may write behind the last one.
inline constexpr int kPackSlack = kGroupRows;

// Columns of the next tile where so many are left, and as they lie in memory.
inline int NextColumns(int left) { return left <= kWideColumns ? left : kTileColumns; }
inline int PanelColumns(int columns) { return (columns + 7) / 8 * 8; }
// Rows of a tile.
inline int RowsBeside(int columns) { return columns > kTileColumns ? 4 : kTileRows; }

// Pixels of a map: floats from one to the next, from row to row, and from image to image.
struct PixelSteps {
  int64_t pixel = 0, row = 0, image = 0;
};

// c[row][column] (+)= the sum of a[pixel][row] * b[pixel][column] over all pixels.
struct WeightTile {
  int images = 0, rows = 0, width = 0;  // of pixels
  const float* a = nullptr;
  PixelSteps a_steps = {};
  int channels = 0;  // rows of c, 1..RowsBeside(columns)
  const float* b = nullptr;
  PixelSteps b_steps = {};
  int columns = 0;     // 1..kWideColumns
  bool exact = false;  // b must not be read behind `columns`; else it may, to PanelColumns(columns)
  float* c = nullptr;
  int64_t c_row = 0;
  bool add = false;  // to c, else overwrites it
};
void WeightTileAvx2(const WeightTile& tile);

// from: pixels `step` apart -> [pixels][channels], 1..kGroupRows of them.
void PackRowsAvx2(const float* from, int64_t step, int64_t pixels, int channels, float* to);
// from: codes of pixels `step` apart -> floats [pixels][PanelColumns(columns)], those behind
// `columns` anything finite.
void PackCodesAvx2(const int8_t* from, int64_t step, int64_t pixels, int columns, bool relu,
                   float* to);

// Sums of products over taps for `count` pixels that lie in rows: out[column] = sum over segment s
// and i < run of x[offsets[s] + i] * weights[s][i][column].
struct DataRows {
  const float* x;          // at the first pixel
  int64_t x_pixel, x_row;  // floats from one to the next
  int width, count;        // pixels of a row, and all
  const int32_t* offsets;
  int segments, run;
  const float* weights;  // [tiles by NextColumns][segments][run][PanelColumns]
  int columns;           // all of them
  float* out;
  int64_t out_pixel, out_row;
};
void DataRowsAvx2(const DataRows& rows);

}  // namespace ftt::cpu
