#include "cli/help.h"

#include <CLI/CLI.hpp>
#include <memory>

namespace ftt {
namespace {

constexpr size_t kPageWidth = 100;
constexpr size_t kColumnWidth = 34;

class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(kColumnWidth); }
  // Continuation lines are indented by the library.
  std::string make_option_desc(const CLI::Option* option) const override {
    return WrapText(option->get_description(), kPageWidth - kColumnWidth);
  }
};

}  // namespace

std::string WrapText(const std::string& text, size_t width) {
  std::string wrapped;
  size_t line_start = 0;
  size_t last_space = std::string::npos;
  for (const char c : text) {
    if (c == ' ') last_space = wrapped.size();
    wrapped += c;
    if (c == '\n') {
      line_start = wrapped.size();
      last_space = std::string::npos;
    } else if (wrapped.size() - line_start > width && last_space != std::string::npos) {
      wrapped[last_space] = '\n';
      line_start = last_space + 1;
      last_space = std::string::npos;
    }
  }
  return wrapped;
}

void SetProgramHelp(CLI::App& program) {
  program.formatter(std::make_shared<HelpFormatter>());
  program.set_help_flag("-h,--help", "Print this page and exit");
  program.footer(
      "\"ftt-cuda COMMAND --help\" explains a command. Exit codes: 0 success, 1 a comparison "
      "failed,\n"
      "2 wrong arguments or input, 70 internal error.");
}

void SetExamples(CLI::App& app, const std::string& examples) {
  app.footer("Examples:\n" + examples);
}

}  // namespace ftt
