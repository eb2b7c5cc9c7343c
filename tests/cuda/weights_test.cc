// Weights on the device: exponents, codes, straight-through masks and faults as on the host, and
// how convolutions want the codes.
#include "kernels/cuda/weights.h"

#include <deque>

#include "engine/lanes.h"
#include "engine/weights.h"
#include "kernels/cuda/pack.h"
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
    // Some cases lie where no wide load is possible.
    const int shift = c.lanes % 2;
    std::vector<float> shifted(static_cast<size_t>(shift), 100.0f);
    shifted.insert(shifted.end(), values.begin(), values.end());
    const DeviceBuffer<float> d_values(shifted);
    const DeviceBuffer<float> largest(static_cast<size_t>(WeightChunks(static_cast<int>(n))));
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
        {d_values.Data() + shift, static_cast<int>(n), faulty ? c.lanes : 1, codes.Data(),
         keep.Data(), exponent.Data(), largest.Data(), faulty ? d_steps.Data() : nullptr}});
    std::vector<WeightChunk> chunks;
    for (int first = 0; first < n; first += kWeightChunk) chunks.push_back({0, first});
    const DeviceBuffer<WeightChunk> d_chunks(chunks);
    uint64_t runs = 0;
    InBothOrders([&] {
      ++runs;
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
    EXPECT_EQ(runs * expected, delivered);
  }
}

INSTANTIATE_TEST_SUITE_P(All, CudaWeightsTest,
                         ::testing::Values(WeightCase{1, 8, "none"}, WeightCase{2, 8, "adsaf:0.08"},
                                           WeightCase{3, 6, "adsaf-bit:0.05"},
                                           WeightCase{2, 8, "ibf-weight:0.01+adsaf:0.2"},
                                           WeightCase{5, 8, "gauss-weight:0.1"},
                                           WeightCase{2, 4, "adsaf:0.3,sampler=dense"}));

// One tensor of a network, its layout written down once more.
struct PackCase {
  PackLayout layout;
  int in, out, kernel, copies;
  int stride = 1, dilation = 1;
};

std::vector<PackCase> PackCases() {
  std::vector<PackCase> cases;
  for (const int kernel : {1, 3, 5}) {
    for (const int in : {1, 3, 17, 20, 32}) {
      for (const int out : {1, 3, 17, 20}) {
        const int copies = 1 + (in + out) % 3;
        cases.push_back({PackLayout::kConv, in, out, kernel, copies});
        cases.push_back({PackLayout::kConvGrad, in, out, kernel, copies});
      }
      if (kernel == 1) continue;
      for (const int stride : {1, 2}) {
        for (const int dilation : {1, 2})
          cases.push_back({PackLayout::kDepthwise, in, in, kernel, 1 + in % 3, stride, dilation});
      }
    }
  }
  // Several chunks each.
  cases.push_back({PackLayout::kConv, 48, 140, 3, 2});
  cases.push_back({PackLayout::kConvGrad, 24, 140, 3, 2});
  cases.push_back({PackLayout::kDepthwise, 600, 600, 5, 2});
  return cases;
}

