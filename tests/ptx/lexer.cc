#include "tests/ptx/lexer.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "core/error.h"

namespace ftt::ptx {
namespace {

bool IsWord(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.' || c == '$' || c == '%';
}

// The number at the front of `text`, which loses it.
int TakeNumber(std::string_view* text) {
  while (!text->empty() && (text->front() == ' ' || text->front() == '\t')) text->remove_prefix(1);
  int number = 0;
  const auto end = std::from_chars(text->data(), text->data() + text->size(), number).ptr;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return number;
}

class Lexer {
 public:
  Lexer(std::string_view text, std::vector<std::string>* files) : rest_(text), files_(files) {}

  std::vector<Token> All() {
    while (SkipToNext()) {
      if (TakeLineDirective()) continue;
      size_t length = 1;
      if (rest_[0] == '"') {
        length = rest_.find('"', 1) + 1;
        FTT_CHECK(length != 0, "PTX: a string without an end");
      } else if (IsWord(rest_[0])) {
        while (length < rest_.size() && IsWord(rest_[length])) ++length;
      }
      tokens_.push_back({rest_.substr(0, length), source_});
      rest_.remove_prefix(length);
    }
    return std::move(tokens_);
  }

 private:
  // Behind spaces and comments; false at the end.
  bool SkipToNext() {
    for (;;) {
      const size_t at = rest_.find_first_not_of(" \t\r\n");
      if (at == std::string_view::npos) return false;
      rest_.remove_prefix(at);
      if (rest_.starts_with("//")) {
        TakeLine();
      } else if (rest_.starts_with("/*")) {
        const size_t end = rest_.find("*/");
        FTT_CHECK(end != std::string_view::npos, "PTX: a comment without an end");
        rest_.remove_prefix(end + 2);
      } else {
        return true;
      }
    }
  }
  std::string_view TakeLine() {
    const size_t end = std::min(rest_.find('\n'), rest_.size());
    const std::string_view line = rest_.substr(0, end);
    rest_.remove_prefix(end);
    return line;
  }
  // Directives that end with their line, not with a semicolon.
  bool TakeLineDirective() {
    if (rest_.starts_with(".loc\t") || rest_.starts_with(".loc ")) {
      std::string_view line = TakeLine().substr(4);
      source_.file = TakeNumber(&line);
      source_.line = TakeNumber(&line);
      return true;
    }
    if (rest_.starts_with(".file")) {
      std::string_view line = TakeLine().substr(5);
      const auto number = static_cast<size_t>(TakeNumber(&line));
      const size_t begin = line.find('"'), end = line.rfind('"');
      if (files_->size() <= number) files_->resize(number + 1);
      if (begin != end) (*files_)[number] = line.substr(begin + 1, end - begin - 1);
      return true;
    }
    for (const char* directive : {".version", ".target", ".address_size"}) {
      if (!rest_.starts_with(directive)) continue;
      TakeLine();
      return true;
    }
    if (rest_.starts_with(".section")) {  // debug information
      const size_t end = rest_.find('}');
      FTT_CHECK(end != std::string_view::npos, "PTX: a section without an end");
      rest_.remove_prefix(end + 1);
      return true;
    }
    return false;
  }

  std::string_view rest_;
  std::vector<std::string>* files_;
  std::vector<Token> tokens_;
  SourceLine source_;
};

}  // namespace

std::vector<Token> Tokens(std::string_view text, std::vector<std::string>* files) {
  return Lexer(text, files).All();
}

std::string Describe(const Program& program, SourceLine line) {
  const auto file = static_cast<size_t>(line.file);
  if (file >= program.files.size() || program.files[file].empty()) return "?";
  return program.files[file] + ":" + std::to_string(line.line);
}

}  // namespace ftt::ptx
