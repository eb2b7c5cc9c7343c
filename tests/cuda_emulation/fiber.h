// A stack of its own for each emulated thread, and the switch between two of them.
#pragma once

#include <cstddef>
#include <memory>

namespace ftt::emulation {

// Runs `body` on its own stack. Resume() runs it until it calls Yield() or ends; both are called by
// one operating-system thread.
class Fiber {
 public:
  using Body = void (*)(void* argument);

  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Prepares a run; an earlier one may have been abandoned half-way.
  void Start(Body body, void* argument);
  // From the scheduler. `body` must not let exceptions escape.
  void Resume();
  // From within the body: back to the scheduler.
  void Yield();
  bool Done() const { return done_; }

  // While the fiber does not run: Acquire or Release (races.h) in its name.
  void AcquireFor(const void* tag);
  void ReleaseFor(const void* tag);
  bool started = false;  // whether it knows what is ordered before the running kernel

 private:
  struct Machine;
  static void Enter();

  std::unique_ptr<Machine> machine_;
  Body body_ = nullptr;
  void* argument_ = nullptr;
  bool done_ = true;
};

}  // namespace ftt::emulation
