// Neighbouring raw outputs as they lie in memory: what is converted where it is loaded is waited
// for there.
#pragma once

#include <type_traits>

#include "kernels/cuda/device.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

// kN outputs (4 or 8) from a multiple of kN on. Raw: int32_t or Half.
template <typename Raw, int kN>
struct RawValues {
  using Word = std::conditional_t<kN * sizeof(Raw) == 8, uint2, uint4>;
  static constexpr int kWords = kN * sizeof(Raw) / sizeof(Word);
  Word words[kWords];

  __device__ __forceinline__ void Load(const Raw* from) {
    FTT_UNROLL
    for (int i = 0; i < kWords; ++i) words[i] = reinterpret_cast<const Word*>(from)[i];
  }
  __device__ __forceinline__ void Floats(float (&v)[kN]) const {
    Raw raw[kN];
    memcpy(raw, words, sizeof raw);
    FTT_UNROLL
    for (int i = 0; i < kN; ++i) {
      if constexpr (sizeof(Raw) == 4) {
        v[i] = static_cast<float>(raw[i]);
      } else {
        v[i] = HalfToFloat(raw[i]);
      }
    }
  }
};

}  // namespace ftt::cuda
