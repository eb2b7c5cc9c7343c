#include "cli/config_args.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <string_view>

#include "cli/presets.h"
#include "cli/suggest.h"
#include "core/error.h"
#include "core/file.h"
#include "core/toml_options.h"

namespace ftt {
namespace {

// Options that cannot change a result: where to write, how to print, what else to read, how fast to
// be. A run may be resumed with other values of these.
constexpr std::array<std::string_view, 8> kNotInConfig = {
    "help", "config", "preset", "resume", "out", "json", "threads", "checkpoint-minutes"};

template <typename Container>
bool Contains(const Container& container, std::string_view value) {
  return std::find(container.begin(), container.end(), value) != container.end();
}

const CLI::Option* FindOption(const CLI::App& app, const std::string& key) {
  return app.get_option_no_throw("--" + key);
}

bool IsFlag(const CLI::Option& option) { return option.get_items_expected_max() == 0; }
bool TakesSeveral(const CLI::Option& option) { return option.get_items_expected_max() > 1; }

std::vector<const CLI::App*> Subcommands(const CLI::App& program) {
  return program.get_subcommands([](const CLI::App*) { return true; });
}

// Whether the user gave --`key`, and the value if it takes one.
bool GivenByUser(const std::vector<std::string>& arguments, const std::string& key,
                 std::string* value = nullptr) {
  const std::string name = "--" + key;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == name) {
      if (value != nullptr && i + 1 < arguments.size()) *value = arguments[i + 1];
      return true;
    }
    if (arguments[i].starts_with(name + "=")) {
      if (value != nullptr) *value = arguments[i].substr(name.size() + 1);
      return true;
    }
  }
  return false;
}

struct Layer {
  std::string source;  // file name, for messages
  std::vector<TomlOption> options;
};

void CheckKey(const CLI::App& program, const TomlOption& option, const std::string& source) {
  std::vector<std::string> tables;
  std::vector<std::string> known;
  for (const CLI::App* app : Subcommands(program)) {
    tables.push_back(app->get_name());
    if (!option.table.empty() && option.table != app->get_name()) continue;
    if (option.key != "help" && option.key != "config" && FindOption(*app, option.key) != nullptr) {
      return;
    }
    for (const CLI::Option* other : app->get_options()) {
      for (const std::string& name : other->get_lnames()) known.push_back(name);
    }
  }
  FTT_CHECK(option.table.empty() || Contains(tables, option.table), "{}:{}: unknown table '[{}]'{}",
            source, option.line, option.table, DidYouMean(option.table, tables));
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  Fail("{}:{}: unknown key '{}'{}{}", source, option.line, option.key,
       option.table.empty() ? "" : fmt::format(" in '[{}]'", option.table),
       DidYouMean(option.key, known));
}

Layer MakeLayer(const CLI::App& program, const std::string& source,
                std::vector<TomlOption> options) {
  for (const TomlOption& option : options) CheckKey(program, option, source);
  return {source, std::move(options)};
}

Layer PresetLayer(const CLI::App& program, const std::string& name) {
  std::vector<std::string> names;
  for (const Preset& preset : Presets()) {
    if (preset.name == name) {
      const std::string source = "preset '" + name + "'";
      return MakeLayer(program, source, ParseTomlOptions(preset.text, source));
    }
    names.emplace_back(preset.name);
  }
  Fail("unknown preset '{}'{}; there are {}", name, DidYouMean(name, names),
       fmt::join(names, ", "));
}

// Value of a key in a layer, as it applies to one command; empty if it is not there.
std::string ValueIn(const Layer& layer, const std::string& command, const std::string& key) {
  std::string value;
  for (const TomlOption& option : layer.options) {
    const bool applies = option.table.empty() || option.table == command;
    if (applies && option.key == key && option.values.size() == 1) value = option.values[0];
  }
  return value;
}

// The layers that apply to this command line, the strongest first.
std::vector<Layer> CollectLayers(const CLI::App& program, const CLI::App& command,
                                 const std::vector<std::string>& arguments) {
  std::vector<Layer> layers;
  std::string preset;
  GivenByUser(arguments, "preset", &preset);
  std::string path;
  if (FindOption(command, "config") != nullptr && GivenByUser(arguments, "config", &path)) {
    layers.push_back(MakeLayer(program, path, ReadTomlOptions(path)));
    if (preset.empty()) preset = ValueIn(layers.back(), command.get_name(), "preset");
  }
  if (!preset.empty() && FindOption(command, "preset") != nullptr) {
    layers.push_back(PresetLayer(program, preset));
  }
  std::string out;
  GivenByUser(arguments, "out", &out);
  for (const Layer& layer : layers) {
    if (out.empty()) out = ValueIn(layer, command.get_name(), "out");
  }
  if (GivenByUser(arguments, "resume") && !out.empty()) {
    const std::string saved = out + "/config.toml";
    if (PathExists(saved)) layers.push_back(MakeLayer(program, saved, ReadTomlOptions(saved)));
  }
  return layers;
}

