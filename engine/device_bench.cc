#include "engine/device_bench.h"

#include <algorithm>
#include <iterator>

#include "core/error.h"

#ifdef FTT_WITH_CUDA
#include "engine/cuda/bench_bed.h"
#endif

namespace ftt {
namespace {

void Validate(const KernelBenchOptions& o) {
  FTT_CHECK(o.batch >= 1 && o.repeats >= 1, "bench: batch and repeats must be at least 1");
  std::string all;
  for (const char* name : kKernelBenchGroups) all += (all.empty() ? "" : ", ") + std::string(name);
  for (const std::string& group : o.groups) {
    FTT_CHECK(std::find(std::begin(kKernelBenchGroups), std::end(kKernelBenchGroups), group) !=
                  std::end(kKernelBenchGroups),
              "bench kernels: --rows '{}' is unknown; there are {}", group, all);
  }
}

}  // namespace

void BenchKernels(const std::string& device, const KernelBenchOptions& options,
                  const KernelBenchSink& sink) {
  Validate(options);
#ifdef FTT_WITH_CUDA
  if (device == "cuda") return cuda::BenchKernels(options, sink);
#else
  (void)sink;
#endif
  Fail(
      "bench kernels: the kernels of --backend {} are not timed here, only those of cuda; for the "
      "CPU's, with oneDNN's beside them, run benchmarks/bench_conv of the build folder",
      device);
}

#ifdef FTT_WITH_CUDA

KernelWork TraceKernels(const std::function<void()>& body) {
  const cuda::KernelTrace trace = cuda::TraceKernels(body);
  return {trace.seconds, trace.kernels, trace.reason};
}

#else

KernelWork TraceKernels(const std::function<void()>& body) {
  body();
  return {};
}

#endif

}  // namespace ftt
