// A PTX instruction as it is written, before it becomes something that runs.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include "tests/ptx/program.h"

namespace ftt::ptx {

// 'u', 's', 'b', 'f' or 'p'redicate, and its size.
struct Type {
  char kind = 'b';
  int bytes = 4;
};
// Throws where `name` is none, as "u32" is.
Type ParseType(std::string_view name);

struct Operand {
  enum class Kind : uint8_t { kRegister, kPredicate, kNumber, kSymbol, kAddress, kVector };
  Kind kind = Kind::kNumber;
  uint32_t slot = 0;          // of a register, of an address' register; number of a predicate
  bool wide = false;          // that register has 64 bits
  bool has_register = false;  // an address
  bool discarded = false;     // written as "_"
  uint64_t bits = 0;          // of a number
  // Of a symbol and an address.
  Space space = Space::kGeneric;
  bool uniform_parameter = false;
  int64_t offset = 0;
  std::vector<Operand> elements;
  int second = -1;  // the predicate behind a bar, "%r1|%p2"
};

// Where values live: gives places to registers and numbers.
class Places {
 public:
  explicit Places(Program* program) : program_(program) {}

  uint32_t NewSlot(bool wide);
  uint32_t NewPredicate() { return program_->predicates++; }
  // Of a register, or of a number as an operand of 32 (16, 8) or of 64 bits.
  uint32_t Of(const Operand& operand, bool wide);
  uint32_t OfSpecial(Special what, int axis);

 private:
  Program* program_;
  std::map<std::pair<uint64_t, bool>, uint32_t> numbers_;
  std::map<std::pair<Special, int>, uint32_t> specials_;
};

struct Statement {
  std::vector<std::string_view> parts;  // of the operation, "ld", "shared", "v4", "f32"
  std::vector<Operand> operands;

  std::string_view Name() const { return parts[0]; }
  bool Has(std::string_view part) const;
  Type LastType() const { return ParseType(parts.back()); }
};

// Each sets what it knows of an instruction and returns true, or returns false.
bool DecodeArithmetic(const Statement& statement, Places* places, Instruction* out);
bool DecodeConversion(const Statement& statement, Places* places, Instruction* out);
bool DecodeMemory(const Statement& statement, Places* places, Instruction* out);
bool DecodeWarp(const Statement& statement, Places* places, Instruction* out);

}  // namespace ftt::ptx
