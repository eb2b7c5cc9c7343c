// A subcommand of the program.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace ftt {

struct Command {
  const char* name;
  const char* summary;
  // Adds options, help and examples to the command's page; the returned function runs it after
  // parsing and gives the exit code.
  std::function<int()> (*set_up)(CLI::App& app);
};

}  // namespace ftt
