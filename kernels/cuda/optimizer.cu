#include "kernels/cuda/optimizer.h"

#include "core/error.h"
#include "kernels/cuda/optimizer.cuh"

namespace ftt::cuda {

void SgdStep(const SgdArguments& a, DeviceStream stream) {
  FTT_CHECK(a.count > 0 && a.partials != nullptr && a.norm != nullptr,
            "optimizer: no parameters, or no scratch");
  const GridSize grid{static_cast<unsigned>(a.count), 1, 1};
  LaunchKernel("Squares", &SquaresKernel, grid, kSgdThreads, 0, stream, a);
  LaunchKernel("Sgd", &SgdKernel, grid, kSgdThreads, 0, stream, a);
}

}  // namespace ftt::cuda
