#include "core/thread_pool.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/cpu_info.h"
#include "core/error.h"

namespace ftt {
namespace {

TEST(ThreadPool, RunsEveryTaskExactlyOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.Threads(), threads);
    for (const int tasks : {0, 1, 2, 7, 64, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(tasks));
      std::atomic<int> bad_worker{0};
      pool.ParallelFor(tasks, [&](int task, int worker) {
        ++runs[static_cast<size_t>(task)];
        if (worker < 0 || worker >= threads) ++bad_worker;
      });
      for (int task = 0; task < tasks; ++task)
        EXPECT_EQ(runs[static_cast<size_t>(task)], 1) << task;
      EXPECT_EQ(bad_worker, 0);
    }
  }
}

TEST(ThreadPool, ZeroThreadsMeansOnePerCore) {
  EXPECT_EQ(ThreadPool(0).Threads(), AvailableCores());
}

TEST(ThreadPool, RejectsNegativeThreads) { EXPECT_THROW(ThreadPool(-1), Error); }

// Jobs so short that workers of one meet the start of the next, with pauses that let them fall
// asleep in between. The result of a job is plain memory, so a missing happens-before shows under
// the thread sanitizer.
TEST(ThreadPool, ManyShortJobs) {
  ThreadPool pool(3);
  std::vector<int64_t> results(37);
  for (int job = 0; job < 3000; ++job) {
    const int tasks = 1 + job % 37;
    pool.ParallelFor(tasks,
                     [&](int task, int) { results[static_cast<size_t>(task)] = job + task; });
    for (int task = 0; task < tasks; ++task)
      ASSERT_EQ(results[static_cast<size_t>(task)], job + task);
    if (job % 500 == 499) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

TEST(ThreadPool, TasksRunConcurrently) {
  ThreadPool pool(2);
  // Both tasks wait for each other: this ends only when two threads run them.
  std::atomic<int> arrived{0};
  std::set<int> workers;
  std::mutex mutex;
  pool.ParallelFor(2, [&](int, int worker) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
    const std::lock_guard lock(mutex);
    workers.insert(worker);
  });
  EXPECT_EQ(workers, (std::set<int>{0, 1}));
}

TEST(ThreadPool, RethrowsExceptionOfLowestFailingTask) {
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    for (int repeat = 0; repeat < 200; ++repeat) {
      std::atomic<int> before{0};
      try {
        pool.ParallelFor(100, [&](int task, int) {
          if (task < 40) ++before;
          if (task == 40 || task == 41 || task == 99)
            throw std::runtime_error(std::to_string(task));
        });
        FAIL() << "no exception";
      } catch (const std::runtime_error& error) {
        EXPECT_STREQ(error.what(), "40");
      }
      EXPECT_EQ(before, 40);
    }
    // The pool works on after a failure.
    std::atomic<int> sum{0};
    pool.ParallelFor(10, [&](int task, int) { sum += task; });
    EXPECT_EQ(sum, 45);
  }
}

TEST(ThreadPool, OpenMpHasOneThreadInEveryTask) {
  omp_set_num_threads(3);
  ThreadPool pool(3);
  std::vector<int> widths(30);
  pool.ParallelFor(30, [&](int task, int) {
    widths[static_cast<size_t>(task)] = omp_get_max_threads();
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  });
  EXPECT_EQ(widths, std::vector<int>(30, 1));
}

TEST(ThreadPool, PoolsCanBeUsedFromSeveralThreads) {
  std::vector<std::thread> callers;
  std::atomic<int> total{0};
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&total] {
      ThreadPool pool(2);
      for (int job = 0; job < 100; ++job) pool.ParallelFor(5, [&](int, int) { ++total; });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total, 1500);
}

TEST(ThreadPool, DownwardsRunsEveryTaskOnceAndKeepsTheLowestException) {
  for (const int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    for (const int tasks : {0, 1, 2, 7, 100}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(tasks));
      pool.ParallelFor(
          tasks, [&](int task, int) { ++runs[static_cast<size_t>(task)]; }, true);
      for (const auto& count : runs) EXPECT_EQ(count.load(), 1) << threads << " " << tasks;
    }
    std::vector<int> order;
    if (threads == 1) {
      pool.ParallelFor(
          4, [&](int task, int) { order.push_back(task); }, true);
      EXPECT_EQ(order, (std::vector<int>{3, 2, 1, 0}));
    }
    try {
      const auto fail = [](int task, int) {
        if (task % 20 == 7) throw std::runtime_error(std::to_string(task));
      };
      pool.ParallelFor(50, fail, true);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& e) {
      EXPECT_STREQ(e.what(), "7") << threads;
    }
  }
}

}  // namespace
}  // namespace ftt
