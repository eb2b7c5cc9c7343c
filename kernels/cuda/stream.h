// The stream that a launch goes to.
#pragma once

#ifndef FTT_CUDA_EMULATION
struct CUstream_st;
#endif

namespace ftt::cuda {

#ifdef FTT_CUDA_EMULATION
using DeviceStream = int;  // emulated launches run at once
#else
using DeviceStream = CUstream_st*;
#endif

}  // namespace ftt::cuda
