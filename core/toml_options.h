// TOML files as lists of command-line options.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ftt {

struct TomlOption {
  std::string table;                // "" for the top level, otherwise the table's name ("search")
  std::string key;                  // with dashes: "fault_rate" and "fault-rate" are the same
  std::vector<std::string> values;  // one text, or the elements of an array in order
  int line = 0;                     // where it stands, from 1
};

// Reads options from TOML text, in the order of the file. Values are text, integers, floating-point
// numbers (shortest text that reads back the same), booleans ("true", "false") and flat arrays of
// these. `path` is for messages. Throws with path and line on a syntax error, a key given twice
// (also once with dashes and once with underscores), nested tables, dates, and mixed or nested
// arrays.
std::vector<TomlOption> ParseTomlOptions(std::string_view text, const std::string& path);

// The same from a file.
std::vector<TomlOption> ReadTomlOptions(const std::string& path);

// `text` as a TOML value: a quoted string unless it reads as a plain number or boolean.
std::string TomlValue(std::string_view text);

}  // namespace ftt
