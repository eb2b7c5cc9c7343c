// Raw outputs of convolutions and pools, between their computation and their uses, and gradients of
// maps.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ftt {

// kHalf stores half(acc * 2^-shift); RawShift() keeps the largest possible accumulator finite.
enum class RawType : uint8_t { kInt32, kHalf };

inline int64_t RawBytes(RawType type) { return type == RawType::kHalf ? 2 : 4; }

// The accumulators of one map, dense like its codes. Does not own them.
struct RawMap {
  RawMap() = default;
  // Plain accumulators; only Accumulate, which must get its own, writes to them.
  RawMap(const int32_t* acc) : data(const_cast<int32_t*>(acc)) {}  // NOLINT
  RawMap(void* values, RawType stored_as, int right_shift)
      : data(values), type(stored_as), shift(right_shift) {}

  template <typename T>
  T* As() const {
    return static_cast<T*>(data);
  }

  void* data = nullptr;
  RawType type = RawType::kInt32;
  int shift = 0;  // kHalf: the accumulator is value * 2^shift
};

// The gradient of one map: float32, or bfloat16 where `narrow`. Does not own it.
struct GradMap {
  GradMap() = default;
  GradMap(std::nullptr_t) {}  // NOLINT
  // Only who is asked for a gradient writes to it.
  GradMap(const float* values) : data(const_cast<float*>(values)) {}  // NOLINT
  GradMap(void* values, bool as_bfloat16) : data(values), narrow(as_bfloat16) {}

  explicit operator bool() const { return data != nullptr; }
  float* Floats() const { return narrow ? nullptr : static_cast<float*>(data); }
  uint16_t* Narrow() const { return narrow ? static_cast<uint16_t*>(data) : nullptr; }

  void* data = nullptr;
  bool narrow = false;
};

}  // namespace ftt
