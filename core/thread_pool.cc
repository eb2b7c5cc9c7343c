#include "core/thread_pool.h"

#include <omp.h>

#include <atomic>
#include <cassert>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "core/cpu_info.h"
#include "core/error.h"

namespace ftt {
namespace {

// Long enough to bridge the gap between two short parallel regions and the wait for another
// thread's last task, where a thread that sleeps wakes late: on a virtual machine a training step
// takes a tenth less than with 50 us.
constexpr auto kSpinTime = std::chrono::milliseconds(1);

inline void CpuPause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Busy-waits for `ready` for at most kSpinTime; returns whether it came true.
template <typename Predicate>
bool SpinUntil(const Predicate& ready) {
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      CpuPause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return ready();
}

}  // namespace

// One job at a time. Each worker has a share of the tasks that lie side by side, and takes those of
// others when it has none left: so neighbouring jobs find a part of the data in the same core's
// cache. `claim` of a share holds the number of the job in its upper half and the count of
// unclaimed tasks in its lower half, so that a worker that wakes up late either finds nothing to
// claim or claims a task of the job that is running now. The plain fields are written while no task
// is claimed and read only after a claim.
struct ThreadPool::State {
  struct alignas(64) Share {
    std::atomic<uint64_t> claim{0};
  };

  std::vector<std::thread> workers;
  bool spin =
      true;  // not where threads outnumber cores: the spinner would hold up the working thread

  std::vector<Share> shares;  // by worker
  std::atomic<int> completed{0};
  std::atomic<int> failed_task{INT_MAX};  // lowest task that threw
  int tasks = 0;
  bool descending = false;
  const std::function<void(int, int)>* body = nullptr;

  std::mutex mutex;
  std::condition_variable work_available;
  std::condition_variable job_done;
  std::atomic<int> sleepers{0};
  std::atomic<bool> caller_sleeps{false};
  std::atomic<bool> stop{false};
  std::exception_ptr exception;  // of failed_task; guarded by mutex

  bool HasWork() const {
    for (const Share& share : shares) {
      if (static_cast<uint32_t>(share.claim.load()) != 0) return true;
    }
    return false;
  }
  int First(size_t share) const {
    return static_cast<int>(static_cast<int64_t>(tasks) * static_cast<int64_t>(share) /
                            static_cast<int64_t>(shares.size()));
  }
  bool RunOne(int worker);
  bool RunOneOf(size_t share, int worker);
  void RunTask(int task, int worker);
  void WorkerLoop(int worker);
  void Publish(int task_count);
  void AwaitCompletion();
};

// Claims and runs one task; false when none is left.
bool ThreadPool::State::RunOne(int worker) {
  for (size_t i = 0; i < shares.size(); ++i) {
    if (RunOneOf((static_cast<size_t>(worker) + i) % shares.size(), worker)) return true;
  }
  return false;
}

bool ThreadPool::State::RunOneOf(size_t share, int worker) {
  std::atomic<uint64_t>& claim = shares[share].claim;
  uint64_t seen = claim.load();
  do {
    if (static_cast<uint32_t>(seen) == 0) return false;
  } while (!claim.compare_exchange_weak(seen, seen - 1));
  const auto left = static_cast<int>(static_cast<uint32_t>(seen));
  const int total = tasks;
  RunTask(descending ? First(share) + left - 1 : First(share + 1) - left, worker);
  // From the last increment on, the caller may start the next job: only members that outlive a job
  // may follow.
  if (completed.fetch_add(1) + 1 == total && caller_sleeps.load()) {
    const std::lock_guard lock(mutex);
    job_done.notify_one();
  }
  return true;
}

// Only tasks above a failed one are skipped. So the exception that is kept is that of the lowest
// task that throws, whatever the timing.
void ThreadPool::State::RunTask(int task, int worker) {
  if (task > failed_task.load(std::memory_order_relaxed)) return;
  try {
    (*body)(task, worker);
  } catch (...) {
    const std::lock_guard lock(mutex);
    if (task < failed_task.load()) {
      failed_task.store(task);
      exception = std::current_exception();
    }
  }
}

void ThreadPool::State::WorkerLoop(int worker) {
  omp_set_num_threads(1);
  const auto awake = [this] { return HasWork() || stop.load(); };
  while (true) {
    while (RunOne(worker)) {
    }
    if (stop.load()) return;
    if (spin && SpinUntil(awake)) continue;
    std::unique_lock lock(mutex);
    ++sleepers;
    work_available.wait(lock, awake);
    --sleepers;
  }
}

void ThreadPool::State::Publish(int task_count) {
  tasks = task_count;
  completed.store(0);
  failed_task.store(INT_MAX);
  const uint64_t job = (shares[0].claim.load() >> 32) + 1;
  for (size_t i = 0; i < shares.size(); ++i)
    shares[i].claim.store((job << 32) | static_cast<uint32_t>(First(i + 1) - First(i)));
  // A worker counts itself as a sleeper before it looks at `claim` for the last time, so either it
  // sees the job or it is seen here. Holding the mutex once makes sure that it waits already when
  // it is notified.
  if (sleepers.load() > 0) {
    { const std::lock_guard lock(mutex); }
    work_available.notify_all();
  }
}

void ThreadPool::State::AwaitCompletion() {
  const auto done = [this] { return completed.load() == tasks; };
  if (done() || (spin && SpinUntil(done))) return;
  std::unique_lock lock(mutex);
  caller_sleeps.store(true);
  job_done.wait(lock, done);
  caller_sleeps.store(false);
}

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  FTT_CHECK(threads >= 0 && threads <= 4096, "number of threads is {}; it must be in 0..4096",
            threads);
  const int cores = AvailableCores();
  if (threads == 0) threads = cores;
  state_->spin = threads <= cores;
  omp_set_num_threads(1);
  state_->shares = std::vector<State::Share>(static_cast<size_t>(threads));
  state_->workers.reserve(static_cast<size_t>(threads - 1));
  for (int worker = 1; worker < threads; ++worker) {
    state_->workers.emplace_back([state = state_.get(), worker] { state->WorkerLoop(worker); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop.store(true);
  }
  state_->work_available.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::Threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::ParallelFor(int tasks, const std::function<void(int task, int worker)>& body,
                             bool descending) {
  if (tasks <= 0) return;
  State& state = *state_;
  omp_set_num_threads(1);  // the pool may be used from another thread than the one that made it
  if (tasks == 1 || state.workers.empty()) {
    std::exception_ptr exception;
    for (int i = 0; i < tasks && (descending || exception == nullptr); ++i) {
      try {
        body(descending ? tasks - 1 - i : i, 0);
      } catch (...) {
        exception = std::current_exception();
      }
    }
    if (exception != nullptr) std::rethrow_exception(exception);
    return;
  }
  assert(state.body == nullptr && "ParallelFor is not reentrant");
  state.body = &body;
  state.descending = descending;
  state.Publish(tasks);
  while (state.RunOne(0)) {
  }
  state.AwaitCompletion();
  state.body = nullptr;
  if (state.failed_task.load() != INT_MAX) {
    std::exception_ptr exception;
    {
      const std::lock_guard lock(state.mutex);
      exception = std::exchange(state.exception, nullptr);
    }
    std::rethrow_exception(exception);
  }
}

}  // namespace ftt
