#include "tests/ptx/loader.h"

#include <algorithm>
#include <charconv>
#include <deque>
#include <map>
#include <optional>
#include <utility>

#include "core/error.h"
#include "tests/ptx/lexer.h"
#include "tests/ptx/operand.h"

namespace ftt::ptx {
namespace {

size_t RoundUp(size_t n, size_t to) { return (n + to - 1) / to * to; }

uint64_t ParseNumber(std::string_view text) {
  uint64_t value = 0;
  int base = 10;
  if (text.starts_with("0f") || text.starts_with("0F") || text.starts_with("0d") ||
      text.starts_with("0D") || text.starts_with("0x") || text.starts_with("0X")) {
    base = 16;
    text.remove_prefix(2);
  }
  if (text.ends_with("U")) text.remove_suffix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  FTT_CHECK(error == std::errc() && end == text.data() + text.size(), "PTX: '{}' is no number",
            text);
  return value;
}

struct Symbol {
  Space space = Space::kGeneric;
  bool uniform_parameter = false;
  int64_t offset = 0;
  size_t bytes = 0;
};

struct Register {
  Type type;
  uint32_t place = 0;
};

// What the names between two braces mean.
struct Scope {
  std::map<std::string_view, Type> prefixes;  // of "%r<100>"
  std::map<std::string_view, Register> registers;
  std::map<std::string_view, Symbol> symbols;
};

struct Declaration {
  std::string_view name;
  Type type;
  size_t alignment = 1, bytes = 0;
  bool unsized = false;  // "name[]"
};

struct Function {
  std::string name;
  size_t begin = 0;  // token behind the opening brace
  std::vector<Declaration> parameters;
  // Once called:
  std::vector<Symbol> places;
  int64_t code = -1;
};

class Loader {
 public:
  Loader(std::string_view text, const std::string& entry) : places_(&program_) {
    program_.name = entry;
    tokens_ = Tokens(text, &program_.files);
    scopes_.emplace_back();
    Index(entry);
    while (!wanted_.empty()) {
      Function* function = wanted_.front();
      wanted_.pop_front();
      const size_t begin = program_.code.size();
      function->code = static_cast<int64_t>(begin);
      Body(function->begin);
      program_.parts.push_back({function->name, begin, program_.code.size()});
    }
    for (const auto& [at, function] : calls_) program_.code[at].offset = function->code;
    // Lanes' memories lie one behind the other.
    program_.local_bytes = RoundUp(program_.local_bytes, 16);
    program_.stacked_bytes = RoundUp(program_.stacked_bytes, 16);
  }
  Program Take() { return std::move(program_); }

 private:
  // -- tokens
  std::string_view Peek(size_t ahead = 0) const {
    return at_ + ahead < tokens_.size() ? tokens_[at_ + ahead].text : std::string_view();
  }
  std::string_view Next() {
    FTT_CHECK(at_ < tokens_.size(), "PTX: it ends too early");
    return tokens_[at_++].text;
  }
  bool Take(std::string_view token) {
    if (Peek() != token) return false;
    ++at_;
    return true;
  }
  void Expect(std::string_view token) {
    const std::string_view found = Next();
    FTT_CHECK(found == token, "PTX: '{}' where '{}' should be", found, token);
  }
  void SkipBraces() {
    for (int depth = 1; depth > 0;) {
      const std::string_view token = Next();
      depth += token == "{" ? 1 : token == "}" ? -1 : 0;
    }
  }

