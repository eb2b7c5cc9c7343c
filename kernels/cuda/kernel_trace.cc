#include "kernels/cuda/peers.h"

#include <fmt/format.h>

#ifdef FTT_WITH_CUPTI

#include <cupti.h>

#include <cstdlib>

#include "core/error.h"
#include "kernels/cuda/library.h"

namespace ftt::cuda {
namespace {

// CUPTI's callbacks carry no pointer of the user's.
KernelTrace trace;

struct Cupti {
  Library loaded{"libcupti.so.13", "libcupti.so.12", "libcupti.so",
                 "../extras/CUPTI/lib64/libcupti.so"};
  decltype(&::cuptiActivityEnable) enable = nullptr;
  decltype(&::cuptiActivityDisable) disable = nullptr;
  decltype(&::cuptiActivityRegisterCallbacks) set_callbacks = nullptr;
  decltype(&::cuptiActivityFlushAll) flush = nullptr;
  decltype(&::cuptiActivityGetNextRecord) next = nullptr;
  decltype(&::cuptiGetResultString) text = nullptr;
  Cupti() {
    loaded.Find("cuptiActivityEnable", &enable);
    loaded.Find("cuptiActivityDisable", &disable);
    loaded.Find("cuptiActivityRegisterCallbacks", &set_callbacks);
    loaded.Find("cuptiActivityFlushAll", &flush);
    loaded.Find("cuptiActivityGetNextRecord", &next);
    loaded.Find("cuptiGetResultString", &text);
  }
  std::string Problem(CUptiResult result) const {
    if (result == CUPTI_SUCCESS) return "";
    const char* message = nullptr;
    text(result, &message);
    return fmt::format("CUPTI: {}", message == nullptr ? "unknown error" : message);
  }
};

const Cupti& Calls() {
  static const Cupti cupti;
  return cupti;
}

constexpr size_t kBufferBytes = size_t{4} << 20;

void GiveBuffer(uint8_t** buffer, size_t* size, size_t* most_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *size = *buffer == nullptr ? 0 : kBufferBytes;
  *most_records = 0;
}

// Only the fields that all versions of the record begin with are read.
void TakeBuffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  CUpti_Activity* record = nullptr;
  while (valid > 0 && Calls().next(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) continue;
    const auto* kernel = reinterpret_cast<const CUpti_ActivityKernel4*>(record);
    trace.seconds += 1e-9 * static_cast<double>(kernel->end - kernel->start);
    ++trace.kernels;
  }
  std::free(buffer);
}

std::string StartTrace() {
  const Cupti& cupti = Calls();
  if (!cupti.loaded.Missing().empty()) return cupti.loaded.Missing();
  const std::string problem = cupti.Problem(cupti.set_callbacks(GiveBuffer, TakeBuffer));
  if (!problem.empty()) return problem;
  return cupti.Problem(cupti.enable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL));
}

}  // namespace

KernelTrace TraceKernels(const std::function<void()>& body) {
  trace = {};
  trace.reason = StartTrace();
  const bool traced = trace.reason.empty();
  body();
  if (traced) {
    Calls().flush(0);
    Calls().disable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL);
  }
  return trace;
}

}  // namespace ftt::cuda

#else

namespace ftt::cuda {

KernelTrace TraceKernels(const std::function<void()>& body) {
  body();
  return {0, 0, "built without CUPTI's headers"};
}

}  // namespace ftt::cuda

#endif
