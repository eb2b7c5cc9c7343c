// The device that launches are planned for.
#pragma once

namespace ftt::cuda {

// Those of an H100 or H200, whatever the device is: sums are then added in the same order on every
// device.
inline constexpr int kUsualMultiprocessors = 132;
// Bytes of shared memory: of one of them, to be shared by its blocks, each of which takes some
// more; what every device from compute capability 8.0 on grants a block.
inline constexpr int kSharedBytes = 227 << 10, kBlockSharedExtra = 1 << 10;
inline constexpr int kGrantedBytes = 99 << 10;

namespace internal {
inline int multiprocessors = kUsualMultiprocessors;
}

inline int Multiprocessors() { return internal::multiprocessors; }
// For tests: with few of them small maps are shared out as large ones are on a device. Nothing that
// depends on a plan, scratch memory for example, may be used across a change.
inline void PlanForMultiprocessors(int n) { internal::multiprocessors = n; }

}  // namespace ftt::cuda
