// Skips all tests of the program where no CUDA device can be used.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

namespace ftt::cuda::test {
namespace {

class DeviceEnvironment : public ::testing::Environment {
 public:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0)
      GTEST_SKIP() << "no CUDA device";
  }
};

const auto* const environment =
    ::testing::AddGlobalTestEnvironment(new DeviceEnvironment);  // GoogleTest deletes it

}  // namespace
}  // namespace ftt::cuda::test
