// What the processor offers and how much of it this process may use.
#pragma once

#include <string>
#include <vector>

namespace ftt {

// Cores this process may run on: its affinity mask, further limited by a cgroup v2 CPU quota
// (rounded up). At least 1.
int AvailableCores();

struct CpuFeature {
  std::string name;  // avx2, avx512f, avx512_vnni, amx_int8, ...
  bool available;
};

// The features that decide which kernels run, in a fixed order; all unavailable on processors other
// than x86-64.
std::vector<CpuFeature> CpuFeatures();

// Brand string of the processor, or "unknown".
std::string CpuModelName();

}  // namespace ftt
