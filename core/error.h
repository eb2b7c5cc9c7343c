// The one exception type of the project, and the check macro for input.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace ftt {

// Thrown for anything a user can cause or fix. The message says what was wrong, where, and what to
// do about it; the program prints it on one line and exits with code 2.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

[[noreturn]] void ThrowError(std::string message);

// Throws ftt::Error with a formatted message.
template <typename... Args>
[[noreturn]] void Fail(fmt::format_string<Args...> format, Args&&... args) {
  ThrowError(fmt::vformat(format, fmt::make_format_args(args...)));
}

}  // namespace ftt

// Checks input; `assert` is for what cannot happen.
#define FTT_CHECK(condition, ...)               \
  do {                                          \
    if (!(condition)) ::ftt::Fail(__VA_ARGS__); \
  } while (false)
