// A fixed set of worker threads that run numbered tasks.
//
// Every worker keeps OpenMP at one thread, so that library primitives called from a task run on
// that task's thread alone. Which thread runs a task never influences a result: tasks write to
// places of their own, and reductions over tasks are done in task order by the caller.
#pragma once

#include <functional>
#include <memory>

namespace ftt {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // 0: one per available core
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int Threads() const;
  // Runs body(task, worker) for task in [0, tasks) and returns when all are done; worker is in [0,
  // Threads()). Each worker prefers a share of tasks that lie side by side, the same part of [0,
  // tasks) in every call, and goes through it upwards or downwards. The exception thrown by the
  // first task that throws is rethrown here. Not reentrant.
  void ParallelFor(int tasks, const std::function<void(int task, int worker)>& body,
                   bool descending = false);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ftt
