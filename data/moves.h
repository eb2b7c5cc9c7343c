// What augmentation does to one image: a plain struct, for host and device.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace ftt {

struct ImageMoves {
  int16_t dx = 0, dy = 0;        // where the crop starts in the image, may be negative
  int16_t cut_x = 0, cut_y = 0;  // centre of the cutout
  uint8_t mirror = 0;            // left-right, after the crop
};

// The place in [0, size) that `at` shows when the line is mirrored at its first and last pixel.
FTT_HD inline int ReflectedPlace(int at, int size) {
  const int period = size > 1 ? 2 * size - 2 : 1;
  const int place = (at % period + period) % period;
  return place < period - place ? place : period - place;
}

}  // namespace ftt
