// "shapes": a built-in data set that needs no download. Ten kinds of figure in any colour, place,
// size and rotation over a textured background with distractors, so that no weighted sum of pixels
// tells them apart, but a small convolutional network does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace ftt {

inline constexpr int kShapeClasses = 10;
inline constexpr int kShapeSide = 32;
// Test images are counted from here, so that no training set reaches them.
inline constexpr uint32_t kFirstTestShape = 0x8000'0000u;

// Class names in label order.
std::vector<std::string> ShapeNames();

// Images first .. first + count - 1 of the endless row that `seed` names, 32x32x3; image i has
// label i mod 10. Each is a function of (seed, i) alone, computed in integers, so its bytes are the
// same on every machine.
ImageSet MakeShapes(uint64_t seed, uint32_t first, int count);

// Paints image `index` of that row into out, [32][32][3], and returns its label.
int PaintShape(uint64_t seed, uint32_t index, uint8_t* out);

}  // namespace ftt
