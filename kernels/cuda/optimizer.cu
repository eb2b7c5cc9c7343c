#include "kernels/cuda/optimizer.h"

#include "core/error.h"
#include "kernels/cuda/optimizer.cuh"

namespace ftt::cuda {
namespace {

template <typename Arguments>
void Step(const char* name, void (*kernel)(Arguments), const Arguments& a, DeviceStream stream) {
  const UpdateArguments& update = a.update;
  FTT_CHECK(update.count > 0 && update.partials != nullptr && update.norm != nullptr,
            "optimizer: no parameters, or no scratch");
  const GridSize grid{static_cast<unsigned>(update.count), 1, 1};
  LaunchKernel("Squares", &SquaresKernel, grid, kUpdateThreads, 0, stream, update);
  LaunchKernel(name, kernel, grid, kUpdateThreads, 0, stream, a);
}

}  // namespace

void SgdStep(const SgdArguments& a, DeviceStream stream) { Step("Sgd", &SgdKernel, a, stream); }
void AdamStep(const AdamArguments& a, DeviceStream stream) { Step("Adam", &AdamKernel, a, stream); }

}  // namespace ftt::cuda
