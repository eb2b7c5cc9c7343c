// The functions of the CUDA runtime that device code is started with, on a device that runs PTX on
// the CPU. A program linked with this in place of libcudart runs what nvcc made of its kernels, not
// what a C++ compiler made of their source. Work is done when it is enqueued, or when its graph is
// launched. What a kernel does wrong is thrown as ftt::Error at its launch.
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/multiprocessors.h"
#include "tests/ptx/device.h"
#include "tests/ptx/warp.h"

using Work = std::function<void()>;

struct CUstream_st {};
struct CUevent_st {
  std::chrono::steady_clock::time_point time;
  bool captured = false;
};
struct CUgraph_st {
  std::vector<Work> work;
};
struct CUgraphExec_st {
  std::vector<Work> work;
};

namespace {

constexpr size_t kUsualSharedBytes = 48 << 10;
constexpr size_t kMostSharedBytes = 227 << 10;

// FTT_EMULATED_MIB: memory of the device.
size_t MemoryBytes() {
  static const size_t bytes = [] {
    const char* text = std::getenv("FTT_EMULATED_MIB");
    const size_t mib = text == nullptr ? 0 : std::strtoul(text, nullptr, 10);
    return (mib > 0 ? mib : size_t{16} << 10) << 20;
  }();
  return bytes;
}

ftt::ptx::Device& TheDevice() {
  static ftt::ptx::Device device(FTT_PTX_FILES);
  return device;
}

// FTT_PTX_MULTIPROCESSORS: what launches are planned for. A batch of 4 for 4 multiprocessors is
// shared out as one of 132 is on an H100, which is what makes a profile of it worth reading.
[[maybe_unused]] const bool planned = [] {
  const char* text = std::getenv("FTT_PTX_MULTIPROCESSORS");
  const int n = text == nullptr ? 0 : std::atoi(text);
  if (n > 0) ftt::cuda::PlanForMultiprocessors(n);
  return n > 0;
}();

struct Function {
  std::string name;
  size_t shared_limit = kUsualSharedBytes;
};
// By the address of the function that stands for it on the host.
std::map<const void*, Function>& Functions() {
  static std::map<const void*, Function> functions;
  return functions;
}

// The capture under way, and the streams that belong to it.
struct Capture {
  std::unique_ptr<CUgraph_st> graph;
  std::set<cudaStream_t> streams;
};
Capture& TheCapture() {
  static Capture capture;
  return capture;
}
bool Captures(cudaStream_t stream) { return TheCapture().streams.count(stream) != 0; }

cudaError_t Enqueue(cudaStream_t stream, Work work) {
  if (Captures(stream)) {
    TheCapture().graph->work.push_back(std::move(work));
  } else {
    work();
  }
  return cudaSuccess;
}

size_t allocated_bytes = 0;
std::map<void*, size_t>& Sizes() {
  static std::map<void*, size_t> sizes;
  return sizes;
}
cudaError_t Allocate(void** at, size_t bytes, bool of_device) {
  if (bytes > MemoryBytes() - allocated_bytes) return cudaErrorMemoryAllocation;
  *at = ftt::ptx::DeviceAllocations().Allocate(bytes, of_device);
  if (*at == nullptr) return cudaErrorMemoryAllocation;
  allocated_bytes += bytes;
  Sizes()[*at] = bytes;
  return cudaSuccess;
}
void Copy(void* to, const void* from, size_t bytes) {
  std::memmove(to, from, bytes);
  ftt::ptx::DeviceAllocations().Write(to, bytes, from);
}
cudaError_t Free(void* at) {
  if (at == nullptr) return cudaSuccess;
  if (!ftt::ptx::DeviceAllocations().Free(at)) return cudaErrorInvalidValue;
  allocated_bytes -= Sizes()[at];
  Sizes().erase(at);
  return cudaSuccess;
}

}  // namespace

extern "C" {

// -- what nvcc's code calls before main

void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, uint3*, uint3*,
                            dim3*, dim3*, int*) {
  Functions()[host] = {name};
}
// Of a launch in triple brackets, which no kernel here is started with.
cudaError_t __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void*) {
  return cudaErrorNotSupported;
}
cudaError_t __cudaGetKernel(cudaKernel_t*, const void*) { return cudaErrorNotSupported; }
cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3, dim3, void**, size_t, cudaStream_t) {
  return cudaErrorNotSupported;
}

