// How many multiprocessors launches are planned for.
#pragma once

namespace ftt::cuda {

// Those of an H100 or H200, whatever the device is: sums are then added in the same order on every
// device.
inline constexpr int kUsualMultiprocessors = 132;

namespace internal {
inline int multiprocessors = kUsualMultiprocessors;
}

inline int Multiprocessors() { return internal::multiprocessors; }
// For tests: with few of them small maps are shared out as large ones are on a device. Nothing that
// depends on a plan, scratch memory for example, may be used across a change.
inline void PlanForMultiprocessors(int n) { internal::multiprocessors = n; }

}  // namespace ftt::cuda
