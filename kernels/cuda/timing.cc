#include "kernels/cuda/timing.h"

#include <cuda_runtime.h>

#include "core/error.h"

namespace ftt::cuda {
namespace {

void Check(cudaError_t error, const char* what) {
  FTT_CHECK(error == cudaSuccess, "CUDA: {}: {}", what, cudaGetErrorString(error));
}

}  // namespace

DeviceParts QueryParts() {
  int device = 0, cache = 0, multiprocessors = 0;
  Check(cudaGetDevice(&device), "selected device");
  Check(cudaDeviceGetAttribute(&cache, cudaDevAttrL2CacheSize, device), "size of the cache");
  Check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
        "number of multiprocessors");
  return {cache, multiprocessors};
}

struct Stopwatch::Events {
  cudaEvent_t start = nullptr, stop = nullptr;
};

Stopwatch::Stopwatch() : events_(std::make_unique<Events>()) {
  Check(cudaEventCreate(&events_->start), "create an event");
  Check(cudaEventCreate(&events_->stop), "create an event");
}
Stopwatch::~Stopwatch() {
  cudaEventDestroy(events_->start);
  cudaEventDestroy(events_->stop);
}
void Stopwatch::Start(DeviceStream stream) {
  Check(cudaEventRecord(events_->start, stream), "record");
}
void Stopwatch::Stop(DeviceStream stream) {
  Check(cudaEventRecord(events_->stop, stream), "record");
}
double Stopwatch::Seconds() {
  float milliseconds = 0;
  Check(cudaEventSynchronize(events_->stop), "wait for an event");
  Check(cudaEventElapsedTime(&milliseconds, events_->start, events_->stop), "time between events");
  return 1e-3 * static_cast<double>(milliseconds);
}

}  // namespace ftt::cuda