  // -- the module
  void Index(const std::string& entry) {
    bool found = false;
    while (at_ < tokens_.size()) {
      const std::string_view token = Peek();
      if (token == ".visible" || token == ".weak" || token == ".extern" || token == ";") {
        ++at_;
      } else if (token == ".entry") {
        ++at_;
        const std::string_view name = Next();
        const std::vector<Declaration> parameters = Parameters();
        const int threads = Limits();
        if (name == entry) {
          found = true;
          program_.most_threads = threads;
          Function& function = functions_[name];
          function.name = name;
          function.begin = at_;
          Entry(parameters);
          wanted_.push_back(&function);
        }
        SkipBraces();
      } else if (token == ".func") {
        ++at_;
        FTT_CHECK(Peek() != "(", "PTX: functions that return a value are not known here");
        const std::string_view name = Next();
        std::vector<Declaration> parameters;
        if (Peek() == "(") parameters = Parameters();
        while (Peek() == ".noreturn") ++at_;
        if (Take("{")) {
          functions_[name] = {std::string(name), at_, std::move(parameters), {}, -1};
          SkipBraces();
        }
      } else if (token == ".shared") {
        ++at_;
        Shared(Declare());
        Expect(";");
      } else {
        Fail("PTX: '{}' is not known at this level", token);
      }
    }
    FTT_CHECK(found, "PTX: no entry {}", entry);
  }
  int Limits() {
    int threads = 1024;
    while (!Take("{")) {
      if (Next() != ".maxntid") continue;
      threads = static_cast<int>(ParseNumber(Next()));
    }
    return threads;
  }
  std::vector<Declaration> Parameters() {
    std::vector<Declaration> all;
    Expect("(");
    while (!Take(")")) {
      Expect(".param");
      all.push_back(Declare());
      Take(",");
    }
    return all;
  }
  // ".align 8 .b8 name[16]" behind the space.
  Declaration Declare() {
    Declaration result;
    bool aligned = false;
    for (; Peek().starts_with("."); ++at_) {
      if (Peek() == ".align") {
        ++at_;
        result.alignment = ParseNumber(Peek());
        aligned = true;
      } else {
        result.type = ParseType(Peek().substr(1));
      }
    }
    result.bytes = static_cast<size_t>(result.type.bytes);
    if (!aligned) result.alignment = result.bytes;
    result.name = Next();
    if (Take("[")) {
      result.unsized = Peek() == "]";
      if (!result.unsized) result.bytes *= ParseNumber(Next());
      Expect("]");
    }
    return result;
  }
  void Shared(const Declaration& variable) {
    if (variable.unsized) return Define(variable.name, {Space::kShared, false, 0, 0});
    program_.shared_bytes = RoundUp(program_.shared_bytes, variable.alignment);
    Define(variable.name,
           {Space::kShared, false, static_cast<int64_t>(kStaticShared + program_.shared_bytes),
            variable.bytes});
    program_.shared_bytes += variable.bytes;
  }
  void Entry(const std::vector<Declaration>& parameters) {
    for (const Declaration& p : parameters) {
      program_.parameter_bytes = RoundUp(program_.parameter_bytes, p.alignment);
      Define(p.name,
             {Space::kParameter, true, static_cast<int64_t>(program_.parameter_bytes), p.bytes});
      program_.parameters.push_back({std::string(p.name), program_.parameter_bytes, p.bytes});
      program_.parameter_bytes += p.bytes;
    }
  }
  Symbol Stacked(const Declaration& d) {
    const size_t offset = RoundUp(program_.stacked_bytes, d.alignment);
    program_.stacked_bytes = offset + d.bytes;
    return {Space::kParameter, false, static_cast<int64_t>(offset), d.bytes};
  }
  // A function that is called, with places for its arguments.
  Function* Called(std::string_view name) {
    const auto found = functions_.find(name);
    FTT_CHECK(found != functions_.end(), "PTX: {} is called and not defined", name);
    Function* function = &found->second;
    if (function->places.empty() && !function->parameters.empty()) {
      for (const Declaration& p : function->parameters) {
        function->places.push_back(Stacked(p));
        scopes_[0].symbols[p.name] = function->places.back();
      }
    }
    if (function->code < 0) {
      function->code = 0;
      wanted_.push_back(function);
    }
    return function;
  }

