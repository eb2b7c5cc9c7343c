#include "tests/cuda_emulation/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

#include "core/error.h"
#include "tests/cuda_emulation/races.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define FTT_EMULATION_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FTT_EMULATION_ASAN 1
#endif
#endif

#ifdef FTT_EMULATION_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// Saves the registers that a call preserves, swaps stacks, restores. glibc's swapcontext would ask
// the kernel for the signal mask at each switch, a hundred times as slow.
extern "C" void FttSwitchStack(void** save, void* load);
asm(R"(
.text
.globl FttSwitchStack
.type FttSwitchStack, @function
FttSwitchStack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size FttSwitchStack, .-FttSwitchStack
)");
#endif

namespace ftt::emulation {
namespace {

constexpr size_t kStackBytes = size_t{256} << 10;

Fiber* starting = nullptr;

#ifdef FTT_EMULATION_TSAN
// A new context knows what its creator knows: that is one which knows nothing.
void* NewContext() {
  static void* blank = __tsan_create_fiber(0);
  void* own = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(blank, __tsan_switch_to_fiber_no_sync);
  void* context = __tsan_create_fiber(0);
  __tsan_switch_to_fiber(own, __tsan_switch_to_fiber_no_sync);
  return context;
}
#endif

}  // namespace

struct Fiber::Machine {
  uint8_t* stack = nullptr;
  size_t page = 0;
#if defined(__x86_64__)
  void* fiber_sp = nullptr;
  void* scheduler_sp = nullptr;
#else
  ucontext_t fiber, scheduler;
#endif
#ifdef FTT_EMULATION_TSAN
  // Contexts of ThreadSanitizer. Switching between them orders nothing.
  void* context = NewContext();
  void* scheduler_context = nullptr;
#endif
  // AddressSanitizer keeps a shadow of the stack it believes to be on.
  void* fiber_fake = nullptr;
  const void* scheduler_bottom = nullptr;
  size_t scheduler_size = 0;

  void LeaveScheduler(void** fake) {
#ifdef FTT_EMULATION_ASAN
    __sanitizer_start_switch_fiber(fake, stack + page, kStackBytes);
#else
    (void)fake;
#endif
  }
  void ArriveInScheduler(void* fake) {
#ifdef FTT_EMULATION_ASAN
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
    (void)fake;
#endif
  }
  void LeaveFiber(bool last) {
#ifdef FTT_EMULATION_ASAN
    __sanitizer_start_switch_fiber(last ? nullptr : &fiber_fake, scheduler_bottom, scheduler_size);
#else
    (void)last;
#endif
  }
  void ArriveInFiber() {
#ifdef FTT_EMULATION_ASAN
    __sanitizer_finish_switch_fiber(fiber_fake, &scheduler_bottom, &scheduler_size);
#endif
  }
  void ToFiber() {
#ifdef FTT_EMULATION_TSAN
    scheduler_context = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(context, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__x86_64__)
    FttSwitchStack(&scheduler_sp, fiber_sp);
#else
    swapcontext(&scheduler, &fiber);
#endif
  }
  void ToScheduler() {
#ifdef FTT_EMULATION_TSAN
    __tsan_switch_to_fiber(scheduler_context, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__x86_64__)
    FttSwitchStack(&fiber_sp, scheduler_sp);
#else
    swapcontext(&fiber, &scheduler);
#endif
  }
};

Fiber::Fiber() : machine_(std::make_unique<Machine>()) {
  machine_->page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* memory = mmap(nullptr, kStackBytes + machine_->page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  FTT_CHECK(memory != MAP_FAILED, "emulation: no memory for the stack of a thread");
  machine_->stack = static_cast<uint8_t*>(memory);
  // The lowest page faults when a thread's stack overflows.
  FTT_CHECK(mprotect(memory, machine_->page, PROT_NONE) == 0, "emulation: mprotect failed");
}

Fiber::~Fiber() {
#ifdef FTT_EMULATION_TSAN
  __tsan_destroy_fiber(machine_->context);
#endif
  munmap(machine_->stack, kStackBytes + machine_->page);
}

void Fiber::Enter() {
  Fiber* self = starting;
  self->machine_->ArriveInFiber();
  self->body_(self->argument_);
  self->done_ = true;
  self->machine_->LeaveFiber(true);
  self->machine_->ToScheduler();
  __builtin_unreachable();
}

void Fiber::Start(Body body, void* argument) {
  body_ = body;
  argument_ = argument;
  done_ = false;
  Machine& m = *machine_;
  m.fiber_fake = nullptr;
#ifdef FTT_EMULATION_ASAN
  // A run that was abandoned leaves its frames poisoned.
  __asan_unpoison_memory_region(m.stack + m.page, kStackBytes);
#endif
#if defined(__x86_64__)
  // As if FttSwitchStack had been called from Enter's first instruction: six registers, the address
  // to return to, and a null return address for Enter itself, which never returns.
  auto* top = reinterpret_cast<uint64_t*>(m.stack + m.page + kStackBytes);
  *--top = 0;
  *--top = reinterpret_cast<uint64_t>(&Fiber::Enter);
  for (int i = 0; i < 6; ++i) *--top = 0;
  m.fiber_sp = top;
#else
  getcontext(&m.fiber);
  m.fiber.uc_stack.ss_sp = m.stack + m.page;
  m.fiber.uc_stack.ss_size = kStackBytes;
  m.fiber.uc_link = nullptr;
  makecontext(&m.fiber, &Fiber::Enter, 0);
#endif
}

void Fiber::Resume() {
  starting = this;
  void* fake = nullptr;
  machine_->LeaveScheduler(&fake);
  machine_->ToFiber();
  machine_->ArriveInScheduler(fake);
}

void Fiber::Yield() {
  machine_->LeaveFiber(false);
  machine_->ToScheduler();
  machine_->ArriveInFiber();
}

#ifdef FTT_EMULATION_TSAN
namespace {

void InContext(void* context, void (*tell)(const void*), const void* tag) {
  void* own = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(context, __tsan_switch_to_fiber_no_sync);
  tell(tag);
  __tsan_switch_to_fiber(own, __tsan_switch_to_fiber_no_sync);
}

}  // namespace

void Fiber::AcquireFor(const void* tag) { InContext(machine_->context, &Acquire, tag); }
void Fiber::ReleaseFor(const void* tag) { InContext(machine_->context, &Release, tag); }
#else
void Fiber::AcquireFor(const void*) {}
void Fiber::ReleaseFor(const void*) {}
#endif

}  // namespace ftt::emulation
