#include "kernels/cuda/runtime.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdlib>
#include <utility>
#include <vector>

#include "core/error.h"

namespace ftt::cuda {
namespace {

RuntimeCounts counts;
int recordings = 0;              // under way
std::vector<DeviceStream> held;  // streams that wait for another one before their next launch

void Check(cudaError_t error, const char* what) {
  FTT_CHECK(error == cudaSuccess, "CUDA: {}: {}", what, cudaGetErrorString(error));
}

}  // namespace

int DeviceCount() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

DeviceInfo QueryDevice(int device) {
  cudaDeviceProp properties{};
  Check(cudaGetDeviceProperties(&properties, device), "device properties");
  return {properties.name, 10 * properties.major + properties.minor,
          static_cast<int64_t>(properties.totalGlobalMem)};
}

void SelectDevice(int device) { Check(cudaSetDevice(device), "select a device"); }

int64_t FreeMemory() {
  size_t free = 0, total = 0;
  Check(cudaMemGetInfo(&free, &total), "free memory");
  return static_cast<int64_t>(free);
}

const RuntimeCounts& Counts() { return counts; }

DeviceMemory::DeviceMemory(int64_t bytes) { Resize(bytes); }
DeviceMemory::~DeviceMemory() {
  if (data_ != nullptr) cudaFree(data_);
}
DeviceMemory::DeviceMemory(DeviceMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void DeviceMemory::Resize(int64_t bytes) {
  if (bytes <= size_) return;
  if (data_ != nullptr) Check(cudaFree(std::exchange(data_, nullptr)), "free device memory");
  size_ = 0;
  ++counts.allocations;
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, static_cast<size_t>(bytes));
  FTT_CHECK(error == cudaSuccess,
            "device memory: {} MiB wanted, {} MiB free ({}); lower the batch or the number of "
            "lanes",
            bytes >> 20, FreeMemory() >> 20, cudaGetErrorString(error));
  data_ = static_cast<uint8_t*>(memory);
  size_ = bytes;
}

PinnedMemory::PinnedMemory(int64_t bytes) : size_(bytes) {
  ++counts.allocations;
  void* memory = nullptr;
  Check(cudaMallocHost(&memory, static_cast<size_t>(bytes)), "page-locked memory");
  data_ = static_cast<uint8_t*>(memory);
}
PinnedMemory::~PinnedMemory() {
  if (data_ != nullptr) cudaFreeHost(data_);
}
PinnedMemory::PinnedMemory(PinnedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
PinnedMemory& PinnedMemory::operator=(PinnedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Stream::Stream(bool urgent) {
  int usual = 0, most_urgent = 0;
  Check(cudaDeviceGetStreamPriorityRange(&usual, &most_urgent), "query priorities");
  Check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, urgent ? most_urgent : usual),
        "create a stream");
}
Stream::~Stream() { cudaStreamDestroy(stream_); }
void Stream::Wait() const {
  ++counts.synchronisations;
  Check(cudaStreamSynchronize(stream_), "wait for the device");
}

Event::Event() { Check(cudaEventCreate(&event_), "create an event"); }
Event::~Event() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}
Event::Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
void Event::Record(DeviceStream stream) { Check(cudaEventRecord(event_, stream), "record"); }
bool Event::Done() const {
  const cudaError_t error = cudaEventQuery(event_);
  if (error == cudaErrorNotReady) return false;
  Check(error, "query an event");
  return true;
}
void Event::Wait() const {
  if (Done()) return;
  ++counts.synchronisations;
  Check(cudaEventSynchronize(event_), "wait for an event");
}

Milestone::Milestone() {
  Check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "create an event");
}
Milestone::~Milestone() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}
Milestone::Milestone(Milestone&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
void Milestone::Record(DeviceStream stream) { Check(cudaEventRecord(event_, stream), "record"); }
void Milestone::HoldBack(DeviceStream stream) const {
  Check(cudaStreamWaitEvent(stream, event_, 0), "let a stream wait");
  if (std::find(held.begin(), held.end(), stream) == held.end()) held.push_back(stream);
}

// Kernels of a recording are connected as the graph wants it, unless that is tried.
bool MayOverlap(DeviceStream stream) {
  const auto at = std::find(held.begin(), held.end(), stream);
  const bool waits = at != held.end();
  if (waits) held.erase(at);
  // To find out whether a wrong result comes from overlapping launches.
  static const bool plain = std::getenv("FTT_PLAIN_LAUNCHES") != nullptr;
  static const bool graphs = std::getenv("FTT_GRAPH_OVERLAP") != nullptr;
  return stream != nullptr && (recordings == 0 || graphs) && !waits && !plain;
}

Graph::Graph(DeviceStream stream, const std::function<void()>& enqueue) {
  Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin a capture");
  cudaGraph_t captured = nullptr;
  ++recordings;
  try {
    enqueue();
    --recordings;
  } catch (...) {
    --recordings;
    if (cudaStreamEndCapture(stream, &captured) == cudaSuccess) cudaGraphDestroy(captured);
    throw;
  }
  Check(cudaStreamEndCapture(stream, &captured), "end a capture");
  const cudaError_t error = cudaGraphInstantiateWithFlags(&graph_, captured, 0);
  cudaGraphDestroy(captured);
  Check(error, "make a graph");
}
Graph::~Graph() {
  if (graph_ != nullptr) cudaGraphExecDestroy(graph_);  // one under way ends first
}
Graph::Graph(Graph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
Graph& Graph::operator=(Graph&& other) noexcept {
  std::swap(graph_, other.graph_);
  return *this;
}
void Graph::Launch(DeviceStream stream) const {
  ++counts.graph_launches;
  Check(cudaGraphLaunch(graph_, stream), "start a graph");
}

void CopyToDevice(void* device, const void* host, int64_t bytes, DeviceStream stream) {
  if (bytes == 0) return;
  Check(cudaMemcpyAsync(device, host, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, stream),
        "copy to the device");
}
void CopyToHost(void* host, const void* device, int64_t bytes, DeviceStream stream) {
  if (bytes == 0) return;
  ++counts.copies_to_host;
  Check(cudaMemcpyAsync(host, device, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, stream),
        "copy to the host");
}
void CopyOnDevice(void* to, const void* from, int64_t bytes, DeviceStream stream) {
  if (bytes == 0) return;
  Check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, stream),
        "copy on the device");
}
void FillDevice(void* device, int byte, int64_t bytes, DeviceStream stream) {
  if (bytes == 0) return;
  Check(cudaMemsetAsync(device, byte, static_cast<size_t>(bytes), stream), "fill device memory");
}

}  // namespace ftt::cuda
