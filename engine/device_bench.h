// Benchmarks that only some devices have.
#pragma once

#include <functional>
#include <string>

#include "engine/bench.h"
#include "engine/kernel_bench.h"

namespace ftt {

// Rows of single kernels, on the device of a name that OpenDevice has taken. Throws ftt::Error
// where that has none, or where an option is out of range.
void BenchKernels(const std::string& device, const KernelBenchOptions& options,
                  const KernelBenchSink& sink);

// Runs body, which ends by waiting for its results, and watches the kernels that it starts on a
// GPU. Elsewhere it just runs.
KernelWork TraceKernels(const std::function<void()>& body);

}  // namespace ftt
