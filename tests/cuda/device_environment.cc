// Skips all tests of the program where no CUDA device can be used.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

namespace ftt::cuda::test {
namespace {

class DeviceEnvironment : public ::testing::Environment {
 public:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0) return;
    // A skip of GoogleTest would not keep it from calling the tests passed at the end; CTest knows
    // this line.
    std::puts("[  SKIPPED ] no CUDA device: no test has run");
    std::exit(EXIT_SUCCESS);
  }
};

const auto* const environment =
    ::testing::AddGlobalTestEnvironment(new DeviceEnvironment);  // GoogleTest deletes it

}  // namespace
}  // namespace ftt::cuda::test
