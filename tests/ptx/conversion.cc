// Conversions between types, between address spaces, and of registers into vectors.
#include <array>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/half.h"
#include "tests/ptx/formulas.h"
#include "tests/ptx/operand.h"
#include "tests/ptx/warp.h"

namespace ftt::ptx {
namespace {

float HalfValue(uint16_t bits) {
  static const auto table = [] {
    std::vector<float> values(size_t{1} << 16);
    for (size_t i = 0; i < values.size(); ++i) values[i] = HalfToFloat(static_cast<uint16_t>(i));
    return values;
  }();
  return table[bits];
}

// To nearest even; bits of a NaN that are not kept are of no account.
enum class Rounding { kNone, kNearest, kToInteger, kTruncate, kFloor, kCeiling };

// What lies outside of D becomes its nearest, a NaN 0 (as the PTX ISA has it of cvt to integers).
template <typename D, typename S>
D Saturate(S value) {
  if (std::isnan(value)) return 0;
  constexpr auto kLeast = static_cast<S>(std::numeric_limits<D>::min());
  constexpr auto kMost = static_cast<S>(std::numeric_limits<D>::max());  // may round up
  if (value <= kLeast) return std::numeric_limits<D>::min();
  if (value >= kMost) return std::numeric_limits<D>::max();
  return static_cast<D>(value);
}

template <typename S>
S RoundTo(S value, Rounding rounding) {
  switch (rounding) {
    case Rounding::kToInteger:
      return std::nearbyint(value);
    case Rounding::kTruncate:
      return std::trunc(value);
    case Rounding::kFloor:
      return std::floor(value);
    case Rounding::kCeiling:
      return std::ceil(value);
    default:
      return value;
  }
}

template <typename D, typename S>
void Convert(Warp& warp, const Instruction& in, Mask active) {
  const auto rounding = static_cast<Rounding>(in.offset);
  auto* to = Lanes<D>(warp, in.at[0]);
  // A register may be wider than what is taken of it.
  const bool wide = in.bytes == 8;
  ForLanes(active, [&](int lane) {
    const S value = wide && std::is_integral_v<S>
                        ? static_cast<S>(Get<uint64_t>(warp, in.at[1], lane))
                        : Get<S>(warp, in.at[1], lane);
    if constexpr (std::is_floating_point_v<S>) {
      const S rounded = RoundTo(value, rounding);
      if constexpr (std::is_floating_point_v<D>) {
        to[lane] = ToWord<D>(static_cast<D>(rounded));
      } else {
        to[lane] = ToWord<D>(Saturate<D>(rounded));
      }
    } else if constexpr (std::is_floating_point_v<D>) {
      to[lane] = ToWord<D>(static_cast<D>(value));
    } else {
      // The whole register gets the value, its sign too.
      using Full = std::conditional_t<std::is_signed_v<D>, int64_t, uint64_t>;
      to[lane] = static_cast<Word<D>>(static_cast<Full>(static_cast<D>(value)));
    }
  });
}
void ConvertFromHalf(Warp& warp, const Instruction& in, Mask active) {
  ForLanes(active, [&](int lane) {
    Put(warp, in.at[0], lane, HalfValue(Get<uint16_t>(warp, in.at[1], lane)));
  });
}
void ConvertToHalf(Warp& warp, const Instruction& in, Mask active) {
  ForLanes(active, [&](int lane) {
    Put(warp, in.at[0], lane, FloatToHalf(Get<float>(warp, in.at[1], lane)));
  });
}
template <uint16_t (*kRound)(float)>
void ConvertPair(Warp& warp, const Instruction& in, Mask active) {
  ForLanes(active, [&](int lane) {
    const uint32_t high = kRound(Get<float>(warp, in.at[1], lane));
    const uint32_t low = kRound(Get<float>(warp, in.at[2], lane));
    Put(warp, in.at[0], lane, high << 16 | low);
  });
}

template <typename S>
Handler ConvertFrom(Type to) {
  switch (to.kind == 's' ? -to.bytes : to.bytes) {
    case 1:
      return &Convert<uint8_t, S>;
    case 2:
      return &Convert<uint16_t, S>;
    case 4:
      return to.kind == 'f' ? Handler{&Convert<float, S>} : &Convert<uint32_t, S>;
    case 8:
      return to.kind == 'f' ? Handler{&Convert<double, S>} : &Convert<uint64_t, S>;
    case -1:
      return &Convert<int8_t, S>;
    case -2:
      return &Convert<int16_t, S>;
    case -4:
      return &Convert<int32_t, S>;
    default:
      return &Convert<int64_t, S>;
  }
}
Handler ConvertHandler(Type to, Type from) {
  switch (from.kind == 's' ? -from.bytes : from.bytes) {
    case 1:
      return ConvertFrom<uint8_t>(to);
    case 2:
      return ConvertFrom<uint16_t>(to);
    case 4:
      return from.kind == 'f' ? ConvertFrom<float>(to) : ConvertFrom<uint32_t>(to);
    case 8:
      return from.kind == 'f' ? ConvertFrom<double>(to) : ConvertFrom<uint64_t>(to);
    case -1:
      return ConvertFrom<int8_t>(to);
    case -2:
      return ConvertFrom<int16_t>(to);
    case -4:
      return ConvertFrom<int32_t>(to);
    default:
      return ConvertFrom<int64_t>(to);
  }
}

Rounding ParseRounding(const Statement& s) {
  constexpr std::pair<std::string_view, Rounding> kNames[] = {{"rn", Rounding::kNearest},
                                                              {"rni", Rounding::kToInteger},
                                                              {"rzi", Rounding::kTruncate},
                                                              {"rmi", Rounding::kFloor},
                                                              {"rpi", Rounding::kCeiling}};
  if (s.parts.size() == 3) return Rounding::kNone;
  FTT_CHECK(s.parts.size() == 4, "PTX: a conversion that is not known");
  for (const auto& [name, rounding] : kNames)
    if (s.parts[1] == name) return rounding;
  Fail("PTX: the rounding '{}' is not known", s.parts[1]);
}

bool DecodeCvt(const Statement& s, Places* places, Instruction* out) {
  const Rounding rounding = ParseRounding(s);
  const std::string_view to_name = s.parts[s.parts.size() - 2];
  if (to_name == "f16x2" || to_name == "bf16x2") {
    if (rounding != Rounding::kNearest || s.parts.back() != "f32") return false;
    out->run = to_name == "f16x2" ? &ConvertPair<FloatToHalf> : &ConvertPair<ToBf16>;
    for (size_t i = 0; i < 3; ++i) out->at[i] = places->Of(s.operands[i], false);
    return true;
  }
  const Type to = ParseType(to_name), from = s.LastType();
  out->offset = static_cast<int64_t>(rounding);
  if (to.kind == 'f' && to.bytes == 2) {
    if (rounding != Rounding::kNearest || from.kind != 'f' || from.bytes != 4) return false;
    out->run = &ConvertToHalf;
  } else if (from.kind == 'f' && from.bytes == 2) {
    if (to.kind != 'f' || to.bytes != 4) return false;
    out->run = &ConvertFromHalf;
  } else {
    out->run = ConvertHandler(to, from);
  }
  const bool wide = from.bytes == 8 || (from.kind != 'f' && s.operands[1].wide);
  out->bytes = wide ? 8 : 4;
  out->at[0] = places->Of(s.operands[0], to.bytes == 8);
  out->at[1] = places->Of(s.operands[1], wide);
  return true;
}

// -- addresses of a space, and generic ones

uint64_t BaseOf(Warp& warp, const Instruction& in, int lane) {
  switch (in.space) {
    case Space::kShared:
      return reinterpret_cast<uintptr_t>(warp.block->shared);
    case Space::kLocal:
      return reinterpret_cast<uintptr_t>(warp.local.data()) +
             static_cast<size_t>(lane) * warp.block->program->local_bytes;
    case Space::kParameter:
      return reinterpret_cast<uintptr_t>(warp.block->parameters.data());
    default:
      return 0;
  }
}
// negated: to the space, else from it.
void ConvertAddress(Warp& warp, const Instruction& in, Mask active) {
  ForLanes(active, [&](int lane) {
    const uint64_t base = BaseOf(warp, in, lane);
    const auto address = Get<uint64_t>(warp, in.at[1], lane);
    Put(warp, in.at[0], lane, in.negated ? address - base : address + base);
  });
}
bool DecodeCvta(const Statement& s, Places* places, Instruction* out) {
  const bool to = s.Has("to");
  const std::string_view space = s.parts[to ? 2 : 1];
  out->space = space == "shared"  ? Space::kShared
               : space == "local" ? Space::kLocal
               : space == "param" ? Space::kParameter
                                  : Space::kGlobal;
  if (out->guard >= 0 || s.parts.back() != "u64") return false;
  out->negated = to;
  out->run = &ConvertAddress;
  out->at[0] = places->Of(s.operands[0], true);
  out->at[1] = places->Of(s.operands[1], true);
  return true;
}

// -- mov

void MoveNumber(Warp& warp, const Instruction& in, Mask active) {
  const bool wide = in.bytes == 8;
  ForLanes(active, [&](int lane) {
    if (wide) {
      Put(warp, in.at[0], lane, static_cast<uint64_t>(in.offset));
    } else {
      Put(warp, in.at[0], lane, static_cast<uint32_t>(in.offset));
    }
  });
}
// Two halves make a whole, or the other way round; at[0] is the whole.
template <typename T, typename Half, bool kJoin>
void MovePair(Warp& warp, const Instruction& in, Mask active) {
  constexpr int kBits = 8 * sizeof(Half);
  ForLanes(active, [&](int lane) {
    if constexpr (kJoin) {
      const T low = Get<Half>(warp, in.at[1], lane), high = Get<Half>(warp, in.at[2], lane);
      Put(warp, in.at[0], lane, static_cast<T>(high << kBits | low));
    } else {
      const T whole = Get<T>(warp, in.at[0], lane);
      Put(warp, in.at[1], lane, static_cast<Half>(whole));
      Put(warp, in.at[2], lane, static_cast<Half>(whole >> kBits));
    }
  });
}
bool DecodeMov(const Statement& s, Places* places, Instruction* out) {
  const bool wide = s.LastType().bytes == 8;
  const Operand &to = s.operands[0], &from = s.operands[1];
  if (from.kind == Operand::Kind::kSymbol) {
    if (from.space == Space::kParameter && !from.uniform_parameter) return false;
    out->run = &MoveNumber;
    out->bytes = wide ? 8 : 4;
    out->offset = from.offset;
    out->at[0] = places->Of(to, wide);
    return true;
  }
  const bool join = from.kind == Operand::Kind::kVector;
  const Operand& whole = join ? to : from;
  const std::vector<Operand>& halves = join ? from.elements : to.elements;
  if (halves.size() != 2) return false;
  if (wide) {
    out->run = join ? &MovePair<uint64_t, uint32_t, true> : &MovePair<uint64_t, uint32_t, false>;
  } else {
    out->run = join ? &MovePair<uint32_t, uint16_t, true> : &MovePair<uint32_t, uint16_t, false>;
  }
  out->at[0] = places->Of(whole, wide);
  for (size_t i = 0; i < 2; ++i)
    out->at[i + 1] = halves[i].discarded ? places->NewSlot(false) : places->Of(halves[i], false);
  return true;
}

}  // namespace

bool DecodeConversion(const Statement& s, Places* places, Instruction* out) {
  if (s.Name() == "cvt") return DecodeCvt(s, places, out);
  if (s.Name() == "cvta") return DecodeCvta(s, places, out);
  if (s.Name() == "mov") return DecodeMov(s, places, out);
  return false;
}

}  // namespace ftt::ptx
