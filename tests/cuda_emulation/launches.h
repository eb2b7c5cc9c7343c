// How often kernels were started.
#pragma once

#include <cstdint>
#include <string>

namespace ftt::emulation {

// Of the kernel that LaunchKernel was given this name for, since the process began.
int64_t LaunchesOf(const std::string& kernel);

}  // namespace ftt::emulation
