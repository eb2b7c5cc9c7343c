// Weights on the device: exponents, codes, straight-through masks and faults as on the host.
#include "kernels/cuda/weights.h"

#include "engine/lanes.h"
#include "engine/weights.h"
#include "tests/cuda/layout.h"
#include "tests/kernels/parity_util.h"

namespace ftt::cuda::test {
namespace {

using ftt::test::Operands;

struct WeightCase {
  int lanes, bits;
  const char* faults;  // of every lane but the first
};

class CudaWeightsTest : public ::testing::TestWithParam<WeightCase> {};

// A network whose only purpose is to have weight sites of odd sizes.
Program WeightSites() {
  ProgramBuilder b("sites", {8, 8, 3}, 10);
  int v = b.Conv("a", 0, 7, {.kernel = 3});
  v = b.Conv("b", v, 7, {.kernel = 5, .depthwise = true});
  v = b.Conv("c", v, 301, {.kernel = 3});
  v = b.GlobalPool("pool", {v, false});
  b.Linear("fc", v);
  return std::move(b).Finish();
}

TEST_P(CudaWeightsTest, EqualsTheHost) {
  const WeightCase c = GetParam();
  const Program program = WeightSites();
  const FaultSpec spec = ParseFaultSpec(c.faults);
  std::vector<LaneSpec> lanes(static_cast<size_t>(c.lanes));
  for (size_t l = 1; l < lanes.size(); ++l) {
    lanes[l].faults = &spec;
    lanes[l].seed = 5 + l;
    lanes[l].moment = {static_cast<uint32_t>(3 + l), true};
  }
  LanePlan plan(program, lanes, c.bits);
  Operands operands(17);
  for (size_t op = 0; op < program.ops.size(); ++op) {
    if (program.ops[op].weight < 0) continue;
    const int64_t n = program.params[static_cast<size_t>(program.ops[op].weight)].Elements();
    SCOPED_TRACE(program.ops[op].name);
    std::vector<float> values = operands.Floats(n);
    values[0] = 1.0f;  // saturates at its own exponent
    ftt::WeightCodes want = ftt::QuantizeWeights(values, c.bits, true);
    ApplyWeightFaults(want, plan, op, true);
    const DeviceBuffer<float> d_values(values);
    const DeviceBuffer<int8_t> codes(want.codes.size());
    const DeviceBuffer<uint8_t> keep(want.codes.size());
    const DeviceBuffer<int> exponent(1);
    const DeviceBuffer<uint32_t> zero(std::vector<uint32_t>{0});
    std::vector<LaneFaultSteps> steps(lanes.size());
    StepMemory memory;
    const DeviceBuffer<HitCounts> hits(
        std::vector<HitCounts>(lanes.size() * kMaxFaultTerms, HitCounts{}));
    for (size_t l = 0; l < lanes.size(); ++l) {
      const std::vector<FaultStep>& host = plan.WeightFaults(static_cast<int>(l), op).steps;
      if (host.empty()) continue;
      steps[l] = {memory.Upload(host), static_cast<int>(host.size()),
                  plan.Moment(static_cast<int>(l)), hits.Data() + l * kMaxFaultTerms};
    }
    const DeviceBuffer<LaneFaultSteps> d_steps(steps);
    const bool faulty = plan.HasWeightFaults(op);
    const DeviceBuffer<WeightTensor> tensors(std::vector<WeightTensor>{
        {d_values.Data(), static_cast<int>(n), faulty ? c.lanes : 1, codes.Data(), keep.Data(),
         exponent.Data(), faulty ? d_steps.Data() : nullptr}});
    std::vector<WeightChunk> chunks;
    for (int first = 0; first < n; first += kWeightChunk) chunks.push_back({0, first});
    const DeviceBuffer<WeightChunk> d_chunks(chunks);
    InBothOrders([&] {
      QuantizeWeights({tensors.Data(), 1, d_chunks.Data(), static_cast<int>(chunks.size()), c.lanes,
                       c.bits, memory.Collects(), zero.Data()},
                      {});
      EXPECT_EQ(want.exponent, exponent.Get()[0]);
      EXPECT_EQ(want.codes, codes.Get());
      const std::vector<uint8_t> all(want.codes.size(), 1);
      EXPECT_EQ(want.keep.empty() ? all : want.keep, keep.Get());
    });
    uint64_t delivered = 0;
    for (const HitCounts& h : hits.Get())
      for (const uint64_t k : h.kind) delivered += k;
    uint64_t expected = 0;
    for (int l = 0; l < c.lanes; ++l) expected += plan.WeightCounts(l, op).delivered;
#ifdef FTT_CUDA_EMULATION
    expected *= 2;  // both orders
#endif
    EXPECT_EQ(expected, delivered);
  }
}

INSTANTIATE_TEST_SUITE_P(All, CudaWeightsTest,
                         ::testing::Values(WeightCase{1, 8, "none"}, WeightCase{2, 8, "adsaf:0.08"},
                                           WeightCase{3, 6, "adsaf-bit:0.05"},
                                           WeightCase{2, 8, "ibf-weight:0.01+adsaf:0.2"},
                                           WeightCase{5, 8, "gauss-weight:0.1"},
                                           WeightCase{2, 4, "adsaf:0.3,sampler=dense"}));

}  // namespace
}  // namespace ftt::cuda::test
