// Programs that draw, run as child processes.
#pragma once

#include <string>
#include <vector>

namespace ftt {

struct ChildResult {
  bool started = false;  // false: no such program
  int status = 0;        // exit status, or 128 + signal
  std::string output, errors;
};

// Runs arguments[0], looked up in PATH, with these arguments - no shell - and waits for its end.
// `input` is its standard input. Throws ftt::Error where the system refuses for any other reason
// than that the program is not there.
ChildResult RunChild(const std::vector<std::string>& arguments, const std::string& input);

}  // namespace ftt
