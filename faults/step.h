// One fault model at one site, fully resolved: a plain struct that host and device code read the
// same way.
#pragma once

#include <cstdint>

#include "core/host_device.h"
#include "faults/address.h"

namespace ftt {

enum class Lifetime : uint8_t { kTransient, kIntermittent, kPermanent };
enum class Sampler : uint8_t { kDense, kSparse };
enum class ColumnMode : uint8_t { kZero, kMax, kBit };
// How a model's faults are placed.
enum class FaultStyle : uint8_t {
  kCells,    // some of a code's cells (bits, memory cells) are hit
  kEvery,    // every code is perturbed by a normal variable
  kColumns,  // all codes of some channels are hit
};

struct FaultStep {
  uint8_t model = 0;  // FaultModelId
  uint8_t term = 0;   // ordinal in the specification
  FaultStyle style = FaultStyle::kCells;
  Lifetime lifetime = Lifetime::kTransient;
  Sampler sampler = Sampler::kSparse;
  uint8_t bits = 8;          // of a code
  uint8_t first_cell = 0;    // of the cells that can be hit
  uint8_t cells_log2 = 0;    // cells a payload addresses, from first_cell on
  bool one_fault = false;    // a code takes at most one fault (else one per cell)
  bool dense_pairs = false;  // dense: two units per block, with a type word
  uint8_t mask_above =
      255;  // a weight moved by more codes than this gets no gradient; 255: never masked
  ColumnMode column_mode = ColumnMode::kZero;
  uint8_t column_bit = 0;
  uint16_t columns = 0;        // of the systolic array
  uint16_t valid_cells = 0;    // bit mask over all 16 cells
  uint16_t valid_count = 0;    // cells in it
  uint32_t one_threshold = 0;  // of 18 bits: a hit has value one where its type is below
  uint32_t dense_last = 0;     // dense: hit where draw <= dense_last
  uint32_t dense_modulus = 1;
  uint32_t window = 64;  // images that share intermittent faults
  uint32_t word3 = 0;
  uint32_t key0 = 0, key1 = 0;
  // Sparse: the number of arrivals for a draw u is count_first + #{i < count_size: u >=
  // count_thresholds[i]}, and at least count_first + count_guide[u >> 24]. The tables live as long
  // as the SiteFaults that the step is part of.
  uint32_t count_first = 0, count_size = 0;
  const uint32_t* count_thresholds = nullptr;
  const uint16_t* count_guide = nullptr;
  // kEvery: |n| in steps of 1/256 is #{i < normal_size: (draw >> 1) >= normal_thresholds[i]}; bit 0
  // is the sign.
  const uint32_t* normal_thresholds = nullptr;
  uint32_t normal_size = 0;
  int64_t sigma = 0;  // in units of 2^-40
};

// The cells of one code that are hit, and which of them have value one. For kEvery, `ones` is the
// normal variable in steps of 1/256 as a two's complement number; for kColumns, bit 0 of `ones` is
// the value of a stuck bit.
struct FaultHit {
  uint32_t cells = 0;
  uint32_t ones = 0;
};

struct FaultEffect {
  int code = 0;
  bool saturated = false;
};

FTT_HD inline int FaultCodeMax(const FaultStep& s) { return (1 << (s.bits - 1)) - 1; }

FTT_HD inline FaultEffect SaturateFault(const FaultStep& s, int value) {
  const int high = FaultCodeMax(s), low = -high - 1;
  if (value > high) return {high, true};
  if (value < low) return {low, true};
  return {value, false};
}

// Sign-extends the lowest s.bits bits.
FTT_HD inline int SignExtendFault(const FaultStep& s, int value) {
  const int sign = 1 << (s.bits - 1);
  return ((value & (2 * sign - 1)) ^ sign) - sign;
}

FTT_HD inline uint32_t FaultWord1(const FaultStep& s, uint32_t image, bool training) {
  if (s.lifetime == Lifetime::kTransient) return image;
  return s.lifetime == Lifetime::kPermanent || training ? 0 : image / s.window;
}

FTT_HD inline uint32_t ArrivalCount(const FaultStep& s, uint32_t draw) {
  uint32_t i = s.count_guide[draw >> 24];
  while (i < s.count_size && draw >= s.count_thresholds[i]) ++i;
  return s.count_first + i;
}

FTT_HD inline uint32_t PayloadCell(const FaultStep& s, uint32_t payload) {
  return s.first_cell + (payload & ((1u << s.cells_log2) - 1));
}

// Dense sampler: the payload of a hit unit. `extra` is the type word of models with pairs.
FTT_HD inline uint32_t DensePayload(const FaultStep& s, uint32_t position, uint32_t cell,
                                    uint32_t draw, uint32_t extra) {
  if (!s.one_fault) return MakePayload(position, extra >> (32 - kTypeBits), cell);
  const uint32_t choice = draw % s.dense_modulus;
  // Valid cells of one-fault models are consecutive from cell 0 of the payload.
  return MakePayload(position, (choice / s.valid_count) << (kTypeBits - 1), choice % s.valid_count);
}

// A normal variable in steps of 1/256.
FTT_HD inline int32_t NormalFromDraw(const FaultStep& s, uint32_t draw) {
  uint32_t low = 0, high = s.normal_size;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if ((draw >> 1) >= s.normal_thresholds[middle]) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const auto n = static_cast<int32_t>(low);
  return (draw & 1) != 0 ? -n : n;
}

}  // namespace ftt
