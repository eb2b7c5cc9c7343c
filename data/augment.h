// Batches of images, augmented or as they are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/moves.h"

namespace ftt {

struct AugmentOptions {
  int crop_padding = 4;  // pixels, 0..255: pad on each side, then cut the original size at random
  // What the padding shows: "reflect" mirrors the image at its edge and so keeps the statistics of
  // its pixels, which batch norms see; "black" is what many frameworks do.
  std::string crop_border = "reflect";
  bool flip = true;  // mirror left-right in half of the cases
  int cutout = 0;    // side in pixels, 0..255, of a square that is painted over; 0: none
  std::vector<uint8_t> cutout_fill;  // per channel, see MeanPixel; empty: black
};

// Throws ftt::Error where an option is outside its range or cutout_fill does not fit `channels`.
void Validate(const AugmentOptions& options, int channels);

// What happens to image `index` of the set in an epoch; options must be valid.
ImageMoves DrawMoves(const ImageSet& images, const AugmentOptions& options, uint64_t seed,
                     uint32_t epoch, uint32_t index);

// Copies `count` images into `out`, [count][height][width][channels]; with `options` (nullable)
// augmented.
//
// Crop and flip as usual for CIFAR; cutout paints a square whose centre is uniform over the image,
// clipped at the border (DeVries and Taylor, arXiv 1708.04552). What happens to an image is a
// function of (seed, epoch, image index) alone: its place in a batch does not matter, and switching
// one transformation off leaves the others as they were. Indices must lie in the set.
void MakeBatch(const ImageSet& images, const uint32_t* indices, int count,
               const AugmentOptions* options, uint64_t seed, uint32_t epoch, uint8_t* out);

}  // namespace ftt
