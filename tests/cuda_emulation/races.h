// What ThreadSanitizer is told of the emulated device, in builds with it (preset tsan), so that it
// finds accesses to one place that nothing orders: in shared and device memory, between threads,
// blocks, kernels, streams and the host. To it every emulated thread and every stream is a thread
// of its own; they are ordered by barriers, SyncWarp, StartKernel, milestones and waits alone -
// not by the order in which the emulation happens to run them. In other builds all of this is
// empty.
#pragma once

#include <cstddef>

#ifdef FTT_EMULATION_TSAN
#include <sanitizer/tsan_interface.h>

extern "C" {
void __tsan_read_range(void* address, unsigned long size);
void __tsan_write_range(void* address, unsigned long size);
void __tsan_ignore_thread_begin();
void __tsan_ignore_thread_end();
}
// For functions that do one thread's work in another one's place.
#define FTT_UNTRACED __attribute__((no_sanitize("thread")))
#else
#define FTT_UNTRACED
#endif

namespace ftt::emulation {

#ifdef FTT_EMULATION_TSAN

inline constexpr bool kFindsRaces = true;

// What the caller did before is ordered before what others do after they acquired the same tag.
inline void Release(const void* tag) { __tsan_release(const_cast<void*>(tag)); }
inline void Acquire(const void* tag) { __tsan_acquire(const_cast<void*>(tag)); }
// Accesses that happen in another place than they belong to.
inline void Reads(const void* from, size_t bytes) {
  __tsan_read_range(const_cast<void*>(from), bytes);
}
inline void Writes(void* to, size_t bytes) { __tsan_write_range(to, bytes); }

// Accesses of the emulation itself, which no device makes.
class Unseen {
 public:
  Unseen() { __tsan_ignore_thread_begin(); }
  ~Unseen() { __tsan_ignore_thread_end(); }
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;
};

// Never freed.
inline const char* NewTag() { return new char; }

#else

inline constexpr bool kFindsRaces = false;
inline const char* NewTag() { return nullptr; }

inline void Release(const void*) {}
inline void Acquire(const void*) {}
inline void Reads(const void*, size_t) {}
inline void Writes(void*, size_t) {}
struct Unseen {
  Unseen() {}  // not trivial, so that nobody warns of an unused variable
};

#endif

}  // namespace ftt::emulation
