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

// All threads of the block, behind a barrier after the writing of the codes; none follows. A call:
// its registers are not its caller's.
FTT_NOINLINE __device__ inline void ApplyStrikes(const StrikeList& list, int lane, StruckTile t) {
  const int first_image = t.image, first_pixel = t.first - first_image * t.map_pixels;
  const int last = t.first + t.count - 1;
  const int last_image = first_pixel + t.count <= t.map_pixels ? first_image : last / t.map_pixels;
  const int last_pixel = last - last_image * t.map_pixels;
  // Words of the tiles that the pixels lie in, from the first image's first word on.
  const int map_words = list.tiles * list.slots;
  const int begin = (first_pixel * t.channels >> kTileLog2) * list.slots;
  const int end = (last_image - first_image) * map_words +
                  ((((last_pixel + 1) * t.channels - 1) >> kTileLog2) + 1) * list.slots;
  const uint32_t* words = list.words + lane * list.lane_words + int64_t{first_image} * map_words;
  FaultStep step;  // what models with one fault a code read of it
  step.model = list.model;
  step.bits = list.bits;
  const int threads = static_cast<int>(blockDim.x);
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kStrikeFlight * threads) {
    uint32_t word[kStrikeFlight];
    FTT_UNROLL
    for (int k = 0; k < kStrikeFlight; ++k)
      word[k] = i + k * threads < end ? words[i + k * threads] : kNoStrike;
    int at[kStrikeFlight], code[kStrikeFlight];
    FTT_UNROLL
    for (int k = 0; k < kStrikeFlight; ++k) {
      const StruckCode strike = StruckCode::Of(word[k]);
      int pixel = static_cast<int>(strike.pixel) - first_pixel;
      if (last_image != first_image) pixel += (i + k * threads) / map_words * t.map_pixels;
      const int channel = static_cast<int>(strike.channel) - t.channel;
      const bool mine = word[k] != kNoStrike &&
                        static_cast<unsigned>(pixel) < static_cast<unsigned>(t.count) &&
                        static_cast<unsigned>(channel) < static_cast<unsigned>(t.width);
      at[k] = mine ? pixel * t.stride + channel : -1;
      code[k] = mine ? t.codes[at[k]] : 0;
    }
    FTT_UNROLL
    for (int k = 0; k < kStrikeFlight; ++k) {
      if (at[k] < 0) continue;
      const StruckCode strike = StruckCode::Of(word[k]);
      const FaultEffect effect =
          ApplyFault(step, code[k], {1u << strike.cell, strike.one << strike.cell});
      t.codes[at[k]] = static_cast<int8_t>(effect.code);
      if (effect.saturated && t.mask != nullptr)
        AtomicClear16(t.mask + at[k] / 16, static_cast<uint16_t>(1u << at[k] % 16));
    }
  }
}

}  // namespace ftt::cuda
