#include "engine/open_device.h"

#include <cstdlib>

#include "core/error.h"

#ifdef FTT_WITH_CUDA
#include "engine/cuda/cuda_device.h"
#include "kernels/cuda/runtime.h"
#endif

namespace ftt {

#ifdef FTT_WITH_CUDA

std::string CudaStatus() {
  const int count = cuda::DeviceCount();
  if (count == 0) return "built in; no device found";
  const cuda::DeviceInfo info = cuda::QueryDevice(0);
  return fmt::format("{} device{}, first: {}, {:.0f} GiB", count, count == 1 ? "" : "s", info.name,
                     static_cast<double>(info.memory) / (1 << 30));
}

namespace {

std::unique_ptr<Device> OpenCuda(const std::string& name) {
  const std::string number = name == "cuda" ? "0" : name.substr(sizeof "cuda:" - 1);
  char* end = nullptr;
  const long device = std::strtol(number.c_str(), &end, 10);
  FTT_CHECK(!number.empty() && *end == '\0', "backend '{}': '{}' is not the number of a device",
            name, number);
  const int count = cuda::DeviceCount();
  FTT_CHECK(count > 0, "backend '{}': no CUDA device was found; use --backend cpu", name);
  FTT_CHECK(device >= 0 && device < count,
            "backend '{}': there {} {} CUDA device{}, numbered from 0", name,
            count == 1 ? "is" : "are", count, count == 1 ? "" : "s");
  return MakeCudaDevice(static_cast<int>(device));
}

}  // namespace

std::unique_ptr<Device> OpenDevice(const std::string& name, int threads) {
  if (name == "cuda" || name.rfind("cuda:", 0) == 0) return OpenCuda(name);
  if (name == "auto" && cuda::DeviceCount() > 0) return MakeCudaDevice(0);
  return MakeHostDevice(MakeBackend(name, threads));
}

#else

std::string CudaStatus() { return "not built in (configure with -DFTT_CUDA=ON)"; }

std::unique_ptr<Device> OpenDevice(const std::string& name, int threads) {
  FTT_CHECK(name != "cuda" && name.rfind("cuda:", 0) != 0,
            "backend '{}': this program was built without CUDA; configure with -DFTT_CUDA=ON, or "
            "use --backend cpu",
            name);
  return MakeHostDevice(MakeBackend(name, threads));
}

#endif

}  // namespace ftt