  // -- names
  void Define(std::string_view name, const Symbol& symbol) {
    scopes_.back().symbols[name] = symbol;
  }
  const Symbol* FindSymbol(std::string_view name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      const auto found = scope->symbols.find(name);
      if (found != scope->symbols.end()) return &found->second;
    }
    return nullptr;
  }
  const Register* FindRegister(std::string_view name) {
    const std::string_view prefix = name.substr(0, name.find_last_not_of("0123456789") + 1);
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      const auto found = scope->registers.find(name);
      if (found != scope->registers.end()) return &found->second;
      const auto many = scope->prefixes.find(prefix);
      if (many != scope->prefixes.end() && prefix.size() < name.size())
        return AddRegister(&*scope, name, many->second);
    }
    return nullptr;
  }
  const Register* AddRegister(Scope* scope, std::string_view name, Type type) {
    const uint32_t place =
        type.kind == 'p' ? places_.NewPredicate() : places_.NewSlot(type.bytes == 8);
    return &(scope->registers[name] = {type, place});
  }

  // -- code
  void Body(size_t begin) {
    at_ = begin;
    labels_.clear();
    branches_.clear();
    const size_t outside = scopes_.size();
    scopes_.emplace_back();
    while (scopes_.size() > outside) {
      if (Take("{")) {
        scopes_.emplace_back();
      } else if (Take("}")) {
        scopes_.pop_back();
      } else if (Take(";")) {
        continue;
      } else if (Peek(1) == ":") {
        labels_[Next()] = program_.code.size();
        ++at_;
      } else if (Peek().starts_with(".")) {
        Directive();
      } else {
        Code();
      }
    }
    for (const auto& [at, label] : branches_) {
      const auto found = labels_.find(label);
      FTT_CHECK(found != labels_.end(), "PTX: no label {}", label);
      program_.code[at].offset = static_cast<int64_t>(found->second);
    }
    // A function need not end with "ret".
    Instruction end;
    end.kind = Kind::kReturn;
    end.written = false;
    AddText("ret", &end);
    program_.code.push_back(end);
  }
  void Directive() {
    const std::string_view directive = Next();
    if (directive == ".pragma") {
      while (!Take(";")) ++at_;
    } else if (directive == ".reg") {
      const Type type = ParseType(Next().substr(1));
      do {
        const std::string_view name = Next();
        if (Take("<")) {
          scopes_.back().prefixes[name] = type;
          Next();
          Expect(">");
        } else {
          AddRegister(&scopes_.back(), name, type);
        }
      } while (Take(","));
    } else if (directive == ".local") {
      const Declaration d = Declare();
      program_.local_bytes = RoundUp(program_.local_bytes, d.alignment);
      Define(d.name, {Space::kLocal, false, static_cast<int64_t>(program_.local_bytes), d.bytes});
      program_.local_bytes += d.bytes;
    } else if (directive == ".shared") {
      Shared(Declare());
    } else if (directive == ".param") {
      const Declaration d = Declare();
      Define(d.name, Stacked(d));
    } else {
      Fail("PTX: '{}' is not known", directive);
    }
  }
  void AddText(std::string text, Instruction* to) {
    to->text = static_cast<uint32_t>(program_.text.size());
    program_.text.push_back(std::move(text));
  }

