#include "kernels/cuda/weights.h"

#include "core/error.h"
#include "kernels/cuda/weights.cuh"

namespace ftt::cuda {

void QuantizeWeights(const WeightArguments& a, DeviceStream stream) {
  FTT_CHECK(a.count > 0 && a.chunk_count > 0 && a.copies > 0, "weights: no tensors");
  LaunchKernel("WeightLargest", &WeightLargestKernel, {static_cast<unsigned>(a.chunk_count), 1, 1},
               kWeightThreads, 0, stream, a);
  LaunchKernel("QuantizeWeights", &QuantizeWeightsKernel,
               {static_cast<unsigned>(a.chunk_count), static_cast<unsigned>(a.copies), 1},
               kWeightThreads, static_cast<size_t>(WeightSharedBytes(a.collects)), stream, a);
}

}  // namespace ftt::cuda
