// Presets and configuration files as arguments, and back: the resolved configuration of a run.
//
// Every long option of a command can stand in a TOML file, at the top level or in a table with the
// command's name, with dashes or underscores. What is given nearer to the user wins: command line,
// then --config, then --preset, then (with
// --resume) the configuration that the run was started with, then the default.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace ftt {

struct ExpandedArguments {
  std::vector<std::string> arguments;          // the command, what files said, what the user said
  std::map<std::string, std::string> origins;  // "--key" -> "FILE:LINE" of what came from a file
};

// Throws on an unknown key or table in a file (naming file, line, key and near matches), an unknown
// preset, and an unreadable file. All tables are checked, not only that of the command at hand.
ExpandedArguments ExpandConfig(const CLI::App& program, const std::vector<std::string>& arguments);

// The parsed options of a command as a TOML table that --config reads back, one `key = value` a
// line, always in the same notation: two runs of the same experiment have the same text. Leaves out
// what cannot change a result: --out, --resume,
// --json, --threads, --checkpoint-minutes, and the options that only refer to other configurations.
std::string ResolvedToml(const CLI::App& app);

}  // namespace ftt
