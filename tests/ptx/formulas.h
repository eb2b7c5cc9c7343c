// What operations compute, as the PTX ISA has it, of one lane.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

namespace ftt::ptx {

// Integers are computed without signs, in at least 32 bits, so that they wrap around.
template <typename T>
using Wrapping = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
template <typename T>
Wrapping<T> W(T v) {
  return static_cast<Wrapping<T>>(v);
}
template <typename T>
constexpr int kBits = 8 * static_cast<int>(sizeof(T));

struct Add {
  template <typename T>
  static T Of(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      return a + b;
    } else {
      return static_cast<T>(W(a) + W(b));
    }
  }
};
struct Subtract {
  template <typename T>
  static T Of(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      return a - b;
    } else {
      return static_cast<T>(W(a) - W(b));
    }
  }
};
struct Multiply {
  template <typename T>
  static T Of(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      return a * b;
    } else {
      return static_cast<T>(W(a) * W(b));
    }
  }
};
struct MultiplyHigh {
  template <typename T>
  static T Of(T a, T b) {
    using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
    return static_cast<T>((static_cast<Wide>(a) * static_cast<Wide>(b)) >> kBits<T>);
  }
};
struct MultiplyAdd {
  template <typename T>
  static T Of(T a, T b, T c) {
    return static_cast<T>(W(a) * W(b) + W(c));
  }
};
struct Fused {
  template <typename T>
  static T Of(T a, T b, T c) {
    return std::fma(a, b, c);
  }
};
inline uint16_t ToBf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return 0x7FFF;
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

struct FusedBf16 {
  static uint32_t Of(uint32_t a, uint32_t b, uint32_t c) {
    const auto half = [](uint32_t pair, int i) {
      return double{std::bit_cast<float>((pair >> 16 * i & 0xFFFF) << 16)};
    };
    const auto fused = [&](int i) {
      const double exact = half(a, i) * half(b, i) + half(c, i);
      // To odd, so that rounding once more is as good as rounding once.
      auto narrow = static_cast<float>(exact);
      if (narrow != exact) {
        if (std::fabs(narrow) > std::fabs(exact)) narrow = std::nextafter(narrow, 0.0f);
        narrow = std::bit_cast<float>(std::bit_cast<uint32_t>(narrow) | 1);
      }
      return uint32_t{ToBf16(narrow)};
    };
    return fused(0) | fused(1) << 16;
  }
};
struct Divide {
  template <typename T>
  static T Of(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      return a / b;
    } else {
      if (b == 0) return static_cast<T>(-1);
      if constexpr (std::is_signed_v<T>)
        if (b == -1) return static_cast<T>(W(T{0}) - W(a));
      return static_cast<T>(a / b);
    }
  }
};
struct Remainder {
  template <typename T>
  static T Of(T a, T b) {
    if (b == 0) return a;
    if constexpr (std::is_signed_v<T>)
      if (b == -1) return 0;
    return static_cast<T>(a % b);
  }
};
// The other where one is no number; -0 is less than +0.
struct Least {
  template <typename T>
  static T Of(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(a) || std::isnan(b)) return std::isnan(a) ? b : a;
      if (a == b) return std::signbit(a) ? a : b;
    }
    return b < a ? b : a;
  }
};
struct Greatest {
  template <typename T>
  static T Of(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(a) || std::isnan(b)) return std::isnan(a) ? b : a;
      if (a == b) return std::signbit(a) ? b : a;
    }
    return a < b ? b : a;
  }
};
// Of two signed halves.
template <typename F>
struct Halves {
  template <typename T>
  static T Of(T a, T b) {
    uint32_t result = 0;
    for (int shift : {0, 16}) {
      const auto half = F::Of(static_cast<int16_t>(a >> shift), static_cast<int16_t>(b >> shift));
      result |= static_cast<uint32_t>(static_cast<uint16_t>(half)) << shift;
    }
    return result;
  }
};
struct And {
  template <typename T>
  static T Of(T a, T b) {
    return static_cast<T>(a & b);
  }
};
struct Or {
  template <typename T>
  static T Of(T a, T b) {
    return static_cast<T>(a | b);
  }
};
struct Xor {
  template <typename T>
  static T Of(T a, T b) {
    return static_cast<T>(a ^ b);
  }
};
struct Not {
  template <typename T>
  static T Of(T a) {
    return static_cast<T>(~a);
  }
};
struct Negate {
  template <typename T>
  static T Of(T a) {
    if constexpr (std::is_floating_point_v<T>) {
      return -a;
    } else {
      return static_cast<T>(W(T{0}) - W(a));
    }
  }
};
struct Absolute {
  template <typename T>
  static T Of(T a) {
    if constexpr (std::is_floating_point_v<T>) {
      return std::fabs(a);
    } else {
      return a < 0 ? Negate::Of(a) : a;
    }
  }
};
struct SquareRoot {
  template <typename T>
  static T Of(T a) {
    return std::sqrt(a);
  }
};
struct Reciprocal {
  template <typename T>
  static T Of(T a) {
    return T{1} / a;
  }
};
struct Same {
  template <typename T>
  static T Of(T a) {
    return a;
  }
};
struct ShiftLeft {
  template <typename T>
  static T Of(T a, uint32_t n) {
    return n >= kBits<T> ? T{0} : static_cast<T>(W(a) << n);
  }
};
struct ShiftRight {
  template <typename T>
  static T Of(T a, uint32_t n) {
    const uint32_t most = kBits<T> - 1;
    if constexpr (std::is_unsigned_v<T>)
      if (n > most) return 0;
    return static_cast<T>(a >> std::min(n, most));
  }
};
struct FunnelLeftWrap {
  static uint32_t Of(uint32_t low, uint32_t high, uint32_t n) {
    const uint64_t both = static_cast<uint64_t>(high) << 32 | low;
    return static_cast<uint32_t>(both << (n & 31) >> 32);
  }
};
struct Permute {
  static uint32_t Of(uint32_t a, uint32_t b, uint32_t selector) {
    const uint64_t both = static_cast<uint64_t>(b) << 32 | a;
    uint32_t result = 0;
    for (int i = 0; i < 4; ++i) {
      const uint32_t nibble = selector >> 4 * i & 15;
      auto byte = static_cast<uint8_t>(both >> 8 * (nibble & 7));
      if ((nibble & 8) != 0) byte = (byte & 0x80) != 0 ? 0xFF : 0;
      result |= static_cast<uint32_t>(byte) << 8 * i;
    }
    return result;
  }
};
struct DotBytes {
  static int32_t Of(uint32_t a, uint32_t b, int32_t c) {
    for (int i = 0; i < 32; i += 8) c += static_cast<int8_t>(a >> i) * static_cast<int8_t>(b >> i);
    return c;
  }
};
// Two signed halves of a times the two low bytes of b.
struct DotHalvesLow {
  static int32_t Of(uint32_t a, uint32_t b, int32_t c) {
    for (int i = 0; i < 2; ++i)
      c += static_cast<int16_t>(a >> 16 * i) * static_cast<int8_t>(b >> 8 * i);
    return c;
  }
};
struct InsertBits {
  template <typename T>
  static T Of(T from, T into, uint32_t position, uint32_t length) {
    position &= 0xFF;
    length = std::min(length & 0xFF, static_cast<uint32_t>(kBits<T>));
    if (position >= kBits<T> || length == 0) return into;
    const T ones = length == kBits<T> ? ~T{0} : static_cast<T>((T{1} << length) - 1);
    const T mask = static_cast<T>(ones << position);
    return static_cast<T>((into & ~mask) | (static_cast<T>(from << position) & mask));
  }
};
struct Reverse {
  static uint32_t Of(uint32_t a) {
    uint32_t result = 0;
    for (int i = 0; i < 32; ++i) result |= (a >> i & 1) << (31 - i);
    return result;
  }
};
// By how much to shift so that the highest bit is at the top; none: all ones.
struct LeadingShift {
  static uint32_t Of(uint32_t a) {
    return a == 0 ? 0xFFFFFFFFu : static_cast<uint32_t>(std::countl_zero(a));
  }
};
struct CountBits {
  static uint32_t Of(uint32_t a) { return static_cast<uint32_t>(std::popcount(a)); }
};
struct CountLeading {
  static uint32_t Of(uint32_t a) { return static_cast<uint32_t>(std::countl_zero(a)); }
};

