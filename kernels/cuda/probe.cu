#include "kernels/cuda/probe.h"

#include "kernels/cuda/probe.cuh"

namespace ftt::cuda {

void MatrixProbe(int blocks, int iterations, int32_t* out, DeviceStream stream) {
  LaunchKernel("MatrixProbe", &MatrixProbeKernel, {static_cast<unsigned>(blocks), 1, 1},
               kProbeThreads, 0, stream, iterations, out);
}

}  // namespace ftt::cuda
