// What ConvBench compares with: cuDNN's convolutions, and the whole chain op by op.
#include <fmt/format.h>
#include <algorithm>
#include <cmath>

#include "core/half.h"
#include "engine/cuda/bench_conv.h"
#include "kernels/cuda/unfused.h"

namespace ftt::cuda {
namespace {

struct PeerPlan {
  PeerNumbers numbers;
  const char* name;
};
constexpr PeerPlan kPeerPlans[] = {{PeerNumbers::kInt8, "int8"},
                                   {PeerNumbers::kInt8Float, "int8 to float32"},
                                   {PeerNumbers::kHalf, "fp16"}};

}  // namespace

void ConvBench::RunPeer(PeerNumbers numbers, int set) {
  const bool half = numbers == PeerNumbers::kHalf;
  // Codes saturate only in the tails; float32 holds accumulators as they are.
  const float scale = numbers == PeerNumbers::kInt8Float ? 1.0f
                      : half                             ? std::ldexp(1.0f, -raw_shift_)
                                                         : norm_.scale[0];
  void* y = numbers == PeerNumbers::kInt8 ? codes_.At<void>(set)
            : half                        ? raw_.At<void>(set)
                                          : wide_.At<void>(set);
  bed_.Cudnn()->Run(half ? half_x_.At<void>(set) : device_x_.At<void>(set),
                    half ? half_weights_.Data() : plain_weights_.Data(), scale, y);
}

// cuDNN's result on the first and last image.
bool ConvBench::PeerAgrees(PeerNumbers numbers) {
  const int set = sets_ - 1;
  std::vector<double> got;
  double unit = 1, relative = 1e-6, absolute = 0;
  if (numbers == PeerNumbers::kInt8Float) {
    for (const float v : Ends(wide_.At<float>(set))) got.push_back(double{v});
  } else if (numbers == PeerNumbers::kHalf) {
    unit = std::ldexp(1.0, raw_shift_);
    relative = 1.0 / 1024;
    absolute = unit * 0x1p-24;
    for (const uint16_t v : Ends(raw_.At<uint16_t>(set))) got.push_back(HalfToFloat(v));
  } else {
    unit = 1 / double{norm_.scale[0]};
    absolute = 1.01 * unit;
    for (const int8_t v : Ends(codes_.At<int8_t>(set)))
      got.push_back(double{static_cast<double>(v)});
  }
  for (size_t i = 0; i < got.size(); ++i) {
    double want = acc_[i];
    if (numbers == PeerNumbers::kInt8) want = std::clamp(want, -128 * unit, 127 * unit);
    if (std::fabs(got[i] * unit - want) > std::max(relative * std::fabs(want), absolute))
      return false;
  }
  return got.size() == acc_.size();
}

void ConvBench::MeasurePeers(KernelBenchRow& row) {
  if (bed_.Cudnn() == nullptr) {
    row.peer = bed_.CudnnMissing();
    return;
  }
  double best = 0, best_chain = 0;
  row.peer = "cuDNN has no plan";
  for (const PeerPlan& plan : kPeerPlans) {
    if (!bed_.Cudnn()->Prepare(geometry_, depthwise_, plan.numbers)) continue;
    const double us = 1e6 * bed_.Seconds(sets_, [&](int set) { RunPeer(plan.numbers, set); });
    if (!PeerAgrees(plan.numbers)) {
      row.peer = fmt::format("cuDNN {} gives a wrong result", plan.name);
      continue;
    }
    if (best == 0 || us < best) {
      best = us;
      row.peer = fmt::format("cuDNN {}", plan.name);
    }
    // A batch norm cannot follow outputs of eight bits.
    if (plan.numbers == PeerNumbers::kInt8 || (best_chain != 0 && us >= best_chain)) continue;
    best_chain = us;
    chain_peer_ = plan.numbers;
    has_chain_peer_ = true;
  }
  row.peer_us = best;
}

// After MeasurePeers, which chooses the convolution.
double ConvBench::ChainSeconds(const SiteFaultsView& faults) {
  if (has_chain_peer_) bed_.Cudnn()->Prepare(geometry_, depthwise_, chain_peer_);
  return bed_.Seconds(sets_, [&](int set) { RunChain(set, faults); });
}

std::string ConvBench::ChainText() const {
  if (!has_chain_peer_) return "own convolution";
  return chain_peer_ == PeerNumbers::kInt8Float ? "cuDNN int8 to float32" : "cuDNN fp16";
}

void ConvBench::RunChain(int set, const SiteFaultsView& faults) {
  UnfusedArguments a;
  a.shape = geometry_.Out();
  a.raw_unit = std::ldexp(1.0f, kXExponent + kWeightExponent);
  a.raw = wide_.At<void>(set);
  if (!has_chain_peer_) {
    WindowOutput out;
    out.raw = wide_.At<void>(set);
    Convolve(set, out);
    a.raw_type = RawNumber::kInt32;
  } else {
    RunPeer(chain_peer_, set);
    a.raw_type = RawNumber::kFloat;
    if (chain_peer_ == PeerNumbers::kHalf) {
      a.raw_type = RawNumber::kHalf;
      a.raw = raw_.At<void>(set);
      a.raw_unit = std::ldexp(a.raw_unit, raw_shift_);
    }
  }
  a.sums = sums_.As<float>();
  a.affine = affine_.As<float>();
  a.normalized = normalized_.At<void>(set);
  a.largest = largest_.As<float>();
  a.faults = faults;
  a.exponent = exponents_.As<int>() + 3;
  a.codes = struck_.At<int8_t>(set);
  a.rectified = rectified_.At<int8_t>(set);
  Unfused(a, bed_.S());
}

}  // namespace ftt::cuda
