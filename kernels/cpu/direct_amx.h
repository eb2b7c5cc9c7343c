// Internal: the part of direct_conv.cc that needs AMX. Raw pointers and plain structs only, see
// depthwise_table.h.
#pragma once

#include "kernels/cpu/direct_shape.h"

namespace ftt::cpu {

// How a thread's tiles are set up.
struct alignas(64) TileConfig {
  uint8_t palette = 0, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};
};

// Sets the tiles up for a plan, and back to what they were: oneDNN remembers how it has left them.
void DirectBeginAmx(const DirectPlan& plan, TileConfig* previous);
void DirectEndAmx(const TileConfig& previous);

// Rows of x, rectified where `relu`, into the staged image; its borders stay as they are.
void DirectStageAmx(const DirectPlan& plan, const int8_t* x, bool relu, int8_t* staged);
// Sums of output rows [first_row, first_row + rows) into acc [rows][row_pixels][out_c], pixels
// rounded up to whole tiles.
void DirectRowsAmx(const DirectPlan& plan, const int64_t* offsets, const int8_t* weights,
                   const int8_t* staged, int first_row, int rows, int32_t* acc);

}  // namespace ftt::cpu
