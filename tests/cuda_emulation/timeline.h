// What runs one after another on the emulated device: the work of a stream. Only builds that find
// races (races.h) make a difference between a timeline and its caller: there the work runs on a
// stack and in a context of its own, behind what the host did before it asked for it.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "tests/cuda_emulation/fiber.h"
#include "tests/cuda_emulation/races.h"

namespace ftt::emulation {

class Timeline {
 public:
  // Timelines are given back, not destroyed: what they did stays ordered before what comes next.
  static Timeline* Take();
  static void GiveBack(Timeline* timeline);
  static Timeline& Default();  // of the default stream
  // That on which the caller runs; null: the host.
  static Timeline* Current();

  // Both throw what `work` throws.
  void Run(std::function<void()> work);
  void RunShared(const std::function<void()>& work);  // `work` is not copied
  // The host waits for all that ran on it so far.
  void Wait() const { Acquire(&tag_); }
  static void WaitForAll();

  // Of what ran here (races.h): kernels wait for it in StartKernel.
  const void* Tag() const { return &tag_; }

  // For a launch of blocks of n threads: their contexts, others than those of the launch before,
  // because the new kernel may begin before it knows what that one does. It knows what came before
  // that one.
  std::vector<std::unique_ptr<Fiber>>& StartThreads(size_t n);
  void EndThreads(size_t n);

 private:
  static void Body(void* self);

  Fiber fiber_;
  const std::function<void()>* work_ = nullptr;
  bool owned_ = false;
  std::exception_ptr error_;
  size_t set_ = 0;
  std::vector<std::unique_ptr<Fiber>> threads_[2];
  char tag_ = 0, before_[2] = {};
};

// Work of a stream: at once where nobody looks for races.
template <typename F>
void RunOn(Timeline& timeline, F work) {
  if constexpr (kFindsRaces) {
    timeline.Run(std::move(work));
  } else {
    work();
  }
}

}  // namespace ftt::emulation
