// Grow-only scratch memory of one worker thread.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace ftt::cpu {

class ConvScratch {
 public:
  // Returns 64-byte-aligned memory for `bytes` bytes with undefined contents, valid until the next
  // call.
  void* Get(size_t bytes) {
    if (bytes > size_) {
      const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
      data_.reset();
      size_ = 0;
      data_.reset(std::aligned_alloc(kAlignment, rounded));
      if (data_ == nullptr) throw std::bad_alloc();
      size_ = rounded;
    }
    return data_.get();
  }

  static constexpr size_t kAlignment = 64;

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> data_;
  size_t size_ = 0;
};

}  // namespace ftt::cpu
