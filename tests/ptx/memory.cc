// Loads, stores, atomic operations and asynchronous copies.
#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "tests/ptx/operand.h"
#include "tests/ptx/warp.h"

namespace ftt::ptx {
namespace {

uint64_t AddressOf(Warp& warp, const Instruction& in, int lane, uint32_t slot, bool wide) {
  const uint64_t base = wide ? Get<uint64_t>(warp, slot, lane) : Get<uint32_t>(warp, slot, lane);
  return base + static_cast<uint64_t>(in.offset);
}

// How an address is written: of a register of 64 or 32 bits, or only an offset.
enum class Address { kWide, kNarrow, kOffset };

uint64_t AddressOf(Warp& warp, const Instruction& in, int lane) {
  // at[13] has the register, at[12] the form.
  switch (static_cast<Address>(in.at[12])) {
    case Address::kWide:
      return AddressOf(warp, in, lane, in.at[13], true);
    case Address::kNarrow:
      return AddressOf(warp, in, lane, in.at[13], false);
    default:
      return static_cast<uint64_t>(in.offset);
  }
}

// -- what an access costs

// Shared memory has 32 banks of 4 bytes. A pass takes 4 bytes of each; lanes that want the same
// word share it. Accesses of 8 bytes go in two parts of 16 lanes, of 16 bytes in four of 8.
void CountShared(Warp& warp, const Instruction& in, Mask active, const uint64_t* addresses,
                 size_t bytes) {
  const int lanes = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8;
  Count& count = (*warp.block->counts)[static_cast<size_t>(&in - warp.block->program->code.data())];
  for (int first = 0; first < kLanes; first += lanes) {
    std::vector<uint64_t> words;
    for (int lane = first; lane < first + lanes; ++lane)
      if ((active >> lane & 1) != 0)
        for (size_t b = 0; b < std::max<size_t>(bytes, 4); b += 4)
          words.push_back((addresses[lane] + b) / 4);
    if (words.empty()) continue;
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    int64_t banks[32] = {};
    for (const uint64_t word : words) ++banks[word % 32];
    count.passes += *std::max_element(std::begin(banks), std::end(banks));
    count.fewest += static_cast<int64_t>((words.size() + 31) / 32);
  }
}
// Global memory moves in sectors of 32 bytes.
void CountGlobal(Warp& warp, const Instruction& in, Mask active, const uint64_t* addresses,
                 size_t bytes) {
  Count& count = (*warp.block->counts)[static_cast<size_t>(&in - warp.block->program->code.data())];
  std::vector<uint64_t> sectors, parts;
  // No access straddles a multiple of its size.
  const size_t part = std::min<size_t>(bytes, 4);
  ForLanes(active, [&](int lane) {
    sectors.push_back(addresses[lane] / 32);
    for (size_t b = 0; b < bytes; b += part) parts.push_back((addresses[lane] + b) / part);
  });
  for (auto* all : {&sectors, &parts}) {
    std::sort(all->begin(), all->end());
    all->erase(std::unique(all->begin(), all->end()), all->end());
  }
  count.passes += static_cast<int64_t>(sectors.size());
  count.fewest += static_cast<int64_t>((parts.size() * part + 31) / 32);
}
void CountAccess(Warp& warp, const Instruction& in, Mask active, const uint64_t* addresses,
                 size_t bytes, Space space) {
  if (space == Space::kGeneric && active != 0) {
    const uint64_t base = reinterpret_cast<uintptr_t>(warp.block->shared);
    const size_t size = kStaticShared + warp.block->program->shared_bytes;
    const uint64_t first = addresses[std::countr_zero(active)];
    space = Range{base, size}.Has(first, 1) ? Space::kShared : Space::kGlobal;
    // Local variables reached by a pointer are not told apart: they lie in lanes' own memory.
    const Range local{reinterpret_cast<uintptr_t>(warp.local.data()), warp.local.size()};
    if (local.Has(first, 1)) return;
  }
  if (space == Space::kShared) CountShared(warp, in, active, addresses, bytes);
  if (space == Space::kGlobal) CountGlobal(warp, in, active, addresses, bytes);
}

// -- loads and stores; at[0..] are the elements

template <typename T, typename Register>
void Load(Warp& warp, const Instruction& in, Mask active) {
  uint64_t addresses[kLanes];
  const size_t bytes = sizeof(T) * in.vector;
  ForLanes(active, [&](int lane) {
    addresses[lane] = AddressOf(warp, in, lane);
    const uint8_t* from = Resolve(warp, in, lane, addresses[lane], in.space, bytes, Access::kRead);
    T values[4];
    std::memcpy(values, from, bytes);
    for (int i = 0; i < in.vector; ++i)
      Put(warp, in.at[static_cast<size_t>(i)], lane, static_cast<Register>(values[i]));
  });
  if (warp.block->counts != nullptr) CountAccess(warp, in, active, addresses, bytes, in.space);
}
template <typename T, typename Register>
void Store(Warp& warp, const Instruction& in, Mask active) {
  uint64_t addresses[kLanes];
  const size_t bytes = sizeof(T) * in.vector;
  ForLanes(active, [&](int lane) {
    addresses[lane] = AddressOf(warp, in, lane);
    uint8_t* to = Resolve(warp, in, lane, addresses[lane], in.space, bytes, Access::kWrite);
    T values[4];
    for (int i = 0; i < in.vector; ++i)
      values[i] = static_cast<T>(Get<Register>(warp, in.at[static_cast<size_t>(i)], lane));
    std::memcpy(to, values, bytes);
  });
  if (warp.block->counts != nullptr) CountAccess(warp, in, active, addresses, bytes, in.space);
}
// Arguments of a call: at[0] and offset are the places, at[1] the number of bytes.
void CopyArguments(Warp& warp, const Instruction& in, Mask active) {
  const size_t stride = warp.block->program->stacked_bytes;
  ForLanes(active, [&](int lane) {
    uint8_t* base = warp.stacked.data() + static_cast<size_t>(lane) * stride;
    std::memmove(base + in.at[0], base + in.offset, in.at[1]);
  });
}

Space ParseSpace(const Statement& s) {
  if (s.Has("shared") || s.Has("shared::cta")) return Space::kShared;
  if (s.Has("global")) return Space::kGlobal;
  if (s.Has("local")) return Space::kLocal;
  if (s.Has("param")) return Space::kParameter;
  return Space::kGeneric;
}
void SetAddress(const Operand& operand, Places* places, Instruction* out) {
  FTT_CHECK(operand.kind == Operand::Kind::kAddress, "PTX: no address");
  out->offset = operand.offset;
  out->uniform_parameter = operand.uniform_parameter;
  Address form = Address::kOffset;
  if (operand.has_register) {
    form = operand.wide ? Address::kWide : Address::kNarrow;
    Operand base = operand;
    base.kind = Operand::Kind::kRegister;
    out->at[13] = places->Of(base, operand.wide);
  }
  out->at[12] = static_cast<uint32_t>(form);
}
template <typename T>
Handler AccessOf(bool load, bool wide) {
  using Narrow = std::conditional_t<std::is_signed_v<T>, int32_t, uint32_t>;
  using Wide = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
  if constexpr (sizeof(T) < 8)
    if (!wide) return load ? &Load<T, Narrow> : &Store<T, Narrow>;
  return load ? &Load<T, Wide> : &Store<T, Wide>;
}
Handler AccessHandler(bool load, Type type, bool wide) {
  const bool is_signed = type.kind == 's';
  switch (type.bytes) {
    case 1:
      return is_signed ? AccessOf<int8_t>(load, wide) : AccessOf<uint8_t>(load, wide);
    case 2:
      return is_signed ? AccessOf<int16_t>(load, wide) : AccessOf<uint16_t>(load, wide);
    case 4:
      return is_signed ? AccessOf<int32_t>(load, wide) : AccessOf<uint32_t>(load, wide);
    default:
      return AccessOf<uint64_t>(load, true);
  }
}
bool DecodeAccess(const Statement& s, Places* places, Instruction* out) {
  const bool load = s.Name() == "ld";
  for (const char* other : {"volatile", "acquire", "release", "relaxed", "nc"})
    if (s.Has(other)) return false;
  const Type type = s.LastType();
  const Operand& address = s.operands[load ? 1 : 0];
  const Operand& value = s.operands[load ? 0 : 1];
  out->space = ParseSpace(s);
  SetAddress(address, places, out);
  // Registers have addresses of the kernel's parameters only.
  if (address.has_register) out->uniform_parameter = true;
  out->bytes = static_cast<uint8_t>(type.bytes);
  std::vector<Operand> one{value};
  const std::vector<Operand>& elements =
      value.kind == Operand::Kind::kVector ? value.elements : one;
  out->vector = static_cast<uint8_t>(elements.size());
  if (elements.size() > 4 || elements.empty()) return false;
  // A register may be wider than what is in memory.
  const bool wide = type.bytes == 8 || elements[0].wide;
  for (size_t i = 0; i < elements.size(); ++i)
    out->at[i] = elements[i].discarded ? places->NewSlot(wide) : places->Of(elements[i], wide);
  out->run = AccessHandler(load, type, wide);
  return true;
}

// -- atomic operations: at[0] = what was there, at[1] operand, at[2] for a comparison the new value

enum class Atomic { kAdd, kMax, kAnd, kOr, kCompare };

template <typename T, Atomic kWhat>
void AtomicOperation(Warp& warp, const Instruction& in, Mask active) {
  uint64_t addresses[kLanes];
  ForLanes(active, [&](int lane) {
    addresses[lane] = AddressOf(warp, in, lane);
    uint8_t* at = Resolve(warp, in, lane, addresses[lane], in.space, sizeof(T), Access::kRead);
    T before, after;
    std::memcpy(&before, at, sizeof before);
    const T operand = Get<T>(warp, in.at[1], lane);
    switch (kWhat) {
      case Atomic::kAdd:
        after = static_cast<T>(before + operand);
        break;
      case Atomic::kMax:
        after = std::max(before, operand);
        break;
      case Atomic::kAnd:
        after = static_cast<T>(before & operand);
        break;
      case Atomic::kOr:
        after = static_cast<T>(before | operand);
        break;
      case Atomic::kCompare:
        after = before == operand ? Get<T>(warp, in.at[2], lane) : before;
        break;
    }
    std::memcpy(at, &after, sizeof after);
    Put(warp, in.at[0], lane, before);
  });
  if (warp.block->counts != nullptr) CountAccess(warp, in, active, addresses, sizeof(T), in.space);
}
template <Atomic kWhat>
Handler AtomicOfType(Type type) {
  if (type.kind == 's' && kWhat == Atomic::kMax) return nullptr;
  switch (type.bytes) {
    case 2:
      return &AtomicOperation<uint16_t, kWhat>;
    case 4:
      return &AtomicOperation<uint32_t, kWhat>;
    case 8:
      return &AtomicOperation<uint64_t, kWhat>;
    default:
      return nullptr;
  }
}
bool DecodeAtomic(const Statement& s, Places* places, Instruction* out) {
  const Type type = s.LastType();
  if (type.kind == 'f') return false;
  const std::string_view what = s.parts[s.parts.size() - 2];
  out->run = what == "add"   ? AtomicOfType<Atomic::kAdd>(type)
             : what == "max" ? AtomicOfType<Atomic::kMax>(type)
             : what == "and" ? AtomicOfType<Atomic::kAnd>(type)
             : what == "or"  ? AtomicOfType<Atomic::kOr>(type)
             : what == "cas" ? AtomicOfType<Atomic::kCompare>(type)
                             : nullptr;
  if (out->run == nullptr) return false;
  out->space = ParseSpace(s);
  out->bytes = static_cast<uint8_t>(type.bytes);
  SetAddress(s.operands[1], places, out);
  const bool wide = type.bytes == 8;
  out->at[0] = places->Of(s.operands[0], wide);
  out->at[1] = places->Of(s.operands[2], wide);
  if (s.operands.size() > 3) out->at[2] = places->Of(s.operands[3], wide);
  return true;
}

// -- asynchronous copies: at[0] = to, at[1] = from, at[2] = how many bytes, the rest of 16 is zero

constexpr uint8_t kUnderWay = 0xA7;

void StartCopy(Warp& warp, const Instruction& in, Mask active) {
  uint64_t to[kLanes], from[kLanes];
  ForLanes(active, [&](int lane) {
    to[lane] = Get<uint32_t>(warp, in.at[0], lane);
    from[lane] = Get<uint64_t>(warp, in.at[1], lane);
    const auto bytes = Get<uint32_t>(warp, in.at[2], lane);
    if (bytes > 16) Misuse(warp, in, lane, "an asynchronous copy of more than 16 bytes");
    if (bytes > 0) Resolve(warp, in, lane, from[lane], Space::kGlobal, bytes, 16, Access::kRead);
    // Until somebody waits, nobody knows what is there.
    std::memset(Resolve(warp, in, lane, to[lane], Space::kShared, 16, Access::kWrite), kUnderWay,
                16);
    warp.copies.push_back({lane, warp.committed[lane], static_cast<uint32_t>(to[lane]), from[lane],
                           static_cast<int>(bytes)});
  });
  if (warp.block->counts != nullptr) CountAccess(warp, in, active, to, 16, Space::kShared);
}
void CommitCopies(Warp& warp, const Instruction&, Mask active) {
  ForLanes(active, [&](int lane) { ++warp.committed[lane]; });
}
// offset: how many groups may be left under way.
void WaitForCopies(Warp& warp, const Instruction& in, Mask active) {
  std::erase_if(warp.copies, [&](const AsyncCopy& copy) {
    if ((active >> copy.lane & 1) == 0) return false;
    if (copy.group >= warp.committed[copy.lane] - in.offset) return false;
    uint8_t* to = warp.block->shared + copy.to;
    std::memcpy(to, reinterpret_cast<const void*>(copy.from), static_cast<size_t>(copy.bytes));
    std::memset(to + copy.bytes, 0, static_cast<size_t>(16 - copy.bytes));
    return true;
  });
}
bool DecodeAsync(const Statement& s, Places* places, Instruction* out) {
  if (s.Has("commit_group")) {
    out->run = &CommitCopies;
    return true;
  }
  if (s.Has("wait_group")) {
    out->run = &WaitForCopies;
    out->offset = static_cast<int64_t>(s.operands[0].bits);
    return true;
  }
  if (s.parts.size() != 5 || s.parts[2] != "cg" || s.operands[2].bits != 16 ||
      s.operands.size() != 4 || s.operands[0].offset != 0 || s.operands[1].offset != 0)
    return false;
  out->run = &StartCopy;
  out->space = Space::kShared;
  out->bytes = 16;
  Operand to = s.operands[0], from = s.operands[1];
  to.kind = from.kind = Operand::Kind::kRegister;
  out->at[0] = places->Of(to, false);
  out->at[1] = places->Of(from, true);
  out->at[2] = places->Of(s.operands[3], false);
  return true;
}

// ldmatrix.x4: lane 8 * m + r has the address of row r of matrix m, 16 bytes; lane l receives
// elements 2 * (l % 4) and + 1 of row l / 4 of each matrix, or of column l / 4 where transposed.
template <bool kTransposed>
void LoadMatrix(Warp& warp, const Instruction& in, Mask active) {
  uint64_t addresses[kLanes];
  uint16_t rows[kLanes][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    addresses[lane] = AddressOf(warp, in, lane);
    std::memcpy(rows[lane],
                Resolve(warp, in, lane, addresses[lane], Space::kShared, 16, Access::kMatrix), 16);
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int m = 0; m < 4; ++m) {
      uint32_t pair[2];
      for (int i = 0; i < 2; ++i) {
        const int row = lane / 4, column = 2 * (lane % 4) + i;
        pair[i] = kTransposed ? rows[8 * m + column][row] : rows[8 * m + row][column];
      }
      Put(warp, in.at[static_cast<size_t>(m)], lane, pair[1] << 16 | pair[0]);
    }
  }
  if (warp.block->counts != nullptr) CountShared(warp, in, active, addresses, 16);
}
bool DecodeMatrix(const Statement& s, Places* places, Instruction* out) {
  if (!s.Has("m8n8") || !s.Has("x4") || !s.Has("b16") || !s.Has("shared")) return false;
  out->run = s.Has("trans") ? &LoadMatrix<true> : &LoadMatrix<false>;
  out->kind = Kind::kWholeWarp;
  out->space = Space::kShared;
  SetAddress(s.operands[1], places, out);
  for (size_t i = 0; i < 4; ++i) out->at[i] = places->Of(s.operands[0].elements[i], false);
  return true;
}

}  // namespace

bool DecodeMemory(const Statement& s, Places* places, Instruction* out) {
  const std::string_view name = s.Name();
  if (name == "ld" || name == "st") return DecodeAccess(s, places, out);
  if (name == "atom") return DecodeAtomic(s, places, out);
  if (name == "cp" && s.Has("async")) return DecodeAsync(s, places, out);
  if (name == "ldmatrix") return DecodeMatrix(s, places, out);
  if (name == "copy") {
    out->run = &CopyArguments;
    out->at[0] = static_cast<uint32_t>(s.operands[0].offset);
    out->at[1] = static_cast<uint32_t>(s.operands[0].bits);
    out->offset = s.operands[1].offset;
    return true;
  }
  return false;
}

}  // namespace ftt::ptx
