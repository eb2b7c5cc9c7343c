// The benchmarks of kernels on the emulated device: every group of rows runs, and every row's
// result is right.
#include <gtest/gtest.h>

#include "engine/cuda/bench_bed.h"

namespace ftt {
namespace {

struct Outcome {
  KernelBenchRates rates;
  std::vector<KernelBenchRow> rows;
};

Outcome RunGroup(const char* group, const Shape& map) {
  KernelBenchOptions options;
  options.groups = {group};
  options.maps = {map};
  options.batch = 3;  // with an image between the first and the last
  options.repeats = 1;
  options.rates = {0, 1e-3};
  options.network = "resnet-20";
  Outcome outcome;
  cuda::BenchKernels(options, {[&](const KernelBenchRates& rates) { outcome.rates = rates; },
                               [&](const KernelBenchRow& row) { outcome.rows.push_back(row); }});
  return outcome;
}

class KernelBenchTest : public ::testing::TestWithParam<const char*> {};

TEST_P(KernelBenchTest, EveryRowIsRight) {
  const Outcome outcome = RunGroup(GetParam(), {6, 6, 20});
  EXPECT_GT(outcome.rates.copy_bytes, 0);
  EXPECT_GT(outcome.rates.multiply_adds, 0);
  ASSERT_FALSE(outcome.rows.empty());
  int with_faults = 0;
  for (const KernelBenchRow& row : outcome.rows) {
    SCOPED_TRACE(row.op + ", " + row.shape + ", " + row.faults);
    EXPECT_TRUE(row.passed) << row.parity;
    EXPECT_GT(row.us, 0);
    EXPECT_GT(row.floor_us, 0);
    with_faults += row.faults != "none" ? 1 : 0;
  }
  const std::string group = GetParam();
  EXPECT_TRUE(with_faults > 0 || group == "optimizer" || group == "backward");
}

INSTANTIATE_TEST_SUITE_P(All, KernelBenchTest, ::testing::ValuesIn(kKernelBenchGroups));

}  // namespace
}  // namespace ftt