// Arguments for one key. An empty text needs two of them: the library takes "--key=" as a key
// without a value.
void AppendArguments(const CLI::Option& option, const TomlOption& toml,
                     std::vector<std::string>& arguments) {
  const std::string name = "--" + toml.key;
  std::vector<std::string> values = toml.values;
  if (values.size() > 1 && !TakesSeveral(option)) {
    values = {fmt::format("{}", fmt::join(toml.values, ","))};
  }
  for (const std::string& value : values) {
    if (value.empty()) {
      arguments.push_back(name);
      arguments.emplace_back();
    } else {
      arguments.push_back(name + "=" + value);
    }
  }
}

// Fractional numbers in the notation in which they come back from a TOML file; anything else as it
// is. So a value has one text, whether it was typed, read or a default.
std::string CanonicalText(const std::string& text) {
  if (text.find_first_of(".eE") == std::string::npos) return text;
  double number = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end) return text;
  return fmt::format("{}", number);
}

// The option's value where it is not given.
std::vector<std::string> DefaultValues(const CLI::Option& option) {
  std::string text = option.get_default_str();
  if (IsFlag(option)) return {text.empty() ? "false" : text};
  if (!TakesSeveral(option)) return {text};
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  return text.empty() ? std::vector<std::string>() : CLI::detail::split(text, ',');
}

// The values of an option after parsing.
std::vector<std::string> CurrentValues(const CLI::Option& option) {
  std::vector<std::string> values = option.count() > 0 ? option.results() : DefaultValues(option);
  if (!TakesSeveral(option) && values.size() > 1) values = {values.back()};
  for (std::string& value : values) value = CanonicalText(value);
  return values;
}

// Whether a file only repeats the default. The default is then left alone: its text may be a
// rounded one.
bool RepeatsDefault(const CLI::Option& option, const TomlOption& toml) {
  if (option.get_required()) return false;
  std::vector<std::string> defaults = DefaultValues(option);
  for (std::string& value : defaults) value = CanonicalText(value);
  std::vector<std::string> given = toml.values;
  for (std::string& value : given) value = CanonicalText(value);
  return given == defaults;
}

std::vector<TomlOption> ResolvedOptions(const CLI::App& app) {
  std::vector<TomlOption> options;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_lnames().empty()) continue;
    const std::string& key = option->get_lnames().front();
    if (Contains(kNotInConfig, key)) continue;
    options.push_back({app.get_name(), key, CurrentValues(*option), 0});
  }
  return options;
}

}  // namespace

ExpandedArguments ExpandConfig(const CLI::App& program, const std::vector<std::string>& arguments) {
  ExpandedArguments expanded{arguments, {}};
  if (arguments.empty()) return expanded;
  const CLI::App* command = nullptr;
  for (const CLI::App* app : Subcommands(program)) {
    if (app->get_name() == arguments.front()) command = app;
  }
  if (command == nullptr || GivenByUser(arguments, "help") || Contains(arguments, "-h")) {
    return expanded;
  }
  std::vector<std::string> inserted;
  std::set<std::string> settled = {"preset", "config"};
  for (const Layer& layer : CollectLayers(program, *command, arguments)) {
    std::map<std::string, const TomlOption*> chosen;  // the command's table before the top level
    for (const TomlOption& option : layer.options) {
      const bool own_table = option.table == command->get_name();
      if (own_table || (option.table.empty() && !chosen.contains(option.key))) {
        chosen[option.key] = &option;
      }
    }
    for (const auto& [key, toml] : chosen) {
      const CLI::Option* option = FindOption(*command, key);
      if (option == nullptr || GivenByUser(arguments, key) || !settled.insert(key).second) continue;
      if (!RepeatsDefault(*option, *toml)) AppendArguments(*option, *toml, inserted);
      expanded.origins["--" + key] = layer.source.starts_with("preset")
                                         ? layer.source
                                         : fmt::format("{}:{}", layer.source, toml->line);
    }
  }
  expanded.arguments.insert(expanded.arguments.begin() + 1, inserted.begin(), inserted.end());
  return expanded;
}

std::string ResolvedToml(const CLI::App& app) {
  std::string text = fmt::format("[{}]\n", app.get_name());
  for (const TomlOption& option : ResolvedOptions(app)) {
    std::vector<std::string> values;
    for (const std::string& value : option.values) values.push_back(TomlValue(value));
    const CLI::Option& source = *FindOption(app, option.key);
    const std::string joined = fmt::format("{}", fmt::join(values, ", "));
    text += TakesSeveral(source) ? fmt::format("{} = [{}]\n", option.key, joined)
                                 : fmt::format("{} = {}\n", option.key, joined);
  }
  return text;
}

}  // namespace ftt
