// Help pages: wrapped text, defaults, examples.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace ftt {

// Page layout for the program; subcommands added afterwards inherit it.
void SetProgramHelp(CLI::App& program);

// Text under the options of a subcommand's page. `examples` holds lines "command  # what it does"
// or free text.
void SetExamples(CLI::App& app, const std::string& examples);

// `text` broken at spaces into lines of at most `width` columns.
std::string WrapText(const std::string& text, size_t width);

}  // namespace ftt
