#include "kernels/backend.h"

#include "core/error.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/ref_backend.h"

namespace ftt {

std::unique_ptr<Backend> MakeRefBackend() { return std::make_unique<RefBackend>(); }
std::unique_ptr<Backend> MakeCpuBackend(int threads) {
  return std::make_unique<cpu::CpuBackend>(threads);
}

std::unique_ptr<Backend> MakeBackend(const std::string& name, int threads) {
  FTT_CHECK(threads >= 0 && threads <= 1024, "threads: {} is outside 0..1024 (0: one per core)",
            threads);
  if (name == "auto" || name == "cpu") return MakeCpuBackend(threads);
  if (name == "ref") return MakeRefBackend();
  Fail("backend '{}' is unknown; use auto, cpu, ref, or check:A,B to compare two", name);
}

}  // namespace ftt
