// The address of a fault: which Philox block decides it. The one place that defines it; changing
// anything here changes every fault map of the project.
//
// Key: the 64-bit seed. Counter:
//   word 0  sparse sampler: tile << 12 | block, tile = element / 1024 within the image (or the
//   weight tensor);
//           dense sampler: unit / 4 or unit / 2 (see below)
//   word 1  transient: image index in the data set; intermittent: index of the window of images (0
//   in training, where
//           the step is the window); permanent: 0
//   word 2  trial, or training step
//   word 3  Stream::kFault << 24 | repetition << 21 | model << 16 | site: `model` is the model's
//   place in
//           faults/model_list.h, `repetition` counts earlier terms of that model in the
//           specification (so that adding another model to a specification leaves the faults of the
//           first where they were), `site` is FaultSite::id (kArraySite for faults of the systolic
//           array, which all layers share)
//
// Sparse sampler. Word 0 of a tile's block 0 is compared with the cumulative distribution of a
// Poisson variable of mean lambda = -1024 * cells * ln(1-p): it gives the number n of arrivals in
// the tile. Arrival a (a < n) is described by payload word a: words 1..3 of block 0, then words
// 0..3 of blocks 1, 2, ... Positions are uniform and with replacement, and the first arrival at a
// cell wins, so cells are hit i.i.d. with probability p. The quantile of a Poisson distribution
// does not decrease with its mean: under one seed the arrivals of a lower rate are a prefix of
// those of a higher rate, hence the faults are nested.
//
// Payload word: element within the tile (bits 31..22), type (bits 21..4, compared with a threshold
// of 18 bits: sign of a bias, stuck at one or zero), cell (bits 3..0, of which the model uses as
// many as it has cells). A cell that does not exist (bit 6 of a 5-bit code) drops the arrival;
// lambda is raised by the share dropped.
//
// Dense sampler. A unit (an element, or a cell = element * cells + cell) takes one 32-bit draw and
// is hit where the draw is below a threshold. Models that need no more than a bit and a sign take 4
// units per block, and read both from the draw modulo 2 * valid cells, of which the threshold is a
// multiple. Models with a type take 2 units per block: words (0, 2) are the draws, words (1, 3)
// hold the type in their upper 18 bits.
#pragma once

#include <cstdint>

#include "core/philox.h"

namespace ftt {

inline constexpr int kTileLog2 = 10;
inline constexpr int kTileElements = 1 << kTileLog2;
inline constexpr int kTileBlocksLog2 = 12;
inline constexpr int64_t kMaxSiteElements = int64_t{1} << (32 - kTileBlocksLog2 + kTileLog2 - 2);
inline constexpr double kMaxTileRate =
    12000;  // arrivals per tile; 4096 blocks hold 16,383 (40 sigma more)
inline constexpr uint32_t kArraySite = 0xFFFF;

inline constexpr int kPayloadPositionShift = 32 - kTileLog2;
inline constexpr int kPayloadTypeShift = 4;
inline constexpr int kTypeBits = 18;
inline constexpr uint32_t kTypeMask = (1u << kTypeBits) - 1;

FTT_HD inline uint32_t FaultWord3(uint32_t repetition, uint32_t model, uint32_t site) {
  return static_cast<uint32_t>(Stream::kFault) << 24 | repetition << 21 | model << 16 | site;
}

FTT_HD inline uint32_t SparseWord0(uint32_t tile, uint32_t block) {
  return tile << kTileBlocksLog2 | block;
}

FTT_HD inline uint32_t MakePayload(uint32_t position, uint32_t type, uint32_t cell) {
  return position << kPayloadPositionShift | type << kPayloadTypeShift | cell;
}
FTT_HD inline uint32_t PayloadPosition(uint32_t payload) {
  return payload >> kPayloadPositionShift;
}
FTT_HD inline uint32_t PayloadType(uint32_t payload) {
  return payload >> kPayloadTypeShift & kTypeMask;
}

}  // namespace ftt
