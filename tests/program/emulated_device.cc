// Settings of ftt-cuda-emulated that come from the environment.
#include <cstdlib>

#include "tests/cuda_emulation/runtime.h"

namespace ftt::emulation {
namespace {

// FTT_EMULATED_MIB: memory of the device. Set before main(), as a real device's.
[[maybe_unused]] const bool memory_is_set = [] {
  const char* text = std::getenv("FTT_EMULATED_MIB");
  const long mib = text != nullptr ? std::strtol(text, nullptr, 10) : 0;
  if (mib > 0) SetDeviceMemory(int64_t{mib} << 20);
  return mib > 0;
}();

}  // namespace
}  // namespace ftt::emulation