  void Code() {
    Instruction out;
    out.source = tokens_[at_].source;
    std::string text;
    for (size_t i = at_; i < tokens_.size() && tokens_[i].text != ";"; ++i) {
      text += tokens_[i].text;
      const bool glued = tokens_[i].text == "@" || tokens_[i].text == "!" ||
                         tokens_[i].text == "[" || tokens_[i].text == "{" ||
                         tokens_[i].text == "-" || tokens_[i].text == "|";
      if (!glued) text += ' ';
    }
    AddText(std::move(text), &out);
    if (Take("@")) {
      out.negated = Take("!");
      const Register* guard = FindRegister(Next());
      FTT_CHECK(guard != nullptr && guard->type.kind == 'p', "PTX: a guard that is no predicate");
      out.guard = static_cast<int16_t>(guard->place);
    }
    Statement statement;
    const std::string_view operation = Next();
    for (size_t from = 0; from <= operation.size();) {
      const size_t dot = std::min(operation.find('.', from), operation.size());
      statement.parts.push_back(operation.substr(from, dot - from));
      from = dot + 1;
    }
    try {
      Operation(&statement, &out);
    } catch (const Error& error) {
      Fail("{}, in '{}'", error.what(), program_.text[out.text]);
    }
    program_.code.push_back(out);
  }
  void Operation(Statement* statement, Instruction* out) {
    const std::string_view name = statement->Name();
    if (name == "bra") {
      out->kind = Kind::kBranch;
      branches_.emplace_back(program_.code.size(), Next());
      return;
    }
    if (name == "ret" || name == "exit") {
      out->kind = Kind::kReturn;
      return;
    }
    if (name == "call") return Call(out);
    if (name == "bar" && statement->Has("sync") && !statement->Has("warp")) {
      FTT_CHECK(Next() == "0" && Peek() == ";", "PTX: only barrier 0 of all threads is known");
      out->kind = Kind::kBarrier;
      return;
    }
    if (Peek() != ";") {
      do {
        statement->operands.push_back(ParseOperand());
      } while (Take(","));
    }
    FTT_CHECK(Peek() == ";", "PTX: '{}' is not known in an operand", Peek());
    FTT_CHECK(DecodeArithmetic(*statement, &places_, out) ||
                  DecodeConversion(*statement, &places_, out) ||
                  DecodeMemory(*statement, &places_, out) || DecodeWarp(*statement, &places_, out),
              "PTX: the operation is not known");
  }
  // call.uni name, (a, b): the arguments are copied to where the function looks for them.
  void Call(Instruction* out) {
    FTT_CHECK(Peek() != "(" && out->guard < 0, "PTX: this form of a call is not known");
    const Function* function = Called(Next());
    std::vector<Symbol> arguments;
    if (Take(",")) {
      Expect("(");
      while (!Take(")")) {
        const Symbol* argument = FindSymbol(Next());
        FTT_CHECK(argument != nullptr, "PTX: an unknown argument");
        arguments.push_back(*argument);
        Take(",");
      }
    }
    FTT_CHECK(arguments.size() == function->places.size(), "PTX: a call with {} arguments, not {}",
              arguments.size(), function->places.size());
    for (size_t i = 0; i < arguments.size(); ++i) {
      // As one would write it: each byte of the argument is loaded and stored.
      Statement copy;
      copy.parts = {"copy", "param"};
      for (const Symbol* symbol : {&function->places[i], &std::as_const(arguments)[i]}) {
        Operand operand;
        operand.offset = symbol->offset;
        operand.bits = symbol->bytes;
        copy.operands.push_back(operand);
      }
      Instruction move;
      move.written = false;
      move.text = out->text;
      move.source = out->source;
      FTT_CHECK(DecodeMemory(copy, &places_, &move), "PTX: arguments cannot be copied");
      program_.code.push_back(move);
    }
    out->kind = Kind::kCall;
    calls_.emplace_back(program_.code.size(), function);
  }

