// State that a checkpoint keeps and a resumed search gets back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ftt {

// A named array of doubles; `values` has the product of `shape` elements, row-major. Integers are
// exact up to 2^53.
struct StateTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<double> values;
  friend bool operator==(const StateTensor&, const StateTensor&) = default;
};

using StateDict = std::vector<StateTensor>;

// The tensor of that name and shape; an extent of -1 in `shape` fits any. Throws ftt::Error that
// names it where it is missing or has another shape.
const StateTensor& FindState(const StateDict& state, const std::string& name,
                             const std::vector<int64_t>& shape);

}  // namespace ftt
