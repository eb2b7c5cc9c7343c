#include "kernels/cpu/elementwise.h"

#include <numeric>
#include <string_view>

namespace ftt::cpu {

namespace isa_generic {
extern const Elementwise kTable;
}
#ifdef FTT_X86
namespace isa_avx2 {
extern const Elementwise kTable;
}
namespace isa_avx512 {
extern const Elementwise kTable;
}
#endif

int ChannelPeriod(int channels) { return std::lcm(channels, kVector); }

const Elementwise* GetElementwise(const char* isa) {
  const std::string_view name = isa;
  if (name == "generic") return &isa_generic::kTable;
#ifdef FTT_X86
  if (name == "avx2" && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c")) {
    return &isa_avx2::kTable;
  }
  if (name == "avx512" && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    return &isa_avx512::kTable;
  }
#endif
  return nullptr;
}

const Elementwise& GetElementwise() {
  static const Elementwise& best = [&]() -> const Elementwise& {
    for (const char* isa : {"avx512", "avx2"}) {
      if (const Elementwise* table = GetElementwise(isa)) return *table;
    }
    return isa_generic::kTable;
  }();
  return best;
}

}  // namespace ftt::cpu
