// From uint8 pixels to the codes of value 0.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "engine/program.h"

namespace ftt {

// x = (pixel / 255 - mean) / stddev, quantized. The exponent covers every possible pixel value, so
// that it does not depend on a batch.
class InputCoding {
 public:
  InputCoding() = default;
  InputCoding(const std::vector<float>& mean, const std::vector<float>& stddev,
              int bits);  // one entry per channel
  int Exponent() const { return exponent_; }
  // pixels, codes: [images][h][w][c].
  void Encode(const uint8_t* pixels, int64_t count, int8_t* codes) const;
  const std::vector<float>& Mean() const { return mean_; }
  const std::vector<float>& Stddev() const { return stddev_; }

 private:
  std::vector<float> mean_, stddev_;
  std::vector<std::array<int8_t, 256>> table_;  // per channel
  int exponent_ = 0;
};

}  // namespace ftt
