// The matrix instructions of one warp, register for register as the PTX ISA lays them out.
#pragma once

#include <cstdint>
#include <cstring>

#include "tests/cuda_emulation/block.h"

namespace ftt::emulation {

struct MatrixOperands {
  const uint32_t* a;  // [4]
  const uint32_t* b;  // [2]
};

inline void CheckFullWarp(uint32_t mask) {
  if (mask != 0xFFFFFFFFu) Misuse("matrix instruction without the full warp");
}

// ldmatrix.sync.aligned.m8n8.x4.shared.b16: lane 8 * m + r holds the address of row r (16 bytes) of
// matrix m; lane l receives bytes 4 * (l % 4) .. + 3 of row l / 4 of each matrix.
inline void LoadMatrix4(Thread* warp, uint32_t mask, size_t) {
  CheckFullWarp(mask);
  for (int lane = 0; lane < kWarp; ++lane) {
    auto* out = static_cast<uint32_t*>(warp[lane].out);
    for (int matrix = 0; matrix < 4; ++matrix) {
      const auto* row = static_cast<const uint8_t*>(warp[8 * matrix + lane / 4].in);
      std::memcpy(&out[matrix], row + 4 * (lane % 4), 4);
    }
  }
}

// mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32, d += a * b. Lane l, group g = l / 4, t = l % 4:
//   a[i], byte j: row g + 8 * (i % 2), column 4 * t + j + 16 * (i / 2)
//   b[i], byte j: row 4 * t + j + 16 * i, column g
//   d[i]: row g + 8 * (i / 2), column 2 * t + i % 2
inline void MultiplyAccumulate(Thread* warp, uint32_t mask, size_t) {
  CheckFullWarp(mask);
  int8_t a[16][32], b[8][32];
  for (int lane = 0; lane < kWarp; ++lane) {
    const auto& operands = *static_cast<const MatrixOperands*>(warp[lane].in);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i)
      std::memcpy(&a[g + 8 * (i % 2)][4 * t + 16 * (i / 2)], &operands.a[i], 4);
    for (int i = 0; i < 2; ++i) std::memcpy(&b[g][4 * t + 16 * i], &operands.b[i], 4);
  }
  for (int lane = 0; lane < kWarp; ++lane) {
    auto* d = static_cast<int32_t*>(warp[lane].out);
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
      int32_t sum = 0;
      for (int k = 0; k < 32; ++k) sum += a[row][k] * b[column][k];
      d[i] += sum;
    }
  }
}

}  // namespace ftt::emulation
