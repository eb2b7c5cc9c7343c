// Devices by the name that --backend takes.
#pragma once

#include <memory>
#include <string>

#include "engine/device.h"

namespace ftt {

// name: auto (a GPU where there is one, else cpu), cuda[:NUMBER], cpu, cpu-f32 or ref. threads: of
// the host, 0: one per core. Throws ftt::Error for anything else, or where there is no such device.
std::unique_ptr<Device> OpenDevice(const std::string& name, int threads);

// One line on whether this build and machine can run `cuda`.
std::string CudaStatus();

}  // namespace ftt
