// Many images in one picture, to look at.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace ftt {

// The images `indices` in rows of `columns` with black lines between, each pixel drawn as zoom x
// zoom, as a binary PPM file (grey images become RGB). Throws unless columns and zoom are at least
// 1 and every index is in the set.
std::string ContactSheet(const ImageSet& images, const std::vector<uint32_t>& indices, int columns,
                         int zoom);

// Indices of the first images of every class in turn: `rows` of each, ordered row by row, one class
// per column. Classes with fewer images end the list early.
std::vector<uint32_t> FirstOfEachClass(const ImageSet& images, int classes, int rows);

}  // namespace ftt
