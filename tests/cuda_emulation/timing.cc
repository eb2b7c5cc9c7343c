// kernels/cuda/timing.h by the host's clock.
#include "kernels/cuda/timing.h"

#include "core/clock.h"

namespace ftt::cuda {

DeviceParts QueryParts() { return {}; }

struct Stopwatch::Events {
  double start = 0, stop = 0;
};

Stopwatch::Stopwatch() : events_(std::make_unique<Events>()) {}
Stopwatch::~Stopwatch() = default;
void Stopwatch::Start(DeviceStream) { events_->start = MonotonicSeconds(); }
void Stopwatch::Stop(DeviceStream) { events_->stop = MonotonicSeconds(); }
double Stopwatch::Seconds() { return events_->stop - events_->start; }

}  // namespace ftt::cuda