  Operand ParseOperand() {
    Operand result;
    if (Take("{")) {
      result.kind = Operand::Kind::kVector;
      while (!Take("}")) {
        result.elements.push_back(ParseOperand());
        Take(",");
      }
      return result;
    }
    if (Take("[")) {
      result = ParseOperand();
      FTT_CHECK(result.kind == Operand::Kind::kRegister || result.kind == Operand::Kind::kSymbol,
                "PTX: an address of neither a register nor a name");
      result.has_register = result.kind == Operand::Kind::kRegister;
      result.kind = Operand::Kind::kAddress;
      if (Take("+")) {
        const bool minus = Take("-");
        const auto offset = static_cast<int64_t>(ParseNumber(Next()));
        result.offset += minus ? -offset : offset;
      }
      Expect("]");
      return result;
    }
    if (Take("-")) {
      result.bits = ~ParseNumber(Next()) + 1;
      return result;
    }
    const std::string_view word = Next();
    if (word == "_") {
      result.discarded = true;
      return result;
    }
    if (word[0] >= '0' && word[0] <= '9') {
      result.bits = ParseNumber(word);
      return result;
    }
    if (const std::optional<uint32_t> special = FindSpecial(word)) {
      result.kind = Operand::Kind::kRegister;
      result.slot = *special;
      return result;
    }
    if (const Register* found = FindRegister(word)) {
      result.kind = found->type.kind == 'p' ? Operand::Kind::kPredicate : Operand::Kind::kRegister;
      result.slot = found->place;
      result.wide = found->type.bytes == 8;
      if (Take("|")) {
        const Register* second = FindRegister(Next());
        FTT_CHECK(second != nullptr && second->type.kind == 'p', "PTX: no predicate behind '|'");
        result.second = static_cast<int>(second->place);
      }
      return result;
    }
    const Symbol* symbol = FindSymbol(word);
    FTT_CHECK(symbol != nullptr, "PTX: '{}' is not known", word);
    result.kind = Operand::Kind::kSymbol;
    result.space = symbol->space;
    result.uniform_parameter = symbol->uniform_parameter;
    result.offset = symbol->offset;
    return result;
  }
  std::optional<uint32_t> FindSpecial(std::string_view word) {
    constexpr std::pair<std::string_view, Special> kSpecials[] = {{"%tid.", Special::kTid},
                                                                  {"%ntid.", Special::kBlockDim},
                                                                  {"%ctaid.", Special::kBlock},
                                                                  {"%nctaid.", Special::kGrid}};
    for (const auto& [name, what] : kSpecials)
      if (word.starts_with(name) && word.size() == name.size() + 1)
        return places_.OfSpecial(what, word.back() - 'x');
    return std::nullopt;
  }

  Program program_;
  Places places_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  std::vector<Scope> scopes_;
  std::map<std::string_view, Function> functions_;
  std::deque<Function*> wanted_;
  std::map<std::string_view, size_t> labels_;
  std::vector<std::pair<size_t, std::string_view>> branches_;
  std::vector<std::pair<size_t, const Function*>> calls_;
};

}  // namespace

Type ParseType(std::string_view name) {
  if (name == "pred") return {'p', 1};
  constexpr std::pair<std::string_view, int> kBits[] = {{"8", 1}, {"16", 2}, {"32", 4}, {"64", 8}};
  if (!name.empty() && std::string_view("usbf").find(name[0]) != std::string_view::npos)
    for (const auto& [bits, bytes] : kBits)
      if (name.substr(1) == bits) return {name[0], bytes};
  Fail("PTX: '{}' is no type that is known", name);
}

uint32_t Places::NewSlot(bool wide) {
  const uint32_t slot = program_->slots;
  program_->slots += wide ? 2 : 1;
  return slot;
}

uint32_t Places::Of(const Operand& operand, bool wide) {
  if (operand.kind == Operand::Kind::kRegister) {
    FTT_CHECK(operand.wide == wide, "PTX: a register of the wrong size");
    return operand.slot;
  }
  FTT_CHECK(operand.kind == Operand::Kind::kNumber, "PTX: neither a register nor a number");
  const uint64_t bits = wide ? operand.bits : operand.bits & 0xFFFFFFFFu;
  const auto [found, added] = numbers_.try_emplace({bits, wide}, 0);
  if (added) {
    found->second = NewSlot(wide);
    program_->constants.push_back({found->second, wide, bits});
  }
  return found->second;
}

uint32_t Places::OfSpecial(Special what, int axis) {
  const auto [found, added] = specials_.try_emplace({what, axis}, 0);
  if (added) {
    found->second = NewSlot(false);
    program_->specials.push_back({found->second, what, axis});
  }
  return found->second;
}

bool Statement::Has(std::string_view part) const {
  return std::find(parts.begin() + 1, parts.end(), part) != parts.end();
}

Program Load(std::string_view text, const std::string& entry) { return Loader(text, entry).Take(); }

}  // namespace ftt::ptx
