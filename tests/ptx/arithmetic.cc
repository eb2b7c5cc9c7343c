// Operations from registers to a register, lane by lane.
#include <algorithm>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "tests/ptx/formulas.h"
#include "tests/ptx/operand.h"
#include "tests/ptx/warp.h"

namespace ftt::ptx {
namespace {

// D of the operation on operands S..., which are at[1], at[2], ...
template <typename F, typename D, typename... S>
struct Lanewise {
  template <size_t... I>
  static void Apply(Warp& warp, const Instruction& in, Mask active, std::index_sequence<I...>) {
    auto* to = Lanes<D>(warp, in.at[0]);
    const auto from = std::make_tuple(static_cast<const Word<S>*>(Lanes<S>(warp, in.at[1 + I]))...);
    if (active == kAllLanes) {
      Word<D> result[kLanes];
      for (int lane = 0; lane < kLanes; ++lane)
        result[lane] = ToWord<D>(F::Of(FromWord<S>(std::get<I>(from)[lane])...));
      std::copy_n(result, kLanes, to);
    } else {
      ForLanes(active, [&](int lane) {
        to[lane] = ToWord<D>(F::Of(FromWord<S>(std::get<I>(from)[lane])...));
      });
    }
  }
  static void Run(Warp& warp, const Instruction& in, Mask active) {
    Apply(warp, in, active, std::index_sequence_for<S...>());
  }
};

template <typename F, typename T>
void Compare(Warp& warp, const Instruction& in, Mask active) {
  const auto *a = Lanes<T>(warp, in.at[1]), *b = Lanes<T>(warp, in.at[2]);
  Mask result = 0;
  for (int lane = 0; lane < kLanes; ++lane)
    result |= static_cast<Mask>(F::Of(FromWord<T>(a[lane]), FromWord<T>(b[lane]))) << lane;
  Mask& to = warp.predicates[in.at[0]];
  to = (to & ~active) | (result & active);
}

template <typename T>
void Select(Warp& warp, const Instruction& in, Mask active) {
  auto* to = Lanes<T>(warp, in.at[0]);
  const auto *a = Lanes<T>(warp, in.at[1]), *b = Lanes<T>(warp, in.at[2]);
  const Mask which = warp.predicates[in.at[3]];
  ForLanes(active, [&](int lane) { to[lane] = (which >> lane & 1) != 0 ? a[lane] : b[lane]; });
}

template <typename F>
void OfPredicates(Warp& warp, const Instruction& in, Mask active) {
  Mask& to = warp.predicates[in.at[0]];
  Mask result;
  if constexpr (std::is_same_v<F, Not> || std::is_same_v<F, Same>) {
    result = F::Of(warp.predicates[in.at[1]]);
  } else {
    result = F::Of(warp.predicates[in.at[1]], warp.predicates[in.at[2]]);
  }
  to = (to & ~active) | (result & active);
}
void SetPredicate(Warp& warp, const Instruction& in, Mask active) {
  Mask& to = warp.predicates[in.at[0]];
  to = in.offset != 0 ? to | active : to & ~active;
}

// Calls f.operator()<T>() for the T that is meant.
template <typename F>
Handler ForInteger(Type type, F f) {
  const bool is_signed = type.kind == 's';
  FTT_CHECK(type.kind != 'f' && type.kind != 'p', "PTX: no operation of this type");
  switch (type.bytes) {
    case 1:
      return is_signed ? f.template operator()<int8_t>() : f.template operator()<uint8_t>();
    case 2:
      return is_signed ? f.template operator()<int16_t>() : f.template operator()<uint16_t>();
    case 4:
      return is_signed ? f.template operator()<int32_t>() : f.template operator()<uint32_t>();
    default:
      return is_signed ? f.template operator()<int64_t>() : f.template operator()<uint64_t>();
  }
}
template <typename F>
Handler ForFloat(Type type, F f) {
  FTT_CHECK(type.kind == 'f' && type.bytes >= 4, "PTX: no operation of this type");
  return type.bytes == 4 ? f.template operator()<float>() : f.template operator()<double>();
}
template <typename F>
Handler ForNumber(Type type, F f) {
  return type.kind == 'f' ? ForFloat(type, f) : ForInteger(type, f);
}

template <typename F>
Handler Binary(Type type) {
  return ForNumber(type, []<typename T>() -> Handler { return &Lanewise<F, T, T, T>::Run; });
}
template <typename F>
Handler BinaryOfIntegers(Type type) {
  return ForInteger(type, []<typename T>() -> Handler { return &Lanewise<F, T, T, T>::Run; });
}
template <typename F>
Handler Unary(Type type) {
  return ForNumber(type, []<typename T>() -> Handler { return &Lanewise<F, T, T>::Run; });
}
template <typename F>
Handler UnaryOfFloats(Type type) {
  return ForFloat(type, []<typename T>() -> Handler { return &Lanewise<F, T, T>::Run; });
}

Handler Wide(Type type, bool adds) {
  const auto of = [adds]<typename D, typename S>() -> Handler {
    return adds ? &Lanewise<WideProductAdd, D, S, S, D>::Run : &Lanewise<WideProduct, D, S, S>::Run;
  };
  if (type.bytes == 4)
    return type.kind == 's' ? of.operator()<int64_t, int32_t>()
                            : of.operator()<uint64_t, uint32_t>();
  FTT_CHECK(type.bytes == 2, "PTX: no wide product of this type");
  return type.kind == 's' ? of.operator()<int32_t, int16_t>() : of.operator()<uint32_t, uint16_t>();
}

Handler Comparison(std::string_view compare, Type type) {
  const auto of = [type]<typename F>() {
    return ForNumber(type, []<typename T>() -> Handler { return &Compare<F, T>; });
  };
  const auto of_floats = [type]<typename F>() {
    return ForFloat(type, []<typename T>() -> Handler { return &Compare<F, T>; });
  };
  if (compare == "eq") return of.operator()<Equal>();
  if (compare == "ne") return of.operator()<NotEqual>();
  if (compare == "lt" || compare == "lo") return of.operator()<Less>();
  if (compare == "le" || compare == "ls") return of.operator()<LessEqual>();
  if (compare == "gt" || compare == "hi") return of.operator()<Greater>();
  if (compare == "ge" || compare == "hs") return of.operator()<GreaterEqual>();
  if (compare == "ltu") return of_floats.operator()<OrUnordered<Less>>();
  if (compare == "leu") return of_floats.operator()<OrUnordered<LessEqual>>();
  if (compare == "gtu") return of_floats.operator()<OrUnordered<Greater>>();
  if (compare == "geu") return of_floats.operator()<OrUnordered<GreaterEqual>>();
  if (compare == "equ") return of_floats.operator()<OrUnordered<Equal>>();
  if (compare == "neu") return of_floats.operator()<OrUnordered<NotEqual>>();
  if (compare == "nan") return of_floats.operator()<Unordered>();
  Fail("PTX: the comparison '{}' is not known", compare);
}

// The handler of an operation whose operands all have its type, but for amounts of bits.
Handler PlainHandler(const Statement& s, Type type) {
  const std::string_view name = s.Name();
  if (s.Has("approx") && name != "rcp") return nullptr;
  if (name == "add") return Binary<Add>(type);
  if (name == "sub") return Binary<Subtract>(type);
  if (name == "mul")
    return s.Has("hi") ? BinaryOfIntegers<MultiplyHigh>(type) : Binary<Multiply>(type);
  if (name == "mad" && s.Has("lo"))
    return ForInteger(
        type, []<typename T>() -> Handler { return &Lanewise<MultiplyAdd, T, T, T, T>::Run; });
  if (name == "fma" || name == "mad")
    return ForFloat(type,
                    []<typename T>() -> Handler { return &Lanewise<Fused, T, T, T, T>::Run; });
  if (name == "div") return Binary<Divide>(type);
  if (name == "rem") return BinaryOfIntegers<Remainder>(type);
  if (name == "min") return Binary<Least>(type);
  if (name == "max") return Binary<Greatest>(type);
  if (name == "and") return BinaryOfIntegers<And>(type);
  if (name == "or") return BinaryOfIntegers<Or>(type);
  if (name == "xor") return BinaryOfIntegers<Xor>(type);
  if (name == "not")
    return ForInteger(type, []<typename T>() -> Handler { return &Lanewise<Not, T, T>::Run; });
  if (name == "neg") return Unary<Negate>(type);
  if (name == "abs") return Unary<Absolute>(type);
  if (name == "sqrt") return UnaryOfFloats<SquareRoot>(type);
  if (name == "rcp") return UnaryOfFloats<Reciprocal>(type);
  if (name == "mov") return Unary<Same>(type);
  return nullptr;
}

Handler HandlerOfWords(const Statement& s) {
  const std::string_view name = s.Name();
  if (name == "fma" && s.Has("rn") && s.Has("bf16x2"))
    return &Lanewise<FusedBf16, uint32_t, uint32_t, uint32_t, uint32_t>::Run;
  if (name == "prmt") return &Lanewise<Permute, uint32_t, uint32_t, uint32_t, uint32_t>::Run;
  if (name == "dp4a" && s.parts[1] == "s32" && s.parts[2] == "s32")
    return &Lanewise<DotBytes, int32_t, uint32_t, uint32_t, int32_t>::Run;
  if (name == "dp2a" && s.parts[1] == "lo" && s.parts[2] == "s32" && s.parts[3] == "s32")
    return &Lanewise<DotHalvesLow, int32_t, uint32_t, uint32_t, int32_t>::Run;
  if (name == "shf" && s.Has("l") && s.Has("wrap"))
    return &Lanewise<FunnelLeftWrap, uint32_t, uint32_t, uint32_t, uint32_t>::Run;
  if (name == "brev" && s.Has("b32")) return &Lanewise<Reverse, uint32_t, uint32_t>::Run;
  if (name == "popc" && s.Has("b32")) return &Lanewise<CountBits, uint32_t, uint32_t>::Run;
  if (name == "clz" && s.Has("b32")) return &Lanewise<CountLeading, uint32_t, uint32_t>::Run;
  if (name == "bfind" && s.Has("shiftamt") && s.Has("u32"))
    return &Lanewise<LeadingShift, uint32_t, uint32_t>::Run;
  if ((name == "max" || name == "min") && s.Has("s16x2"))
    return name == "max" ? &Lanewise<Halves<Greatest>, uint32_t, uint32_t, uint32_t>::Run
                         : &Lanewise<Halves<Least>, uint32_t, uint32_t, uint32_t>::Run;
  return nullptr;
}

void Operands(const Statement& s, Places* places, bool wide, Instruction* out) {
  for (size_t i = 0; i < s.operands.size(); ++i) out->at[i] = places->Of(s.operands[i], wide);
}

bool DecodePredicates(const Statement& s, Instruction* out) {
  const std::string_view name = s.Name();
  for (size_t i = 0; i < s.operands.size(); ++i) {
    if (s.operands[i].kind == Operand::Kind::kNumber) continue;
    FTT_CHECK(s.operands[i].kind == Operand::Kind::kPredicate, "PTX: no predicate");
    out->at[i] = s.operands[i].slot;
  }
  if (name == "mov") {
    const bool number = s.operands[1].kind == Operand::Kind::kNumber;
    out->run = number ? &SetPredicate : &OfPredicates<Same>;
    out->offset = static_cast<int64_t>(s.operands[1].bits);
  } else {
    FTT_CHECK(s.operands.back().kind == Operand::Kind::kPredicate, "PTX: a number as predicate");
    out->run = name == "and"   ? &OfPredicates<And>
               : name == "or"  ? &OfPredicates<Or>
               : name == "xor" ? &OfPredicates<Xor>
               : name == "not" ? &OfPredicates<Not>
                               : nullptr;
  }
  return out->run != nullptr;
}

}  // namespace

bool DecodeArithmetic(const Statement& s, Places* places, Instruction* out) {
  const std::string_view name = s.Name();
  if (s.Has("sat") || s.Has("ftz")) {
    // The start of Newton's method: exactly rounded, it is closer than the device's.
    if (name != "rcp" || !s.Has("approx")) return false;
  }
  if ((out->run = HandlerOfWords(s)) != nullptr) {
    Operands(s, places, false, out);
    return true;
  }
  // These have types that are not known elsewhere.
  if (name == "mma" || name == "ldmatrix" || name == "cp" || name == "griddepcontrol" ||
      name == "cvt" || name == "cvta" || name == "copy" || name == "ld" || name == "st" ||
      name == "atom" || name == "bar" || name == "shfl" || name == "vote" || name == "match" ||
      name == "membar" || name == "fence")
    return false;
  const Type type = s.LastType();
  if (type.kind == 'p') return DecodePredicates(s, out);
  const bool wide = type.bytes == 8;
  if (name == "mov" && (s.operands[0].kind == Operand::Kind::kVector ||
                        s.operands[1].kind == Operand::Kind::kVector ||
                        s.operands[1].kind == Operand::Kind::kSymbol))
    return false;
  if (name == "setp" && s.parts.size() == 3) {
    out->run = Comparison(s.parts[1], type);
    FTT_CHECK(s.operands[0].kind == Operand::Kind::kPredicate && s.operands[0].second < 0,
              "PTX: no single predicate");
    out->at = {s.operands[0].slot, places->Of(s.operands[1], wide),
               places->Of(s.operands[2], wide)};
    return true;
  }
  if (name == "selp") {
    out->run = ForNumber(type, []<typename T>() -> Handler { return &Select<T>; });
    out->at = {places->Of(s.operands[0], wide), places->Of(s.operands[1], wide),
               places->Of(s.operands[2], wide), s.operands[3].slot};
    return s.operands[3].kind == Operand::Kind::kPredicate;
  }
  if (name == "shl" || name == "shr") {
    out->run = name == "shl" ? ForInteger(type,
                                          []<typename T>() -> Handler {
                                            return &Lanewise<ShiftLeft, T, T, uint32_t>::Run;
                                          })
                             : ForInteger(type, []<typename T>() -> Handler {
                                 return &Lanewise<ShiftRight, T, T, uint32_t>::Run;
                               });
    out->at = {places->Of(s.operands[0], wide), places->Of(s.operands[1], wide),
               places->Of(s.operands[2], false)};
    return true;
  }
  if (name == "bfi") {
    out->run =
        wide ? Handler{&Lanewise<InsertBits, uint64_t, uint64_t, uint64_t, uint32_t, uint32_t>::Run}
             : &Lanewise<InsertBits, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>::Run;
    out->at = {places->Of(s.operands[0], wide), places->Of(s.operands[1], wide),
               places->Of(s.operands[2], wide), places->Of(s.operands[3], false),
               places->Of(s.operands[4], false)};
    return true;
  }
  if ((name == "mul" || name == "mad") && s.Has("wide")) {
    const bool result_wide = type.bytes == 4;
    out->run = Wide(type, name == "mad");
    out->at = {places->Of(s.operands[0], result_wide), places->Of(s.operands[1], false),
               places->Of(s.operands[2], false)};
    if (name == "mad") out->at[3] = places->Of(s.operands[3], result_wide);
    return true;
  }
  out->run = PlainHandler(s, type);
  if (out->run == nullptr) return false;
  Operands(s, places, wide, out);
  return true;
}

}  // namespace ftt::ptx
