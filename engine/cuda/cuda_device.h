// A GPU as a Device.
#pragma once

#include <memory>

#include "engine/device.h"

namespace ftt {

// number: of the device, from 0. Throws ftt::Error where there is none or it is too old.
std::unique_ptr<Device> MakeCudaDevice(int number);

}  // namespace ftt
