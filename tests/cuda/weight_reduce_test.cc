// The last step of weight gradients against sums in double precision.
#include "kernels/cuda/weight_reduce.h"

#include <cmath>
#include <deque>

#include "tests/cuda/layout.h"
#include "tests/kernels/parity_util.h"

namespace ftt::cuda::test {
namespace {

using ftt::test::Operands;

struct ReduceCase {
  int lanes, rows, runs, inner, inner_pitch;
  bool masked, one_weight;
};

class CudaWeightReduceTest : public ::testing::TestWithParam<ReduceCase> {};

void CheckSums(const ReduceCase& c) {
  Operands operands(3);
  const int64_t n = int64_t{c.runs} * c.inner, row_floats = int64_t{c.runs} * c.inner_pitch + 3;
  const std::vector<float> partials = operands.Floats(int64_t{c.lanes} * c.rows * row_floats);
  const std::vector<float> before = operands.Floats(n);
  std::vector<uint8_t> keep;
  for (int64_t i = 0; i < (c.one_weight ? 1 : c.lanes) * n; ++i)
    keep.push_back(static_cast<uint8_t>(operands.Below(2)));
  std::vector<int> exponents;
  for (int l = 0; l < c.lanes; ++l) exponents.push_back(static_cast<int>(operands.Below(5)) - 4);
  InBothOrders([&] {
    const DeviceBuffer<float> d_partials(partials), grad_w(before);
    const DeviceBuffer<uint8_t> d_keep(keep);
    const DeviceBuffer<int> d_exponents(exponents);
    WeightReduceArguments a;
    a.lanes = c.lanes;
    a.rows = c.rows;
    a.n = n;
    a.inner = c.inner;
    a.inner_pitch = c.inner_pitch;
    a.row_floats = row_floats;
    a.partials = d_partials.Data();
    a.x_exponent = d_exponents.Data();
    a.keep = c.masked ? d_keep.Data() : nullptr;
    a.one_weight = c.one_weight;
    a.grad_w = grad_w.Data();
    ReduceWeightGrad(a, {});
    const std::vector<float> got = grad_w.Get();
    for (int64_t i = 0; i < n; ++i) {
      double want = before[static_cast<size_t>(i)], terms = std::fabs(want);
      for (int l = 0; l < c.lanes; ++l) {
        if (c.masked && keep[static_cast<size_t>((c.one_weight ? 0 : l * n) + i)] == 0) continue;
        for (int row = 0; row < c.rows; ++row) {
          const int64_t at =
              (int64_t{l} * c.rows + row) * row_floats + i / c.inner * c.inner_pitch + i % c.inner;
          const double term = std::ldexp(double{partials[static_cast<size_t>(at)]},
                                         exponents[static_cast<size_t>(l)]);
          want += term;
          terms += std::fabs(term);
        }
      }
      ASSERT_NEAR(got[static_cast<size_t>(i)], want, 1e-6 * terms) << "weight " << i;
    }
  });
}

TEST_P(CudaWeightReduceTest, AddsUpAllRows) { CheckSums(GetParam()); }

// Behind a lane's last row lies the next lane's first one.
TEST(CudaWeightReduceRowsTest, AddsUpEveryNumberOfRows) {
  for (int rows = 1; rows <= 40; ++rows) {
    SCOPED_TRACE(rows);
    CheckSums({2, rows, 2, 3, 5, false, true});
  }
}

TEST(CudaWeightReduceTablesTest, ManyAtOnceAreWhatEachIsAlone) {
  struct Shape {
    int lanes, rows, runs, inner, inner_pitch;
  };
  std::vector<Shape> shapes = {
      {2, 7, 90, 40, 48}, {2, 1, 1, 5, 5}, {1, 70, 5, 100, 112}, {3, 300, 9, 20, 20}};
  for (int rows = 1; rows <= 40; ++rows) shapes.push_back({2, rows, 2, 3, 5});
  Operands operands(5);
  const DeviceBuffer<int> exponents(std::vector<int>{-3, 0, 2});
  std::deque<DeviceBuffer<float>> partials, alone, together;
  std::vector<WeightReduceArguments> jobs;
  std::vector<JobChunk> chunks;
  for (const Shape& s : shapes) {
    WeightReduceArguments a;
    a.lanes = s.lanes;
    a.rows = s.rows;
    a.n = int64_t{s.runs} * s.inner;
    a.inner = s.inner;
    a.inner_pitch = s.inner_pitch;
    a.row_floats = int64_t{s.runs} * s.inner_pitch;
    a.partials = partials.emplace_back(operands.Floats(s.lanes * s.rows * a.row_floats)).Data();
    a.x_exponent = exponents.Data();
    const std::vector<float> before = operands.Floats(a.n);
    a.grad_w = alone.emplace_back(before).Data();
    ReduceWeightGrad(a, {});
    a.grad_w = together.emplace_back(before).Data();
    for (int first = 0; first < a.n; first += ReduceChunkWeights(a.rows))
      chunks.push_back({static_cast<int>(jobs.size()), first});
    jobs.push_back(a);
  }
  const DeviceBuffer<WeightReduceArguments> d_jobs(jobs);
  const DeviceBuffer<JobChunk> d_chunks(chunks);
  ReduceWeightGrads({d_jobs.Data(), d_chunks.Data(), static_cast<int>(chunks.size())}, {});
  for (size_t i = 0; i < shapes.size(); ++i) EXPECT_EQ(alone[i].Get(), together[i].Get());
}

INSTANTIATE_TEST_SUITE_P(All, CudaWeightReduceTest,
                         ::testing::Values(ReduceCase{1, 1, 1, 1, 1, false, true},
                                           ReduceCase{2, 7, 9, 40, 48, true, true},
                                           ReduceCase{3, 9, 9, 33, 48, true, false},
                                           ReduceCase{1, 70, 5, 16, 16, false, true},
                                           ReduceCase{2, 600, 9, 20, 20, true, false}));

}  // namespace
}  // namespace ftt::cuda::test
