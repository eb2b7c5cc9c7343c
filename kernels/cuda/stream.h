// The stream that a launch goes to.
#pragma once

struct CUstream_st;

namespace ftt::cuda {

// Null: the default stream. Emulated launches run at once.
using DeviceStream = CUstream_st*;

}  // namespace ftt::cuda
