#include "cli/program.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <map>
#include <new>

#include "cli/config_args.h"
#include "cli/help.h"
#include "cli/suggest.h"
#include "core/error.h"

namespace ftt {
namespace {

int Report(const std::string& message, int exit_code) {
  std::fflush(stdout);
  std::fprintf(stderr, "ftt-cuda: error: %s\n", message.c_str());
  return exit_code;
}

std::vector<std::string> OptionNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> CommandNames(std::span<const Command> commands) {
  std::vector<std::string> names;
  for (const Command& command : commands) names.emplace_back(command.name);
  return names;
}

bool IsProgramOption(const std::string& argument) {
  return argument == "-h" || argument == "--help" || argument == "--version";
}

// What is wrong with the first argument, or nothing.
std::string UnknownCommand(const std::string& argument, std::span<const Command> commands) {
  const std::vector<std::string> names = CommandNames(commands);
  if (IsProgramOption(argument) || std::find(names.begin(), names.end(), argument) != names.end()) {
    return "";
  }
  if (argument.starts_with("-")) {
    return fmt::format("unknown option '{}' before the command; see 'ftt-cuda --help'", argument);
  }
  return fmt::format("unknown command '{}'{}; see 'ftt-cuda --help'", argument,
                     DidYouMean(argument, names));
}

// Names what a command did not understand and the nearest things that it would have.
std::string UnknownArgument(const CLI::App& program) {
  const CLI::App* app = &program;
  while (!app->get_subcommands().empty()) app = app->get_subcommands().back();
  const std::vector<std::string> rest = program.remaining(/*recurse=*/true);
  const std::string argument = rest.empty() ? "" : rest.front();
  const std::string name = argument.substr(0, argument.find('='));
  return fmt::format("unknown {} '{}' for '{}'{}; see 'ftt-cuda {} --help'",
                     name.starts_with("-") ? "option" : "argument", name, app->get_name(),
                     DidYouMean(name, OptionNames(*app)), app->get_name());
}

// The library's message with the place in a configuration file that an argument came from.
std::string WithOrigin(std::string message, const std::map<std::string, std::string>& origins) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  for (const auto& [option, origin] : origins) {
    const size_t place = message.find(option);
    if (place == std::string::npos) continue;
    const size_t end = place + option.size();
    const bool whole_name =
        end == message.size() || std::string(" :=,").find(message[end]) != std::string::npos;
    if (whole_name) return fmt::format("{} (given in {})", message, origin);
  }
  return message;
}

int Parse(CLI::App& program, const std::vector<std::string>& arguments) {
  const ExpandedArguments expanded = ExpandConfig(program, arguments);
  // The library takes its arguments in reverse.
  std::vector<std::string> reversed(expanded.arguments.rbegin(), expanded.arguments.rend());
  try {
    program.parse(reversed);
    return kExitSuccess;
  } catch (const CLI::ExtrasError&) {
    return Report(UnknownArgument(program), kExitUsage);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // help or version was asked for
      program.exit(error);
      return -1;
    }
    // A misspelt option may be the reason why another is missing: it is named first.
    const bool misspelt =
        error.get_exit_code() == static_cast<int>(CLI::ExitCodes::RequiredError) &&
        !program.remaining(true).empty();
    if (misspelt) return Report(UnknownArgument(program), kExitUsage);
    return Report(WithOrigin(error.what(), expanded.origins), kExitUsage);
  }
}

int RunUnguarded(std::span<const Command> commands, const std::vector<std::string>& arguments) {
  CLI::App program(
      "Finds, trains and measures neural networks that keep working on faulty hardware.",
      "ftt-cuda");
  SetProgramHelp(program);
  program.set_version_flag("--version", "ftt-cuda " FTT_VERSION, "Print the version and exit");
  program.require_subcommand(1);
  std::map<const CLI::App*, std::function<int()>> bodies;
  for (const Command& command : commands) {
    CLI::App* app = program.add_subcommand(command.name, command.summary);
    // Defaults appear in --help and in a run's config.toml.
    app->option_defaults()->always_capture_default();
    bodies[app] = command.set_up(*app);
  }
  if (arguments.empty()) {
    std::fputs(program.help().c_str(), stdout);
    return kExitUsage;
  }
  if (const std::string problem = UnknownCommand(arguments.front(), commands); !problem.empty()) {
    return Report(problem, kExitUsage);
  }
  const int status = Parse(program, arguments);
  if (status != kExitSuccess) return std::max(status, kExitSuccess);
  return bodies.at(program.get_subcommands().front())();
}

}  // namespace

int RunProgram(std::span<const Command> commands, std::vector<std::string> arguments) {
  try {
    return RunUnguarded(commands, arguments);
  } catch (const Error& error) {
    return Report(error.what(), kExitUsage);
  } catch (const std::bad_alloc&) {
    return Report("out of memory; use a smaller batch or network", kExitInternal);
  } catch (const std::exception& error) {
    return Report(
        fmt::format("internal error: {}; please report it with the command line", error.what()),
        kExitInternal);
  } catch (...) {
    return Report("internal error of unknown kind", kExitInternal);
  }
}

}  // namespace ftt
