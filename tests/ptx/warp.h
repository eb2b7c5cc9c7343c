// What a handler works on: a warp's registers, and the memory that its threads may touch.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "tests/ptx/program.h"

namespace ftt::ptx {

// [from, from + bytes) of memory that belongs to a kernel.
struct Range {
  uintptr_t from = 0;
  size_t bytes = 0;
  uint8_t* written = nullptr;  // for each byte, whether anybody wrote it; null: nobody asks
  bool Has(uintptr_t at, size_t n) const { return at - from < bytes && n <= bytes - (at - from); }
};

// FTT_PTX_INITCHECK: reads of device or shared memory that nobody wrote are errors.
bool ChecksReads();

// Memory that cudaMalloc gave, and page-locked memory of the host.
class Allocations {
 public:
  void* Allocate(size_t bytes, bool of_device);
  // False where nothing was allocated there.
  bool Free(void* at);
  // The allocation around `at`; none: of 0 bytes.
  Range Find(uintptr_t at) const;
  // The host wrote there, or copied it from elsewhere on the device (from; null: it did not).
  void Write(void* at, size_t bytes, const void* from = nullptr);

 private:
  std::vector<Range> ranges_;  // by address
};
Allocations& DeviceAllocations();

struct AsyncCopy {
  int lane = 0, group = 0;
  uint32_t to = 0;
  uintptr_t from = 0;
  int bytes = 0;
};

struct Block {
  const Program* program = nullptr;
  std::vector<Count>* counts = nullptr;  // of each instruction; null: nobody asks
  std::vector<uint8_t> parameters;
  unsigned grid[3] = {1, 1, 1}, index[3] = {0, 0, 0};
  unsigned threads = 0;
  uint8_t* shared = nullptr;            // kStaticShared + static bytes
  std::vector<uint8_t> shared_written;  // as Range::written; empty: nobody asks
  size_t dynamic_bytes = 0;
};

struct alignas(128) Slot {
  uint32_t word[kLanes];
};

// Lanes that are at the same place, with the same calls behind them.
struct Group {
  int64_t at = 0;  // of the next instruction
  Mask lanes = 0;
  std::vector<int64_t> returns;  // where calls go on
  bool at_barrier = false;
  bool waits = false;  // for other lanes, in front of a masked instruction
};

struct Warp {
  Block* block = nullptr;
  int number = 0;
  std::vector<Slot> slots;
  std::vector<Mask> predicates;
  Mask alive = 0;
  std::vector<Group> groups;
  std::vector<uint8_t> local, stacked;  // of all lanes, one after another
  std::vector<AsyncCopy> copies;        // under way
  int committed[kLanes] = {};           // groups of copies of each lane
  mutable Range recent;                 // the last allocation accessed
};

// The type in which a register holds a T; smaller ones lie in its low bits.
template <typename T>
using Word = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;

template <typename T>
inline T FromWord(Word<T> word) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::bit_cast<T>(word);
  } else {
    return static_cast<T>(word);
  }
}
template <typename T>
inline Word<T> ToWord(T value) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::bit_cast<Word<T>>(value);
  } else {
    return static_cast<Word<T>>(static_cast<std::make_unsigned_t<T>>(value));
  }
}
// The lanes of a register.
template <typename T>
inline Word<T>* Lanes(Warp& warp, uint32_t slot) {
  return reinterpret_cast<Word<T>*>(&warp.slots[slot]);
}
template <typename T>
inline T Get(Warp& warp, uint32_t slot, int lane) {
  return FromWord<T>(Lanes<T>(warp, slot)[lane]);
}
template <typename T>
inline void Put(Warp& warp, uint32_t slot, int lane, T value) {
  Lanes<T>(warp, slot)[lane] = ToWord(value);
}

// Calls with each lane of a mask.
template <typename F>
inline void ForLanes(Mask lanes, F&& f) {
  for (; lanes != 0; lanes &= lanes - 1) f(std::countr_zero(lanes));
}

// Throws ftt::Error that says where: instruction, source, kernel, block, thread (lane < 0: warp).
[[noreturn]] void Misuse(const Warp& warp, const Instruction& instruction, int lane,
                         const std::string& what);

// kMatrix: a read, some of whose rows nobody may use.
enum class Access : uint8_t { kRead, kWrite, kMatrix };

// The memory at `address` of that space for `bytes`. Throws where a kernel may not be, where it is
// no multiple of `alignment`, and where ChecksReads() what nobody wrote is read.
uint8_t* Resolve(const Warp& warp, const Instruction& instruction, int lane, uint64_t address,
                 Space space, size_t bytes, size_t alignment, Access access);
inline uint8_t* Resolve(const Warp& warp, const Instruction& instruction, int lane,
                        uint64_t address, Space space, size_t bytes, Access access) {
  return Resolve(warp, instruction, lane, address, space, bytes, bytes, access);
}

}  // namespace ftt::ptx
