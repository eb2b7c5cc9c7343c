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
FTT_UNTRACED inline void LoadMatrix4(Thread* warp, uint32_t mask, size_t) {
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
FTT_UNTRACED inline void MultiplyAccumulate(Thread* warp, uint32_t mask, size_t) {
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

// ldmatrix with .trans: lane l receives rows 2 * (l % 4) and + 1 of column l / 4 of each matrix.
FTT_UNTRACED inline void LoadMatrix4Transposed(Thread* warp, uint32_t mask, size_t) {
  CheckFullWarp(mask);
  for (int lane = 0; lane < kWarp; ++lane) {
    auto* out = static_cast<uint32_t*>(warp[lane].out);
    for (int matrix = 0; matrix < 4; ++matrix) {
      uint16_t pair[2];
      for (int i = 0; i < 2; ++i) {
        const auto* row = static_cast<const uint8_t*>(warp[8 * matrix + 2 * (lane % 4) + i].in);
        std::memcpy(&pair[i], row + 2 * (lane / 4), 2);
      }
      std::memcpy(&out[matrix], pair, 4);
    }
  }
}

// cvt.rn.bf16.f32: to nearest, ties to even; any NaN becomes 0x7FFF.
inline uint16_t Bf16Bits(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  if (v != v) return 0x7FFF;
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
inline float Bf16Float(uint16_t v) {
  const uint32_t bits = uint32_t{v} << 16;
  float result;
  std::memcpy(&result, &bits, 4);
  return result;
}

// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32, d += a * b. Lane l, group g = l / 4,
// t = l % 4:
//   a[i], half j: row g + 8 * (i % 2), column 2 * t + j + 8 * (i / 2)
//   b[i], half j: row 2 * t + j + 8 * i, column g
//   d[i]: row g + 8 * (i / 2), column 2 * t + i % 2
FTT_UNTRACED inline void MultiplyAccumulateBf16(Thread* warp, uint32_t mask, size_t) {
  CheckFullWarp(mask);
  float a[16][16], b[8][16];
  for (int lane = 0; lane < kWarp; ++lane) {
    const auto& operands = *static_cast<const MatrixOperands*>(warp[lane].in);
    const int g = lane / 4, t = lane % 4;
    for (int j = 0; j < 2; ++j) {
      for (int i = 0; i < 4; ++i) {
        const auto half = static_cast<uint16_t>(operands.a[i] >> 16 * j);
        a[g + 8 * (i % 2)][2 * t + j + 8 * (i / 2)] = Bf16Float(half);
      }
      for (int i = 0; i < 2; ++i) {
        b[g][2 * t + j + 8 * i] = Bf16Float(static_cast<uint16_t>(operands.b[i] >> 16 * j));
      }
    }
  }
  for (int lane = 0; lane < kWarp; ++lane) {
    auto* d = static_cast<float*>(warp[lane].out);
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
      float sum = 0;
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[column][k];
      d[i] += sum;
    }
  }
}

}  // namespace ftt::emulation
