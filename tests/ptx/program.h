// A kernel as nvcc hands it to its assembler, PTX, made ready to run: every instruction is a
// handler with the places of its operands, for the 32 lanes of a warp at once.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace ftt::ptx {

inline constexpr int kLanes = 32;
// One bit for each lane of a warp.
using Mask = uint32_t;
inline constexpr Mask kAllLanes = 0xFFFFFFFFu;
// Where static shared memory begins; dynamic shared memory lies in front of it, from 0 on.
inline constexpr size_t kStaticShared = size_t{256} << 10;

struct Warp;
struct Instruction;
using Handler = void (*)(Warp& warp, const Instruction& instruction, Mask active);

// Who runs an instruction: its handler, or the scheduler.
enum class Kind : uint8_t {
  kPlain,
  kBranch,
  kCall,
  kReturn,
  kBarrier,
  // The handler, once all lanes of a mask are there: at[3] has the mask, or all for kWholeWarp.
  kMaskedSync,
  kWholeWarp,
};

enum class Space : uint8_t { kGeneric, kGlobal, kShared, kLocal, kParameter };

// A position in the source, as -lineinfo gives it.
struct SourceLine {
  int file = 0, line = 0;
};

// What ran, for profiles. Warp-wide: one execution is one instruction issued.
struct Count {
  int64_t executed = 0, lanes = 0;
  // Of accesses to shared memory: passes through its 32 banks, and how few the bytes need. Of
  // global memory: sectors of 32 bytes, and how few the bytes need.
  int64_t passes = 0, fewest = 0;
};

struct Instruction {
  Handler run = nullptr;
  Kind kind = Kind::kPlain;
  Space space = Space::kGeneric;
  uint8_t bytes = 0;   // of an element in memory
  uint8_t vector = 1;  // elements of an access
  bool negated = false;
  bool written = true;             // in the text, not added by the loader
  bool uniform_parameter = false;  // of the kernel, not of a function
  int16_t guard = -1;              // predicate
  // Operands: of registers, units of 128 bytes in the warp's file; of predicates, their number.
  std::array<uint32_t, 14> at{};
  int64_t offset = 0;  // of an address; target of a branch or call; an immediate of the handler
  uint32_t text = 0;   // index into Program::text, for messages
  SourceLine source;
};

struct Constant {
  uint32_t slot = 0;
  bool wide = false;
  uint64_t bits = 0;
};

enum class Special : uint8_t { kTid, kBlockDim, kBlock, kGrid };
struct SpecialRegister {
  uint32_t slot = 0;
  Special what = Special::kTid;
  int axis = 0;
};

struct Parameter {
  std::string name;
  size_t offset = 0, bytes = 0;
};

// An entry or a function: instructions [begin, end).
struct Part {
  std::string name;
  size_t begin = 0, end = 0;
};

// An entry with the functions that it calls.
struct Program {
  std::string name;
  std::vector<Instruction> code;
  std::vector<Part> parts;
  std::vector<std::string> text;   // of the instructions, for messages
  std::vector<std::string> files;  // by SourceLine::file
  std::vector<Constant> constants;
  std::vector<SpecialRegister> specials;
  std::vector<Parameter> parameters;
  size_t parameter_bytes = 0;
  uint32_t slots = 0;  // of the register file, 128 bytes each
  uint32_t predicates = 0;
  size_t local_bytes = 0;    // of a lane
  size_t stacked_bytes = 0;  // arguments of called functions, of a lane
  size_t shared_bytes = 0;   // static
  int most_threads = 1024;   // of a block
};

// Where a source line is, "kernels/cuda/conv.cuh:12".
std::string Describe(const Program& program, SourceLine line);

}  // namespace ftt::ptx
