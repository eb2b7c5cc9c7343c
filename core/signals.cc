#include "core/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace ftt {
namespace {

std::atomic<int> received_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "the handler may not take a lock");

void OnSignal(int signal) {
  int expected = 0;
  if (!received_signal.compare_exchange_strong(expected, signal)) ::_exit(128 + signal);
}

}  // namespace

void InstallSignalHandlers() {
  struct sigaction action {};
  action.sa_handler = OnSignal;
  // Interrupted system calls start again: only the flag matters.
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool StopRequested() { return received_signal.load(std::memory_order_relaxed) != 0; }

int StopSignal() { return received_signal.load(); }

void ClearStopRequest() { received_signal.store(0); }

}  // namespace ftt
