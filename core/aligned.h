// Move-only host memory aligned to cache lines, uninitialised.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace ftt {

// Large blocks lie on huge pages where the system grants them: passes over whole feature maps would
// otherwise miss the TLB on every page.
class AlignedBytes {
 public:
  // Contents are lost when the size grows; shrinking keeps the memory.
  void Resize(int64_t bytes) {
    if (bytes <= size_) return;
    data_.reset();
    const int64_t alignment = bytes < kHugePage ? kCacheLine : kHugePage;
    size_ = (bytes + alignment - 1) / alignment * alignment;
    data_.reset(static_cast<std::byte*>(
        std::aligned_alloc(static_cast<size_t>(alignment), static_cast<size_t>(size_))));
    if (data_ == nullptr) {
      size_ = 0;
      throw std::bad_alloc();
    }
#ifdef MADV_HUGEPAGE
    if (alignment == kHugePage) {
      ::madvise(data_.get(), static_cast<size_t>(size_), MADV_HUGEPAGE);  // a hint; may fail
    }
#endif
  }
  std::byte* Data() const { return data_.get(); }
  template <typename T>
  T* As() const {
    return reinterpret_cast<T*>(data_.get());
  }
  int64_t Size() const { return size_; }

 private:
  static constexpr int64_t kCacheLine = 64, kHugePage = int64_t{2} << 20;

  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte, Free> data_;
  int64_t size_ = 0;
};

}  // namespace ftt
