// A GPU as a Device.
#pragma once

#include <memory>

#include "engine/device.h"

namespace ftt {

struct CudaOptions {
  // Networks that stay as they are run as graphs; false: kernel by kernel, with the same results.
  bool graphs = true;
};

// number: of the device, from 0. Throws ftt::Error where there is none or it is too old.
std::unique_ptr<Device> MakeCudaDevice(int number, const CudaOptions& options = {});

}  // namespace ftt
