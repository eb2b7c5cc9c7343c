// Neighbouring raw outputs or gradients as they lie in memory: what is converted where it is loaded
// is waited for there.
#pragma once

#include <type_traits>

#include "kernels/cuda/device.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

// kN values (4 or 8) from a multiple of kN on. Raw: int32_t, Half or Bf16.
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
    if constexpr (std::is_same_v<Raw, Bf16>) {
      uint32_t pairs[kN / 2];
      memcpy(pairs, words, sizeof pairs);
      FTT_UNROLL
      for (int i = 0; i < kN; ++i)
        v[i] = BitsToFloat(i % 2 == 0 ? pairs[i / 2] << 16 : pairs[i / 2] & 0xFFFF0000u);
      return;
    } else {
      Raw raw[kN];
      memcpy(raw, words, sizeof raw);
      FTT_UNROLL
      for (int i = 0; i < kN; ++i) {
        if constexpr (std::is_same_v<Raw, Half>) {
          v[i] = HalfToFloat(raw[i]);
        } else {
          v[i] = static_cast<float>(raw[i]);
        }
      }
    }
  }
};

}  // namespace ftt::cuda
