#include "tests/cuda_emulation/timeline.h"

namespace ftt::emulation {
namespace {

char host_tag = 0;
Timeline* current = nullptr;

std::vector<std::unique_ptr<Timeline>>& All() {
  static auto* all = new std::vector<std::unique_ptr<Timeline>>;
  return *all;
}
std::vector<Timeline*>& Spare() {
  static auto* spare = new std::vector<Timeline*>;
  return *spare;
}

}  // namespace

Timeline* Timeline::Take() {
  if (Spare().empty()) {
    All().push_back(std::make_unique<Timeline>());
    return All().back().get();
  }
  Timeline* timeline = Spare().back();
  Spare().pop_back();
  return timeline;
}
void Timeline::GiveBack(Timeline* timeline) { Spare().push_back(timeline); }
Timeline& Timeline::Default() {
  static Timeline* timeline = Take();
  return *timeline;
}
Timeline* Timeline::Current() { return current; }

void Timeline::WaitForAll() {
  if (!kFindsRaces) return;
  for (const std::unique_ptr<Timeline>& timeline : All()) timeline->Wait();
}

std::vector<std::unique_ptr<Fiber>>& Timeline::StartThreads(size_t n) {
  const size_t last = std::exchange(set_, 1 - set_);
  std::vector<std::unique_ptr<Fiber>>& threads = threads_[set_];
  while (threads.size() < n) threads.push_back(std::make_unique<Fiber>());
  Release(&before_[set_]);
  Release(&tag_);
  for (size_t i = 0; i < n; ++i) {
    threads[i]->AcquireFor(&host_tag);
    threads[i]->AcquireFor(&before_[last]);
    threads[i]->started = false;
  }
  return threads;
}

void Timeline::EndThreads(size_t n) {
  for (size_t i = 0; i < n; ++i) threads_[set_][i]->ReleaseFor(&tag_);
  Acquire(&tag_);
}

void Timeline::Body(void* argument) {
  auto& self = *static_cast<Timeline*>(argument);
  Acquire(&host_tag);
  try {
    (*self.work_)();
  } catch (...) {
    self.error_ = std::current_exception();
  }
  if (self.owned_) delete self.work_;
  Release(&self.tag_);
}

void Timeline::Run(std::function<void()> work) {
  owned_ = true;
  RunShared(*new std::function<void()>(std::move(work)));
}

void Timeline::RunShared(const std::function<void()>& work) {
  Timeline* before = current;
  if (before == nullptr) Release(&host_tag);
  work_ = &work;
  current = this;
  fiber_.Start(&Timeline::Body, this);
  fiber_.Resume();
  current = before;
  owned_ = false;
  if (error_ == nullptr) return;
  Wait();
  std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace ftt::emulation
