// Faults drawn ahead: they do not depend on codes, so one launch draws those of all sites of a
// pass, and the kernels that make the codes only apply them.
#pragma once

#include <vector>

#include "faults/step.h"
#include "kernels/cuda/jobs.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

// A word of a list: one struck code. Of each tile of 1024 elements the hits come first, in any
// order, then kNoStrike.
struct StruckCode {
  static constexpr int kOneBits = 1, kCellBits = 3, kChannelBits = 11, kPixelBits = 17;
  static constexpr int kChannelShift = kOneBits + kCellBits;
  static constexpr int kPixelShift = kChannelShift + kChannelBits;

  uint32_t pixel, channel;  // of the map
  uint32_t cell, one;

  FTT_HD static StruckCode Of(uint32_t word) {
    return {word >> kPixelShift, word >> kChannelShift & ((1u << kChannelBits) - 1),
            word >> kOneBits & ((1u << kCellBits) - 1), word & 1};
  }
  FTT_HD uint32_t Word() const {
    return pixel << kPixelShift | channel << kChannelShift | cell << kOneBits | one;
  }
};
inline constexpr uint32_t kNoStrike = 0xFFFFFFFFu;  // its pixel is beyond any map

// Whether hits of the step on maps of that shape can be listed: a code takes one fault, arrivals
// give the hits, and a word can name them.
bool CanList(const FaultStep& step, const MapShape& map);

// The lists of one site.
struct StrikeJob {
  const LaneFaultSteps* lanes = nullptr;  // [lanes], device memory; without steps, or with one
  int64_t words_before = 0;               // of the sites before this one, per lane and image
  uint32_t elements = 0, channels = 0;    // of one image
  uint32_t inverse_channels = 0;          // 2^32 over channels, rounded up; not of one channel
  int tiles = 0, slots = 0;               // slots: words that hold any tile's hits
  int share_log2 = 0;                     // threads that share a tile
  int chunk_tiles = 0;
};
// steps: of the lanes with faults, tables in host memory. Without `lanes` and words_before.
StrikeJob MakeStrikeJob(const MapShape& map, const std::vector<FaultStep>& steps);

struct StrikeArguments {
  const StrikeJob* jobs = nullptr;   // device memory
  const JobChunk* chunks = nullptr;  // [chunk_count], device memory: each job's tiles
  int chunk_count = 0;               // 0: nothing happens
  int lanes = 1, images = 1;
  const uint32_t* image_ids = nullptr;  // [images], device memory
  uint32_t* words = nullptr;            // a job's lists begin at lanes * images * words_before
};

// Draws the faults of all jobs and counts them.
void DrawStrikes(const StrikeArguments& a, DeviceStream stream);

}  // namespace ftt::cuda
