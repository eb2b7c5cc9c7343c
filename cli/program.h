// Argument parsing and error reporting around the table of subcommands.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/command.h"

namespace ftt {

// Exit codes of the program.
inline constexpr int kExitSuccess = 0;
inline constexpr int kExitMismatch = 1;  // a comparison that the user asked for failed
inline constexpr int kExitUsage = 2;     // wrong arguments or input: ftt::Error
inline constexpr int kExitInternal = 70;

// Runs the subcommand named in `arguments` (without the program's name) and returns the exit code.
// Errors go to standard error in one line, as "ftt-cuda: error: MESSAGE".
int RunProgram(std::span<const Command> commands, std::vector<std::string> arguments);

}  // namespace ftt
