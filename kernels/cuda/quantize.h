// Raw outputs of a convolution or pool -> codes, straight-through mask, faults: one pass.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

struct QuantizeArguments {
  MapShape shape;
  int bits = 8;  // of a code, 4..8
  RawType raw_type = RawType::kInt32;
  int raw_shift = 0;          // kHalf: the accumulator is value * 2^raw_shift
  const void* raw = nullptr;  // [lanes][Pixels()][Stride()]
  // code = saturate(rint(fma(acc, scale, shift))); [lanes][Stride()], or one for all lanes; 0 in
  // pads, aligned to 16 bytes.
  const float* scale = nullptr;
  const float* shift = nullptr;
  bool one_norm = false;
  SiteFaultsView faults;
  int8_t* codes = nullptr;  // out
  uint8_t* mask = nullptr;  // out; null: not wanted
};

// Throws ftt::Error on shapes it cannot handle.
void Quantize(const QuantizeArguments& arguments, DeviceStream stream);

// Faults alone, in place.
struct InjectArguments {
  MapShape shape;
  SiteFaultsView faults;
  int8_t* codes = nullptr;
};
void Inject(const InjectArguments& arguments, DeviceStream stream);

}  // namespace ftt::cuda
