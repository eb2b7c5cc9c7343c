#include "core/toml_options.h"

#define TOML_HEADER_ONLY 1
#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "core/error.h"
#include "core/file.h"

namespace ftt {
namespace {

constexpr int64_t kMaxBytes = 1 << 20;

int LineOf(const toml::node& node) { return static_cast<int>(node.source().begin.line); }

std::string Dashed(std::string_view key) {
  std::string text(key);
  std::replace(text.begin(), text.end(), '_', '-');
  return text;
}

// Text of one scalar, or of nothing where the type is none that an option can take.
bool ScalarText(const toml::node& node, std::string& text) {
  if (const auto* string = node.as_string()) {
    text = string->get();
  } else if (const auto* integer = node.as_integer()) {
    text = std::to_string(integer->get());
  } else if (const auto* number = node.as_floating_point()) {
    text = fmt::format("{}", number->get());
  } else if (const auto* boolean = node.as_boolean()) {
    text = boolean->get() ? "true" : "false";
  } else {
    return false;
  }
  return true;
}

TomlOption MakeOption(const std::string& table, std::string_view key, const toml::node& node,
                      const std::string& path) {
  TomlOption option{table, Dashed(key), {}, LineOf(node)};
  std::string text;
  if (const auto* array = node.as_array()) {
    for (const toml::node& element : *array) {
      FTT_CHECK(ScalarText(element, text) && element.type() == array->front().type(),
                "{}:{}: the array '{}' may hold numbers, or text, or booleans only", path,
                LineOf(element), key);
      option.values.push_back(text);
    }
  } else {
    FTT_CHECK(ScalarText(node, text), "{}:{}: '{}' must be text, a number, a boolean or an array",
              path, option.line, key);
    option.values.push_back(text);
  }
  return option;
}

void AddTable(const std::string& name, const toml::table& table, const std::string& path,
              std::vector<TomlOption>& options) {
  for (const auto& [key, node] : table) {
    const std::string_view text = key.str();
    if (const auto* inner = node.as_table()) {
      FTT_CHECK(name.empty(), "{}:{}: table '{}.{}' is nested; only [command] tables are known",
                path, LineOf(node), name, text);
      AddTable(std::string(text), *inner, path, options);
    } else {
      options.push_back(MakeOption(name, text, node, path));
    }
  }
}

// Takes a run of decimal digits off the front of `text`; returns how many there were.
size_t TakeDigits(std::string_view& text) {
  size_t count = 0;
  while (count < text.size() && text[count] >= '0' && text[count] <= '9') ++count;
  text.remove_prefix(count);
  return count;
}

// Whether TOML reads `text` as a number: -?digits[.digits][e[+-]digits], no leading zero, whole
// numbers within 64 bits.
bool IsTomlNumber(const std::string_view text) {
  std::string_view rest = text;
  if (rest.starts_with('-')) rest.remove_prefix(1);
  const bool zero_first = rest.starts_with('0');
  const size_t whole_digits = TakeDigits(rest);
  if (whole_digits == 0 || (zero_first && whole_digits > 1)) return false;
  if (rest.empty()) {
    int64_t value = 0;
    return std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc();
  }
  if (rest.starts_with('.')) {
    rest.remove_prefix(1);
    if (TakeDigits(rest) == 0) return false;
  }
  if (rest.starts_with('e') || rest.starts_with('E')) {
    rest.remove_prefix(1);
    if (rest.starts_with('+') || rest.starts_with('-')) rest.remove_prefix(1);
    if (TakeDigits(rest) == 0) return false;
  }
  return rest.empty();
}

void CheckUnique(const std::vector<TomlOption>& options, const std::string& path) {
  for (size_t i = 1; i < options.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      FTT_CHECK(options[i].table != options[j].table || options[i].key != options[j].key,
                "{}:{}: key '{}' was given before in line {}", path, options[i].line,
                options[i].key, options[j].line);
    }
  }
}

}  // namespace

std::vector<TomlOption> ParseTomlOptions(std::string_view text, const std::string& path) {
  toml::table table;
  try {
    table = toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    Fail("{}:{}: {}", path, error.source().begin.line, error.description());
  }
  std::vector<TomlOption> options;
  AddTable("", table, path, options);
  // The library sorts by key; people read their files from top to bottom.
  std::stable_sort(options.begin(), options.end(),
                   [](const TomlOption& a, const TomlOption& b) { return a.line < b.line; });
  CheckUnique(options, path);
  return options;
}

std::vector<TomlOption> ReadTomlOptions(const std::string& path) {
  return ParseTomlOptions(ReadFile(path, kMaxBytes), path);
}

std::string TomlValue(std::string_view text) {
  if (text == "true" || text == "false" || IsTomlNumber(text)) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      quoted += fmt::format("\\u{:04X}", byte);
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

}  // namespace ftt
