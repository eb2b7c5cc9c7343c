// Device memory of a test: guarded host memory under the emulation, the real thing on a GPU.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "core/error.h"

#ifdef FTT_CUDA_EMULATION
#include "tests/cuda_emulation/timeline.h"
#else
#include <cuda_runtime.h>
#endif

#if defined(FTT_CUDA_EMULATION) && defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes)
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes)
#endif

namespace ftt::cuda::test {

#ifdef FTT_CUDA_EMULATION
inline void* DeviceAllocate(size_t bytes) { return ::operator new (bytes, std::align_val_t{256}); }
inline void DeviceFree(void* p) { ::operator delete (p, std::align_val_t{256}); }
inline void DeviceCopy(void* to, const void* from, size_t bytes) {
  emulation::Timeline::WaitForAll();
  std::memcpy(to, from, bytes);
}
#else
inline void CheckCuda(cudaError_t error) {
  FTT_CHECK(error == cudaSuccess, "CUDA: {}", cudaGetErrorString(error));
}
inline void* DeviceAllocate(size_t bytes) {
  void* p = nullptr;
  CheckCuda(cudaMalloc(&p, bytes));
  return p;
}
inline void DeviceFree(void* p) { cudaFree(p); }
inline void DeviceCopy(void* to, const void* from, size_t bytes) {
  CheckCuda(cudaDeviceSynchronize());
  CheckCuda(cudaMemcpy(to, from, bytes, cudaMemcpyDefault));
}
#endif

// n values of T, 256-byte aligned, between two guard zones that no kernel may write, nor read,
// which AddressSanitizer sees. What a test does not set holds a sentinel.
template <typename T>
class DeviceBuffer {
 public:
  explicit DeviceBuffer(size_t n) : n_(n), bytes_(n * sizeof(T)) {
    memory_ = static_cast<uint8_t*>(DeviceAllocate(2 * kGuard + Rounded()));
    const std::vector<uint8_t> fill(2 * kGuard + Rounded(), kSentinel);
    DeviceCopy(memory_, fill.data(), fill.size());
    ASAN_POISON_MEMORY_REGION(memory_, kGuard);
    ASAN_POISON_MEMORY_REGION(memory_ + kGuard + bytes_, kGuard + Rounded() - bytes_);
  }
  explicit DeviceBuffer(const std::vector<T>& values) : DeviceBuffer(values.size()) { Set(values); }
  ~DeviceBuffer() {
    if (memory_ == nullptr) return;
    ASAN_UNPOISON_MEMORY_REGION(memory_, 2 * kGuard + Rounded());
    CheckGuards();
    DeviceFree(memory_);
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : memory_(other.memory_), n_(other.n_), bytes_(other.bytes_) {
    other.memory_ = nullptr;
  }
  DeviceBuffer& operator=(DeviceBuffer&&) = delete;

  void Set(const std::vector<T>& values) {
    ASSERT_EQ(values.size(), n_);
    if (n_ != 0) DeviceCopy(Data(), values.data(), bytes_);
  }
  std::vector<T> Get() const {
    std::vector<T> values(n_);
    if (n_ != 0) DeviceCopy(values.data(), Data(), bytes_);
    return values;
  }
  T* Data() const { return reinterpret_cast<T*>(memory_ + kGuard); }
  size_t Size() const { return n_; }

 private:
  static constexpr size_t kGuard = 1024;
  static constexpr uint8_t kSentinel = 0x5B;

  size_t Rounded() const { return (bytes_ + 255) / 256 * 256; }
  void CheckGuards() const {
    std::vector<uint8_t> all(2 * kGuard + Rounded());
    DeviceCopy(all.data(), memory_, all.size());
    for (size_t i = 0; i < all.size(); ++i) {
      if (i >= kGuard && i < kGuard + bytes_) continue;
      if (all[i] == kSentinel) continue;
      ADD_FAILURE() << "written outside a buffer of " << bytes_ << " bytes, at byte "
                    << static_cast<int64_t>(i) - static_cast<int64_t>(kGuard);
      return;
    }
  }

  uint8_t* memory_ = nullptr;
  size_t n_ = 0, bytes_ = 0;
};

}  // namespace ftt::cuda::test
