#include "kernels/cuda/pack.h"

#include "kernels/cuda/pack.cuh"

namespace ftt::cuda {

void PackWeights(const PackArguments& a, DeviceStream stream) {
  if (a.chunk_count == 0) return;
  LaunchKernel("PackWeights", &PackWeightsKernel,
               {static_cast<unsigned>(a.chunk_count), static_cast<unsigned>(a.copies), 1},
               kPackThreads, 0, stream, a);
}

void PackTensor(const PackJob& job, DeviceStream stream) {
  const int chunks = DivideUp(PackItems(job.layout, job.geometry), kPackChunk);
  LaunchKernel("PackTensor", &PackTensorKernel,
               {static_cast<unsigned>(chunks), static_cast<unsigned>(job.copies), 1}, kPackThreads,
               0, stream, job);
}

}  // namespace ftt::cuda
