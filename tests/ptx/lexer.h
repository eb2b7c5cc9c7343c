// PTX text as tokens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tests/ptx/program.h"

namespace ftt::ptx {

struct Token {
  std::string_view text;  // a word, a number, or one character of punctuation
  SourceLine source;      // the last .loc before it
};

// `text` must outlive the tokens. File names go to files[number].
std::vector<Token> Tokens(std::string_view text, std::vector<std::string>* files);

}  // namespace ftt::ptx
