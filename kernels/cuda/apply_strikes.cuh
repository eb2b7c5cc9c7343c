// How a block applies faults that were drawn ahead (strikes.h) to the codes that it has written.
#pragma once

#include "faults/model_list.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/strikes.h"

namespace ftt::cuda {

// Consecutive pixels of one lane and a range of their channels, wherever their codes lie.
struct StruckTile {
  int8_t* codes;       // of the first pixel and channel, in global or shared memory
  uint16_t* mask;      // straight-through bits of the same codes; null: not wanted
  int stride;          // from pixel to pixel
  int first, count;    // pixels of the lane, all images one after another
  int map_pixels;      // of one image
  int image;           // that the first pixel belongs to
  int channels;        // of the whole map
  int channel, width;  // channels [channel, channel + width)
};

// Words of a thread that are under way together.
inline constexpr int kStrikeFlight = 4;
struct StrikeWords {
  uint32_t word[kStrikeFlight];
};

// Where the lists of the tiles that a block's pixels lie in begin and end, in words from those of
// the first pixel's image on.
struct StrikeRange {
  int begin, end;
  int map_words;  // of an image
  bool one_image;
  const uint32_t* words;

  __device__ __forceinline__ StrikeRange(const StrikeList& list, int lane, const StruckTile& t)
      : map_words(list.tiles * list.slots) {
    const int first_pixel = t.first - t.image * t.map_pixels, last = t.first + t.count - 1;
    one_image = first_pixel + t.count <= t.map_pixels;
    const int last_image = one_image ? t.image : last / t.map_pixels;
    const int last_pixel = last - last_image * t.map_pixels;
    begin = (first_pixel * t.channels >> kTileLog2) * list.slots;
    end = (last_image - t.image) * map_words +
          ((((last_pixel + 1) * t.channels - 1) >> kTileLog2) + 1) * list.slots;
    words = list.words + lane * list.lane_words + int64_t{t.image} * map_words;
  }
  // Words i, i + threads, ... of the lists.
  __device__ __forceinline__ StrikeWords Load(int i) const {
    StrikeWords got;
    FTT_UNROLL
    for (int k = 0; k < kStrikeFlight; ++k) {
      const int at = i + k * static_cast<int>(blockDim.x);
      got.word[k] = at < end ? words[at] : kNoStrike;
    }
    return got;
  }
};

// A thread's first words. They depend on nothing that the block computes.
__device__ __forceinline__ StrikeWords FirstStrikes(const StrikeList& list, int lane,
                                                    const StruckTile& t) {
  const StrikeRange range(list, lane, t);
  return range.Load(range.begin + static_cast<int>(threadIdx.x));
}

// All threads of the block, behind a barrier after the writing of the codes; none follows. `got`:
// FirstStrikes. A call: its registers are not its caller's. Most words name no strike, so warps
// pass over those that name none for any of their threads.
FTT_NOINLINE __device__ inline void ApplyStrikes(const StrikeList& list, int lane, StruckTile t,
                                                 StrikeWords got) {
  const StrikeRange range(list, lane, t);
  const int first_pixel = t.first - t.image * t.map_pixels;
  FaultStep step;  // what models with one fault a code read of it
  step.model = list.model;
  step.bits = list.bits;
  const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
  for (int first = range.begin;;) {
    int at[kStrikeFlight], code[kStrikeFlight];
    FTT_UNROLL
    for (int k = 0; k < kStrikeFlight; ++k) {
      at[k] = -1;
      if (Ballot(got.word[k] != kNoStrike) == 0) continue;
      const StruckCode strike = StruckCode::Of(got.word[k]);
      int pixel = static_cast<int>(strike.pixel) - first_pixel;
      if (!range.one_image) {
        const int image = (first + thread + k * threads) / range.map_words;
        pixel += image * t.map_pixels;
      }
      const int channel = static_cast<int>(strike.channel) - t.channel;
      const bool mine = got.word[k] != kNoStrike &&
                        static_cast<unsigned>(pixel) < static_cast<unsigned>(t.count) &&
                        static_cast<unsigned>(channel) < static_cast<unsigned>(t.width);
      if (!mine) continue;
      at[k] = pixel * t.stride + channel;
      code[k] = t.codes[at[k]];
    }
    first += kStrikeFlight * threads;
    const bool more = first < range.end;
    const StrikeWords now = got;
    if (more) got = range.Load(first + thread);
    FTT_UNROLL
    for (int k = 0; k < kStrikeFlight; ++k) {
      if (at[k] < 0) continue;
      const StruckCode strike = StruckCode::Of(now.word[k]);
      const FaultEffect effect = ApplyFaultOf<FaultUse::kOneFault>(
          step, code[k], {1u << strike.cell, strike.one << strike.cell});
      t.codes[at[k]] = static_cast<int8_t>(effect.code);
      if (effect.saturated && t.mask != nullptr)
        AtomicClear16(t.mask + at[k] / 16, static_cast<uint16_t>(1u << at[k] % 16));
    }
    if (!more) return;
  }
}

}  // namespace ftt::cuda
