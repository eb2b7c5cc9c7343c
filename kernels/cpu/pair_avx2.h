// Internal: the part of pair_conv.cc that needs AVX2. Raw pointers and plain structs only, see
// depthwise_table.h.
#pragma once

#include "kernels/cpu/pair_shape.h"

namespace ftt::cpu {

// Staged rows [first, first + rows) of an image of in_h rows; their padding on the left and right
// stays as it is.
void PairStageAvx2(const PairPlan& plan, const int8_t* x, int in_h, int first, int rows,
                   uint8_t* staged);
// Sums of `rows` output rows whose first input is `staged`, into [rows][out_w][out_c].
void PairRowsAvx2(const PairPlan& plan, const PairSteps& steps, const uint8_t* staged, int rows,
                  int32_t* sums);

}  // namespace ftt::cpu
