// The files of configs/, compiled in.
#pragma once

#include <span>
#include <string_view>

namespace ftt {

struct Preset {
  std::string_view name, text;
};

std::span<const Preset> Presets();

}  // namespace ftt
