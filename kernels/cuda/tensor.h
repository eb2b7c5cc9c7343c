// How feature maps, masks and faults lie in device memory. Plain structs, for host and device.
#pragma once

#include <cstdint>

#include "core/host_device.h"
#include "faults/inject.h"
#include "faults/step.h"
#include "kernels/raw_map.h"

namespace ftt::cuda {

// Channels are padded to this many, the bytes of one asynchronous copy. Pad channels hold 0.
inline constexpr int kChannelPad = 16;

FTT_HD constexpr int DivideUp(int v, int by) { return (v + by - 1) / by; }
FTT_HD constexpr int RoundUp(int v, int to) { return DivideUp(v, to) * to; }
// The number of 0 .. last next to `at`.
FTT_HD constexpr int Nearest(int at, int last) {
  at = at < last ? at : last;
  return at > 0 ? at : 0;
}
FTT_HD constexpr int PaddedChannels(int channels) { return RoundUp(channels, kChannelPad); }

// bfloat16, the upper half of a float: gradients of feature maps.
using Bf16 = uint16_t;

// A feature map of all lanes: codes [lanes][images][h][w][Stride()], dense. Straight-through masks
// have one bit per padded element in the same order: [lanes][Pixels()][Stride() / 16] words of 16
// bits, 1 where the gradient passes.
struct MapShape {
  int lanes = 1, images = 1, h = 1, w = 1, channels = 1;

  FTT_HD int Stride() const { return PaddedChannels(channels); }
  FTT_HD int MapPixels() const { return h * w; }
  FTT_HD int Pixels() const { return images * h * w; }  // of one lane
  FTT_HD int64_t LaneElements() const { return int64_t{Pixels()} * Stride(); }
  FTT_HD int64_t LaneMaskWords() const { return LaneElements() / 16; }
};

// Geometry of a convolution or pool over all lanes. Output (oy, ox), tap (ky, kx) reads input row
// oy * stride + origin + ky * dilation, likewise columns; outside the map it reads 0 (pools: no
// tap).
struct WindowGeometry {
  int lanes = 1, images = 1;
  int in_h = 1, in_w = 1, in_channels = 1;
  int out_h = 1, out_w = 1, out_channels = 1;
  int kernel = 1, stride = 1, dilation = 1;
  int origin = 0;     // offset - pad
  bool relu = false;  // on load

  // Whether an output reads the input pixel of its own number and nothing else.
  FTT_HD bool IsPointwise() const {
    return kernel == 1 && stride == 1 && origin == 0 && in_h == out_h && in_w == out_w;
  }
  FTT_HD MapShape In() const { return {lanes, images, in_h, in_w, in_channels}; }
  FTT_HD MapShape Out() const { return {lanes, images, out_h, out_w, out_channels}; }
};

// Statistics of one channel of one lane, in accumulator units; the device's ChannelStats, as
// integers. A new one is what nothing has been added to. A lane's sum of squares must stay below
// 2^63, e.g. 2^20 values whose root mean square is 3 million steps.
struct ChannelMoments {
  int64_t sum = 0, sum_squares = 0;
  int32_t min = INT32_MAX, max = INT32_MIN;
};

// Where blocks add their moments atomically, in any order: [lanes][kMomentRows] rows. Blocks share
// out the rows, and what one instruction adds lies side by side, because additions to one place
// wait for each other. Minima and maxima are kept as keys of which the largest counts; a row of
// zeros is empty.
inline constexpr int kMomentRows = 8;
inline constexpr int64_t kMomentBytes = 24;  // of a channel in a row
struct MomentRow {
  int64_t *sum, *sum_squares;     // [stride]
  uint32_t *min_keys, *max_keys;  // [stride]

  FTT_HD MomentRow(int64_t* moments, int lane, int row, int stride) {
    sum = moments + (int64_t{lane} * kMomentRows + row) * stride * (kMomentBytes / 8);
    sum_squares = sum + stride;
    min_keys = reinterpret_cast<uint32_t*>(sum_squares + stride);
    max_keys = min_keys + stride;
  }
  FTT_HD static uint32_t MaxKey(int32_t v) { return static_cast<uint32_t>(v) ^ 0x80000000u; }
  FTT_HD static uint32_t MinKey(int32_t v) { return MaxKey(~v); }
  FTT_HD ChannelMoments Read(int channel) const {
    return {sum[channel], sum_squares[channel],
            ~static_cast<int32_t>(min_keys[channel] ^ 0x80000000u),
            static_cast<int32_t>(max_keys[channel] ^ 0x80000000u)};
  }
};

// What was delivered by one term on one lane: hits by cell % 8 (+ 8 where the value is one). Hits
// of kEvery count as 0 (down) and 8 (up); of kColumns by column_bit.
struct HitCounts {
  uint64_t kind[16];
};

// Feature faults of one site on one lane, in device memory; the tables that the steps point to are
// there, too.
struct LaneFaultSteps {
  const FaultStep* steps = nullptr;  // [count]
  int count = 0;
  FaultMoment moment;
  HitCounts* hits = nullptr;  // [kMaxFaultTerms], added to; null: not counted
};

// Faults of a site drawn before its codes exist, by DrawStrikes (strikes.h), which counts them,
// too.
struct StrikeList {
  const uint32_t* words = nullptr;  // [lanes][images][tiles][slots], see StruckCode; null: no list
  int64_t lane_words = 0;
  int tiles = 0, slots = 0;
  uint64_t lanes = 0;  // bit l: lane l has faults
  uint8_t model = 0, bits = 8;

  FTT_HD bool Strikes(int lane) const { return words != nullptr && (lanes >> lane & 1) != 0; }
};

// Faults of one site for all lanes; `lanes` may be null: none. Without a list a block draws the
// faults of the codes that it has computed.
struct SiteFaultsView {
  const LaneFaultSteps* lanes = nullptr;  // [lanes], device memory
  const uint32_t* image_ids = nullptr;    // [images], device memory
  bool collects = false;                  // some step can hit several cells of one code
  StrikeList list;

  // Whether codes pass through shared memory, where a block draws their faults.
  FTT_HD bool Staged() const { return lanes != nullptr && list.words == nullptr; }
};

// Where a convolution or pool writes. Training: `raw` and, if wanted, statistics, which are added
// to rows of `moments` (MomentRow) and merged by FinishNorm. Deployment (`codes` set): the affine
// map, quantization and faults are applied at once.
struct WindowOutput {
  RawType raw_type = RawType::kInt32;
  int raw_shift = 0;
  void* raw = nullptr;
  int64_t* moments = nullptr;
  int bits = 8;
  // [lanes][Stride()], or one for all lanes; 0 in pads, aligned to 16 bytes.
  const float* scale = nullptr;
  const float* shift = nullptr;
  bool one_norm = false;
  SiteFaultsView faults;
  int8_t* codes = nullptr;
};

}  // namespace ftt::cuda
