// Every second time the tests of a program run (--gtest_repeat=2), launches are planned for a
// single multiprocessor: a block of a small map then does what one of a large map does on a device.
#include "kernels/cuda/multiprocessors.h"

#include <gtest/gtest.h>

#include <cstdio>

namespace ftt::cuda::test {
namespace {

class PlanForFew : public ::testing::EmptyTestEventListener {
  void OnTestIterationStart(const ::testing::UnitTest&, int iteration) override {
    const int n = iteration % 2 == 0 ? kUsualMultiprocessors : 1;
    if (iteration > 0) std::printf("planned for %d multiprocessors\n", n);
    PlanForMultiprocessors(n);
  }
};

[[maybe_unused]] const bool listens = [] {
  ::testing::UnitTest::GetInstance()->listeners().Append(new PlanForFew);  // GoogleTest deletes it
  return true;
}();

}  // namespace
}  // namespace ftt::cuda::test
