#include "engine/input_coding.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "kernels/quantize_math.h"

namespace ftt {

InputCoding::InputCoding(const std::vector<float>& mean, const std::vector<float>& stddev, int bits)
    : mean_(mean), stddev_(stddev), table_(mean.size()) {
  FTT_CHECK(mean.size() == stddev.size() && !mean.empty(),
            "input coding: mean and stddev need one entry per channel");
  const auto real = [&](size_t c, int pixel) {
    return (static_cast<float>(pixel) / 255.0f - mean[c]) / stddev[c];
  };
  float largest = 0;
  for (size_t c = 0; c < mean.size(); ++c) {
    FTT_CHECK(stddev[c] > 0, "input coding: the standard deviation of channel {} is not positive",
              c);
    largest = std::max({largest, std::fabs(real(c, 0)), std::fabs(real(c, 255))});
  }
  exponent_ = ExponentFor(largest, bits);
  for (size_t c = 0; c < mean.size(); ++c) {
    for (int pixel = 0; pixel < 256; ++pixel) {
      const float code = std::rint(real(c, pixel) * PowerOfTwo(-exponent_));
      table_[c][static_cast<size_t>(pixel)] =
          static_cast<int8_t>(SaturateCode(static_cast<int>(code), bits));
    }
  }
}

void InputCoding::Encode(const uint8_t* pixels, int64_t count, int8_t* codes) const {
  const size_t channels = table_.size();
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(channels)) {
    for (size_t c = 0; c < channels; ++c)
      codes[i + static_cast<int64_t>(c)] = table_[c][pixels[i + static_cast<int64_t>(c)]];
  }
}

}  // namespace ftt
