#include "kernels/cpu/pair_conv.h"

#include <cstring>

#include "core/error.h"

#ifdef FTT_X86
#include "kernels/cpu/pair_avx2.h"
#endif

namespace ftt::cpu {
namespace {

// Staged rows share the first-level cache with the weights of 16 channels.
constexpr int64_t kStagedBytes = 12 << 10;
constexpr int kStepBytes = 4;

// Bytes of the filter that lie next to each other in the staged map: a row of taps, or one dilated
// tap.
int SegmentCodes(const DirectShape& s) { return s.dilation == 1 ? s.kernel * s.in_c : s.in_c; }
int Segments(const DirectShape& s) { return s.dilation == 1 ? s.kernel : s.kernel * s.kernel; }

// Staged pixels, or rows, that so many outputs read.
int Reach(const PairPlan& plan, int outputs) {
  return (outputs - 1) * plan.step + plan.shape.dilation * (plan.shape.kernel - 1) + 1;
}

int64_t StagedBytes(const PairPlan& plan, int output_rows) {
  return Reach(plan, output_rows) * plan.staged_w * plan.PixelBytes();
}

// Channels of the next block where so many are left: what takes the fewest products.
int BlockChannels(int left) { return left > 12 ? 16 : left > 4 ? 8 : 4; }

PairPlan MakePlan(const DirectShape& s, bool relu) {
  PairPlan plan;
  plan.shape = s;
  plan.relu = relu;
  plan.sample = s.kernel == 1 ? s.stride : 1;
  plan.step = s.kernel == 1 ? 1 : s.stride;
  plan.staged_w = Reach(plan, s.out_w);
  plan.block_rows = 1;
  while (StagedBytes(plan, plan.block_rows + 1) <= kStagedBytes) ++plan.block_rows;
  return plan;
}

}  // namespace

bool PairConv::Available() {
#ifdef FTT_X86
  static const bool available =
      __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("avx512bw") == 0;
  return available;
#else
  return false;
#endif
}

PairConv::PairConv(const DirectShape& s, bool relu, const int8_t* weights) {
  FTT_CHECK(std::min({s.in_h, s.in_w, s.in_c, s.out_h, s.out_w, s.out_c, s.kernel, s.stride,
                      s.dilation}) > 0,
            "convolution by pairs {}x{}x{} -> {}x{}x{}, kernel {}: sizes must be positive", s.in_h,
            s.in_w, s.in_c, s.out_h, s.out_w, s.out_c, s.kernel);
  plan_ = MakePlan(s, relu);
  flat_ = s.kernel == 1 && s.stride == 1 && s.pad == 0 && s.in_h == s.out_h && s.in_w == s.out_w;
  for (int g = 0; g < Segments(s); ++g) {
    const int y = s.dilation == 1 ? g : g / s.kernel, x = s.dilation == 1 ? 0 : g % s.kernel;
    const int64_t first = (int64_t{y} * plan_.staged_w + x) * s.dilation * plan_.PixelBytes();
    for (int i = 0; i < SegmentCodes(s) * plan_.CodeBytes(); i += kStepBytes)
      offsets_.push_back(static_cast<int32_t>(first + i));
  }
  for (int channel = 0; channel < s.out_c; channel += blocks_.back().channels)
    blocks_.push_back(MakeBlock(weights, channel));
}

PairConv::Block PairConv::MakeBlock(const int8_t* weights, int channel) const {
  const DirectShape& s = plan_.shape;
  Block block{channel, BlockChannels(s.out_c - channel), {}};
  const int codes = kStepBytes / plan_.CodeBytes(), segment = SegmentCodes(s);
  const int64_t step = int64_t{block.channels} * kStepBytes;
  block.weights.resize(offsets_.size() * static_cast<size_t>(step));
  for (int c = 0; c < std::min(block.channels, s.out_c - channel); ++c) {
    const int8_t* from = weights + int64_t{channel + c} * s.kernel * s.kernel * s.in_c;
    int8_t* to = block.weights.data() + c * kStepBytes;
    for (int g = 0; g < Segments(s); ++g, from += segment) {
      for (int i = 0; i < segment; i += codes, to += step) {
        for (int k = 0; k < std::min(codes, segment - i); ++k) {
          if (plan_.relu) {
            to[k] = from[i + k];
          } else {
            const int16_t wide = from[i + k];
            std::memcpy(to + 2 * k, &wide, sizeof wide);
          }
        }
      }
    }
  }
  return block;
}

void PairConv::Begin(Scratch& scratch) const {
  const int64_t bytes = StagedBytes(plan_, plan_.block_rows) + kStagedSlack;
  scratch.staged.Resize(bytes);
  std::memset(scratch.staged.Data(), 0, static_cast<size_t>(bytes));
}

void PairConv::Sum(const int8_t* x, int images, int first, int rows, Scratch& scratch,
                   int32_t* sums) const {
#ifdef FTT_X86
  const DirectShape& s = plan_.shape;
  const int out_h = flat_ ? images * s.out_h : s.out_h;
  const int in_h = flat_ ? images * s.in_h : s.in_h;
  auto* staged = scratch.staged.As<uint8_t>();
  while (rows > 0) {
    const int y = first % out_h, count = std::min({plan_.block_rows, rows, out_h - y});
    PairStageAvx2(plan_, x + int64_t{first / out_h} * in_h * s.in_w * s.in_c, in_h, y * plan_.step,
                  Reach(plan_, count), staged);
    // The last channels first: what they spill belongs to the next pixels.
    for (size_t b = blocks_.size(); b-- > 0;) {
      const Block& block = blocks_[b];
      PairRowsAvx2(plan_,
                   {block.channel, block.channels, static_cast<int>(offsets_.size()),
                    offsets_.data(), block.weights.data()},
                   staged, count, sums);
    }
    sums += int64_t{count} * s.out_w * s.out_c;
    first += count;
    rows -= count;
  }
#else
  (void)x, (void)images, (void)first, (void)rows, (void)scratch, (void)sums;
#endif
}

}  // namespace ftt::cpu
