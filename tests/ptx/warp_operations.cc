// Operations between the lanes of a warp.
#include <cstring>

#include "core/error.h"
#include "tests/ptx/operand.h"
#include "tests/ptx/warp.h"

namespace ftt::ptx {
namespace {

void Nothing(Warp&, const Instruction&, Mask) {}

// at: to, value, lane or mask of lanes, participants, clamp, predicate + 1 or 0. Only whole warps:
// the clamp is 31.
template <bool kButterfly>
void Shuffle(Warp& warp, const Instruction& in, Mask active) {
  uint32_t values[kLanes];
  std::memcpy(values, Lanes<uint32_t>(warp, in.at[1]), sizeof values);
  ForLanes(active, [&](int lane) {
    if (Get<uint32_t>(warp, in.at[4], lane) != 31)
      Misuse(warp, in, lane, "a shuffle within a part of a warp is not known");
    const auto b = static_cast<int>(Get<uint32_t>(warp, in.at[2], lane) & 31);
    const int from = kButterfly ? lane ^ b : b;
    if ((active >> from & 1) == 0)
      Misuse(warp, in, lane,
             "a shuffle from lane " + std::to_string(from) + ", which is not in it");
    Put(warp, in.at[0], lane, values[from]);
  });
  if (in.at[5] != 0) warp.predicates[in.at[5] - 1] |= active;
}
// at: to, predicate, -, participants.
void Ballot(Warp& warp, const Instruction& in, Mask active) {
  const Mask votes = warp.predicates[in.at[1]];
  ForLanes(active, [&](int lane) { Put(warp, in.at[0], lane, votes & active); });
}
void MatchAny(Warp& warp, const Instruction& in, Mask active) {
  uint32_t values[kLanes];
  std::memcpy(values, Lanes<uint32_t>(warp, in.at[1]), sizeof values);
  ForLanes(active, [&](int lane) {
    Mask same = 0;
    ForLanes(active, [&](int other) {
      if (values[other] == values[lane]) same |= Mask{1} << other;
    });
    Put(warp, in.at[0], lane, same);
  });
}

// d += a * b. Lane l, g = l / 4, t = l % 4:
//   a[i], byte j: row g + 8 * (i % 2), column 4 * t + j + 16 * (i / 2)
//   b[i], byte j: row 4 * t + j + 16 * i, column g
//   d[i]: row g + 8 * (i / 2), column 2 * t + i % 2
// at: d[4], a[4], b[2], c[4].
void MultiplyBytes(Warp& warp, const Instruction& in, Mask) {
  int8_t a[16][32], b[8][32];
  for (int lane = 0; lane < kLanes; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (size_t i = 0; i < 4; ++i) {
      const auto word = Get<uint32_t>(warp, in.at[4 + i], lane);
      std::memcpy(&a[g + 8 * static_cast<int>(i % 2)][4 * t + 16 * static_cast<int>(i / 2)], &word,
                  4);
    }
    for (size_t i = 0; i < 2; ++i) {
      const auto word = Get<uint32_t>(warp, in.at[8 + i], lane);
      std::memcpy(&b[g][4 * t + 16 * static_cast<int>(i)], &word, 4);
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    for (size_t i = 0; i < 4; ++i) {
      const int row = lane / 4 + 8 * static_cast<int>(i / 2);
      const int column = 2 * (lane % 4) + static_cast<int>(i % 2);
      int32_t sum = 0;
      for (int k = 0; k < 32; ++k) sum += a[row][k] * b[column][k];
      const auto before = Get<uint32_t>(warp, in.at[10 + i], lane);
      Put(warp, in.at[i], lane, before + static_cast<uint32_t>(sum));
    }
  }
}
// The same of bfloat16: a[i], half j: row g + 8 * (i % 2), column 2 * t + j + 8 * (i / 2); b[i],
// half j: row 2 * t + j + 8 * i, column g. Sums of 16 products in the order of their columns; a
// device rounds in its own.
void MultiplyBf16(Warp& warp, const Instruction& in, Mask) {
  const auto value = [](uint32_t half) { return std::bit_cast<float>(half << 16); };
  float a[16][16], b[8][16];
  for (int lane = 0; lane < kLanes; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      const auto word = Get<uint32_t>(warp, in.at[static_cast<size_t>(4 + i)], lane);
      for (int j = 0; j < 2; ++j)
        a[g + 8 * (i % 2)][2 * t + j + 8 * (i / 2)] = value(word >> 16 * j & 0xFFFF);
    }
    for (int i = 0; i < 2; ++i) {
      const auto word = Get<uint32_t>(warp, in.at[static_cast<size_t>(8 + i)], lane);
      for (int j = 0; j < 2; ++j) b[g][2 * t + j + 8 * i] = value(word >> 16 * j & 0xFFFF);
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    for (size_t i = 0; i < 4; ++i) {
      const int row = lane / 4 + 8 * static_cast<int>(i / 2);
      const int column = 2 * (lane % 4) + static_cast<int>(i % 2);
      float sum = 0;
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[column][k];
      Put(warp, in.at[i], lane, Get<float>(warp, in.at[10 + i], lane) + sum);
    }
  }
}

bool DecodeMultiply(const Statement& s, Places* places, Instruction* out) {
  const bool bytes = s.Has("m16n8k32") && s.Has("s8") && s.parts.back() == "s32";
  const bool bf16 = s.Has("m16n8k16") && s.Has("bf16") && s.parts.back() == "f32";
  if (!bytes && !bf16) return false;
  out->kind = Kind::kWholeWarp;
  out->run = bytes ? &MultiplyBytes : &MultiplyBf16;
  size_t n = 0;
  for (const Operand& operand : s.operands)
    for (const Operand& element : operand.elements) out->at.at(n++) = places->Of(element, false);
  return n == 14;
}

}  // namespace

bool DecodeWarp(const Statement& s, Places* places, Instruction* out) {
  const std::string_view name = s.Name();
  if (name == "griddepcontrol" || name == "membar" || name == "fence") {
    out->run = &Nothing;  // blocks run one after another
    return true;
  }
  if (name == "mma") return DecodeMultiply(s, places, out);
  out->kind = Kind::kMaskedSync;
  if (name == "bar" && s.Has("warp")) {
    out->run = &Nothing;
    out->at[3] = places->Of(s.operands[0], false);
    return true;
  }
  if (name == "shfl" && (s.Has("bfly") || s.Has("idx"))) {
    out->run = s.Has("bfly") ? &Shuffle<true> : &Shuffle<false>;
    out->at = {places->Of(s.operands[0], false), places->Of(s.operands[1], false),
               places->Of(s.operands[2], false), places->Of(s.operands[4], false),
               places->Of(s.operands[3], false), static_cast<uint32_t>(s.operands[0].second + 1)};
    return true;
  }
  if (name == "vote" && s.Has("ballot")) {
    if (s.operands[1].kind != Operand::Kind::kPredicate) return false;
    out->run = &Ballot;
    out->at[0] = places->Of(s.operands[0], false);
    out->at[1] = s.operands[1].slot;
    out->at[3] = places->Of(s.operands[2], false);
    return true;
  }
  if (name == "match" && s.Has("any") && s.Has("b32")) {
    out->run = &MatchAny;
    out->at[0] = places->Of(s.operands[0], false);
    out->at[1] = places->Of(s.operands[1], false);
    out->at[3] = places->Of(s.operands[2], false);
    return true;
  }
  return false;
}

}  // namespace ftt::ptx
