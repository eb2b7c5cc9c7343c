#include "core/cpu_info.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <thread>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace ftt {
namespace {

// Cores granted by a cgroup v2 quota, or 0 where there is none.
int QuotaCores() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  long quota = 0;
  long period = 0;
  if (!(file >> quota >> period) || quota <= 0 || period <= 0) return 0;  // "max PERIOD": no quota
  return static_cast<int>((quota + period - 1) / period);
}

}  // namespace

int AvailableCores() {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) cores = CPU_COUNT(&mask);
  if (const int quota = QuotaCores(); quota > 0) cores = std::min(cores, quota);
  return std::max(cores, 1);
}

std::vector<CpuFeature> CpuFeatures() {
#if defined(__x86_64__)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  const bool leaf7 = __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0;
  const bool amx_tile = leaf7 && (edx & (1u << 24)) != 0;
  const bool amx_int8 = leaf7 && (edx & (1u << 25)) != 0;
  const bool amx_bf16 = leaf7 && (edx & (1u << 22)) != 0;
  const bool avx_vnni =
      leaf7 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & (1u << 4)) != 0;
  // The compiler's own test also asks whether the operating system saves the registers.
  __builtin_cpu_init();
  return {{"sse4.2", __builtin_cpu_supports("sse4.2") != 0},
          {"avx2", __builtin_cpu_supports("avx2") != 0},
          {"fma", __builtin_cpu_supports("fma") != 0},
          {"avx512f", __builtin_cpu_supports("avx512f") != 0},
          {"avx512bw", __builtin_cpu_supports("avx512bw") != 0},
          {"avx512_vnni", __builtin_cpu_supports("avx512vnni") != 0},
          {"avx_vnni", avx_vnni && __builtin_cpu_supports("avx2") != 0},
          {"amx_tile", amx_tile},
          {"amx_int8", amx_int8},
          {"amx_bf16", amx_bf16}};
#else
  std::vector<CpuFeature> features;
  for (const char* name : {"sse4.2", "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni",
                           "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}) {
    features.push_back({name, false});
  }
  return features;
#endif
}

std::string CpuModelName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace ftt
