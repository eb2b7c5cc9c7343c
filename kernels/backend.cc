#include "kernels/backend.h"

#include "core/error.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/ref_backend.h"

namespace ftt {

WindowShape WindowOf(const Program& program, const Op& op) {
  const auto shape = [&](int value) { return program.values[static_cast<size_t>(value)]; };
  return {shape(op.inputs[0].value), shape(op.output), op.conv,
          op.kind == OpKind::kPool,  op.pool,          op.inputs[0].relu};
}

std::unique_ptr<Backend> MakeRefBackend() { return std::make_unique<RefBackend>(); }
std::unique_ptr<Backend> MakeCpuBackend(int threads, bool full_precision) {
  return std::make_unique<cpu::CpuBackend>(threads, full_precision);
}

std::unique_ptr<Backend> MakeBackend(const std::string& name, int threads) {
  FTT_CHECK(threads >= 0 && threads <= 1024, "threads: {} is outside 0..1024 (0: one per core)",
            threads);
  if (name == "auto" || name == "cpu") return MakeCpuBackend(threads, false);
  if (name == "cpu-f32") return MakeCpuBackend(threads, true);
  if (name == "ref") return MakeRefBackend();
  Fail("backend '{}' is unknown; use auto, cpu, cpu-f32, ref, or check:A,B to compare two", name);
}

}  // namespace ftt