struct Equal {
  template <typename T>
  static bool Of(T a, T b) {
    return a == b;
  }
};
struct NotEqual {  // of numbers
  template <typename T>
  static bool Of(T a, T b) {
    return a < b || a > b;
  }
};
struct Less {
  template <typename T>
  static bool Of(T a, T b) {
    return a < b;
  }
};
struct LessEqual {
  template <typename T>
  static bool Of(T a, T b) {
    return a <= b;
  }
};
struct Greater {
  template <typename T>
  static bool Of(T a, T b) {
    return a > b;
  }
};
struct GreaterEqual {
  template <typename T>
  static bool Of(T a, T b) {
    return a >= b;
  }
};
// True as well where one is no number.
template <typename F>
struct OrUnordered {
  template <typename T>
  static bool Of(T a, T b) {
    return std::isnan(a) || std::isnan(b) || F::Of(a, b);
  }
};
struct Unordered {
  template <typename T>
  static bool Of(T a, T b) {
    return std::isnan(a) || std::isnan(b);
  }
};

// d[twice as wide] = a * b.
struct WideProduct {
  static int64_t Of(int32_t a, int32_t b) { return static_cast<int64_t>(a) * b; }
  static uint64_t Of(uint32_t a, uint32_t b) { return static_cast<uint64_t>(a) * b; }
  static int32_t Of(int16_t a, int16_t b) { return static_cast<int32_t>(a) * b; }
  static uint32_t Of(uint16_t a, uint16_t b) { return static_cast<uint32_t>(a) * b; }
};
struct WideProductAdd {
  static int64_t Of(int32_t a, int32_t b, int64_t c) { return Add::Of(WideProduct::Of(a, b), c); }
  static uint64_t Of(uint32_t a, uint32_t b, uint64_t c) { return WideProduct::Of(a, b) + c; }
  static int32_t Of(int16_t a, int16_t b, int32_t c) { return Add::Of(WideProduct::Of(a, b), c); }
  static uint32_t Of(uint16_t a, uint16_t b, uint32_t c) { return WideProduct::Of(a, b) + c; }
};

}  // namespace ftt::ptx
