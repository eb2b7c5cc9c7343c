// Move-only host memory aligned to cache lines, uninitialised.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace ftt {

class AlignedBytes {
 public:
  // Contents are lost when the size grows; shrinking keeps the memory.
  void Resize(int64_t bytes) {
    if (bytes <= size_) return;
    data_.reset();
    size_ = (bytes + 63) / 64 * 64;
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(64, static_cast<size_t>(size_))));
    if (data_ == nullptr) {
      size_ = 0;
      throw std::bad_alloc();
    }
  }
  std::byte* Data() const { return data_.get(); }
  template <typename T>
  T* As() const {
    return reinterpret_cast<T*>(data_.get());
  }
  int64_t Size() const { return size_; }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte, Free> data_;
  int64_t size_ = 0;
};

}  // namespace ftt