// One copy, as bytes.
std::vector<uint8_t> Packed(const PackCase& c, const int8_t* codes) {
  const int taps = c.kernel * c.kernel;
  std::vector<uint8_t> packed;
  const auto add = [&](bool inside, int out, int tap, int in) {
    const int8_t code = inside ? codes[(out * taps + tap) * c.in + in] : int8_t{0};
    packed.push_back(static_cast<uint8_t>(code));
  };
  if (c.layout == PackLayout::kConv) {
    const int depth = RoundUp(taps * PaddedChannels(c.in), kConvDepth);
    for (int out = 0; out < PaddedChannels(c.out); ++out) {
      for (int at = 0; at < depth; ++at) {
        const int tap = at / PaddedChannels(c.in), in = at % PaddedChannels(c.in);
        add(out < c.out && tap < taps && in < c.in, out, tap, in);
      }
    }
  } else if (c.layout == PackLayout::kConvGrad) {
    for (int in = 0; in < PaddedChannels(c.in); ++in) {
      for (int tap = 0; tap < taps; ++tap) {
        for (int out = 0; out < PaddedChannels(c.out); ++out) {
          const bool inside = in < c.in && out < c.out;
          const auto value =
              inside ? static_cast<float>(codes[(out * taps + tap) * c.in + in]) : 0.0f;
          uint32_t bits;
          memcpy(&bits, &value, sizeof bits);
          packed.push_back(static_cast<uint8_t>(bits >> 16));
          packed.push_back(static_cast<uint8_t>(bits >> 24));
        }
      }
    }
  } else {
    for (int ky = 0; ky < c.kernel; ++ky) {
      for (int word = 0; word < DepthwiseRowWords(c.kernel); ++word) {
        for (int channel = 0; channel < PaddedChannels(c.in); ++channel) {
          for (int byte = 0; byte < 4; ++byte) {
            // The fifth tap: the next output's window begins one position further on, or two.
            const int fifth = c.stride == 2 && c.dilation == 1 ? 2 : 3;
            const int kx = word == 0 ? byte : byte == fifth ? 4 : c.kernel;
            const bool inside = channel < c.in && kx < c.kernel;
            packed.push_back(static_cast<uint8_t>(
                inside ? codes[channel * taps + ky * c.kernel + kx] : int8_t{0}));
          }
        }
      }
    }
  }
  return packed;
}

TEST(CudaPackTest, OneLaunchPacksWhatTensorsAloneDo) {
  Operands operands(23);
  std::deque<DeviceBuffer<int8_t>> codes;
  std::deque<DeviceBuffer<uint8_t>> together, alone;
  std::vector<std::vector<uint8_t>> want;
  std::vector<PackJob> jobs;
  std::vector<JobChunk> chunks;
  int copies = 1;
  for (const PackCase& c : PackCases()) {
    const bool depthwise = c.layout == PackLayout::kDepthwise;
    const int n = c.out * c.kernel * c.kernel * (depthwise ? 1 : c.in);
    const std::vector<int8_t> host = operands.Codes(int64_t{c.copies} * n);
    std::vector<uint8_t>& packed = want.emplace_back();
    for (int copy = 0; copy < c.copies; ++copy) {
      const std::vector<uint8_t> one = Packed(c, host.data() + copy * n);
      packed.insert(packed.end(), one.begin(), one.end());
    }
    codes.emplace_back(host);
    together.emplace_back(packed.size());
    alone.emplace_back(packed.size());
    WindowGeometry g;
    g.in_channels = c.in;
    g.out_channels = c.out;
    g.kernel = c.kernel;
    g.stride = c.stride;
    g.dilation = c.dilation;
    for (int first = 0; first < PackItems(c.layout, g); first += kPackChunk)
      chunks.push_back({static_cast<int>(jobs.size()), first});
    jobs.push_back({c.layout, g, c.copies, codes.back().Data(), together.back().Data()});
    copies = std::max(copies, c.copies);
  }
  const DeviceBuffer<PackJob> d_jobs(jobs);
  const DeviceBuffer<JobChunk> d_chunks(chunks);
  InBothOrders([&] {
    PackWeights({d_jobs.Data(), d_chunks.Data(), static_cast<int>(chunks.size()), copies}, {});
    for (size_t i = 0; i < jobs.size(); ++i) {
      const PackJob& job = jobs[i];
      SCOPED_TRACE(::testing::Message()
                   << "layout " << static_cast<int>(job.layout) << ", " << job.geometry.in_channels
                   << " to " << job.geometry.out_channels << ", kernel " << job.geometry.kernel);
      void* to = alone[i].Data();
      switch (job.layout) {
        case PackLayout::kConv:
          PackConvWeights(job.geometry, job.copies, job.codes, static_cast<int8_t*>(to), {});
          break;
        case PackLayout::kConvGrad:
          PackConvGradWeights(job.geometry, job.copies, job.codes, static_cast<uint16_t*>(to), {});
          break;
        case PackLayout::kDepthwise:
          PackDepthwiseWeights(job.geometry, job.copies, job.codes, static_cast<uint32_t*>(to), {});
          break;
      }
      EXPECT_EQ(want[i], together[i].Get());
      EXPECT_EQ(want[i], alone[i].Get());
    }
  });
}

}  // namespace
}  // namespace ftt::cuda::test