// -- devices

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return cudaErrorInvalidDevice;
  *properties = {};
  std::strcpy(properties->name, "PTX on the CPU (no GPU)");
  properties->major = 9;
  properties->totalGlobalMem = MemoryBytes();
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  if (attribute == cudaDevAttrL2CacheSize) {
    *value = 1 << 20;
  } else if (attribute == cudaDevAttrMultiProcessorCount) {
    *value = 1;
  } else {
    return cudaErrorNotSupported;
  }
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorInvalidDeviceFunction:
      return "invalid device function";
    case cudaErrorNotSupported:
      return "operation not supported by PTX on the CPU";
    default:
      return "an error of the CUDA runtime";
  }
}

// -- memory

cudaError_t cudaMalloc(void** at, size_t bytes) { return Allocate(at, bytes, true); }
cudaError_t cudaFree(void* at) { return Free(at); }
cudaError_t cudaMallocHost(void** at, size_t bytes) { return Allocate(at, bytes, false); }
cudaError_t cudaFreeHost(void* at) { return Free(at); }
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = MemoryBytes() - allocated_bytes;
  *total = MemoryBytes();
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  Copy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  return Enqueue(stream, [=] { Copy(to, from, bytes); });
}
cudaError_t cudaMemsetAsync(void* at, int byte, size_t bytes, cudaStream_t stream) {
  return Enqueue(stream, [=] {
    std::memset(at, byte, bytes);
    ftt::ptx::DeviceAllocations().Write(at, bytes);
  });
}

// -- streams, events, graphs

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = *greatest = 0;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return Captures(stream) ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event->captured) TheCapture().streams.insert(stream);
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->captured = Captures(stream);
  event->time = std::chrono::steady_clock::now();
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  Capture& capture = TheCapture();
  if (capture.graph != nullptr || stream == nullptr) return cudaErrorStreamCaptureUnsupported;
  capture.graph = std::make_unique<CUgraph_st>();
  capture.streams = {stream};
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  Capture& capture = TheCapture();
  if (!Captures(stream)) return cudaErrorIllegalState;
  capture.streams.clear();
  *graph = capture.graph.release();
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph,
                                          unsigned long long) {
  *executable = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  for (const Work& work : executable->work) work();
  return cudaSuccess;
}

// -- kernels

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  const auto found = Functions().find(function);
  if (found == Functions().end()) return cudaErrorInvalidDeviceFunction;
  *attributes = {};
  attributes->maxDynamicSharedSizeBytes = static_cast<int>(found->second.shared_limit);
  attributes->ptxVersion = 90;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  const auto found = Functions().find(function);
  if (found == Functions().end()) return cudaErrorInvalidDeviceFunction;
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaErrorNotSupported;
  if (static_cast<size_t>(value) > kMostSharedBytes) return cudaErrorInvalidValue;
  found->second.shared_limit = static_cast<size_t>(value);
  return cudaSuccess;
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function,
                                void** arguments) {
  const auto found = Functions().find(function);
  if (found == Functions().end()) return cudaErrorInvalidDeviceFunction;
  if (config->dynamicSmemBytes > found->second.shared_limit) return cudaErrorInvalidValue;
  const dim3 grid = config->gridDim, block = config->blockDim;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535 ||
      block.x == 0 || block.x > 1024 || block.y != 1 || block.z != 1)
    return cudaErrorInvalidConfiguration;
  ftt::ptx::Kernel& kernel = TheDevice().Find(found->second.name);
  std::vector<uint8_t> parameters(kernel.program.parameter_bytes);
  size_t i = 0;
  for (const ftt::ptx::Parameter& parameter : kernel.program.parameters)
    std::memcpy(parameters.data() + parameter.offset, arguments[i++], parameter.bytes);
  const ftt::ptx::LaunchSize size{{grid.x, grid.y, grid.z}, block.x, config->dynamicSmemBytes};
  return Enqueue(config->stream,
                 [&kernel, size, parameters] { TheDevice().Launch(&kernel, size, parameters); });
}

}  // extern "C"
