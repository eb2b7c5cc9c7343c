// From PTX text to a program.
#pragma once

#include <string>
#include <string_view>

#include "tests/ptx/program.h"

namespace ftt::ptx {

// Of the entry with that name. Throws ftt::Error for what is not known of PTX; `text` may go after.
Program Load(std::string_view text, const std::string& entry);

}  // namespace ftt::ptx
