// Internal: exact int8 forward kernel. Included by one file per instruction set.
//
// Rows of codes are packed kTaps rows to a 32-bit lane (each packed row follows from the one above
// it with one shift), so an output vector costs kernel * ceil(kernel / kTaps) dot products. Blocks
// of vectors one period apart share the loads of the weights.
#pragma once

#include "kernels/cpu/depthwise_lines.h"
#include "kernels/cpu/depthwise_table.h"

namespace ftt::cpu {
namespace {

constexpr int kMaxDots = 15;  // 5 columns by 3 groups of 2 rows

// Rows of taps in groups of kTaps. The last group may overlap the one before, then its first
// weights are zero.
constexpr int Groups(int kernel) { return (kernel + kTaps - 1) / kTaps; }
inline int GroupRow(int kernel, int group) { return Min(group * kTaps, Max(0, kernel - kTaps)); }
inline int LastGroupRow(int kernel) { return GroupRow(kernel, Groups(kernel) - 1); }
// Tap row that slot `slot` of a group stands for, or -1.
inline int GroupTap(int kernel, int group, int slot) {
  const int tap = GroupRow(kernel, group) + slot;
  return tap >= group * kTaps && tap < kernel ? tap : -1;
}

// Packed weights: per phase of the period, one vector that starts the sum of signed codes and then
// one vector per (group, column).
inline int64_t ForwardWeightVectors(const DepthwiseShape& s) {
  return static_cast<int64_t>(Period(s.channels)) * (1 + Groups(s.kernel) * s.kernel);
}

size_t ForwardWeightBytes(const DepthwiseShape& s) {
  return static_cast<size_t>(ForwardWeightVectors(s)) * kLanes * sizeof(int32_t);
}

inline int32_t PackedWeight(int kernel, const int8_t* filter, int group, int column) {
  constexpr int kBits = 32 / kTaps;
  uint32_t packed = 0;
  for (int slot = 0; slot < kTaps; ++slot) {
    const int tap = GroupTap(kernel, group, slot);
    const int weight = tap < 0 ? 0 : filter[tap * kernel + column];
    packed |= (static_cast<uint32_t>(weight) & ((1u << kBits) - 1u)) << (kBits * slot);
  }
  return static_cast<int32_t>(packed);
}

void PackForward(const DepthwiseShape& s, const int8_t* weights, void* packed) {
  const int taps = s.kernel * s.kernel, groups = Groups(s.kernel);
  auto* out = static_cast<int32_t*>(packed);
  const int64_t phase_step = static_cast<int64_t>(1 + groups * s.kernel) * kLanes;
  const int positions = Period(s.channels) * kLanes;
  for (int channel = 0; channel < s.channels; ++channel) {
    const int8_t* filter = weights + static_cast<int64_t>(channel) * taps;
    int32_t vectors[1 + kMaxDots] = {};
    for (int t = 0; t < taps; ++t) vectors[0] -= kSignedOffset * filter[t];
    for (int group = 0; group < groups; ++group) {
      for (int column = 0; column < s.kernel; ++column) {
        vectors[1 + group * s.kernel + column] = PackedWeight(s.kernel, filter, group, column);
      }
    }
    for (int at = channel; at < positions; at += s.channels) {
      int32_t* lane = out + at / kLanes * phase_step + at % kLanes;
      for (int i = 0; i <= groups * s.kernel; ++i) lane[i * kLanes] = vectors[i];
    }
  }
}

// A packed row may follow from one so many dilations above it.
constexpr int kRowsAbove = Min(kTaps - 1, 2);

struct ForwardRun {
  ForwardRun(const DepthwiseShape& shape, bool relu_on_load, void* scratch)
      : s(shape), lines(InputLines(shape)), relu(relu_on_load) {
    // Those that an output row reads, and those that a new one follows from: no more, since they
    // should fit the first-level cache.
    packed_rows = Max(LastGroupRow(s.kernel), kRowsAbove) * s.dilation + 1;
    byte_rows = (LastGroupRow(s.kernel) + kTaps - 1) * s.dilation + 1;
    Carver carver(scratch);
    const int64_t line = lines.Line() + 64;
    zero_line = carver.Take<uint8_t>(line);
    byte_ring = carver.Take<uint8_t>(byte_rows * line);
    packed_ring = carver.Take<int32_t>(packed_rows * line);
    codes = carver.Take<uint8_t>(static_cast<int64_t>(s.in_w) * s.channels + kChunk);
    byte_tags = carver.Take<int>(byte_rows);
    packed_tags = carver.Take<int>(packed_rows);
    bytes = carver.Used();
    if (scratch == nullptr) return;
    Fill(zero_line, line, ZeroCode());
    Fill(byte_ring, byte_rows * line, ZeroCode());
  }

  uint8_t ZeroCode() const { return relu ? 0 : kSignedOffset; }

  void StartImage(const int8_t* image) {
    x = image;
    Fill(byte_tags, byte_rows, kNone);
    Fill(packed_tags, packed_rows, kNone);
  }

  const uint8_t* ByteRow(int row) {
    if (row < 0 || row >= s.in_h) return zero_line;
    const int slot = row % byte_rows;
    uint8_t* line = byte_ring + slot * (lines.Line() + 64);
    if (byte_tags[slot] != row) {
      byte_tags[slot] = row;
      StageRow(x + static_cast<int64_t>(row) * s.in_w * s.channels, line);
    }
    return line;
  }

  void ConvertCodes(const int8_t* from, int count, uint8_t* to) const {
    if (relu) {
      for (int i = 0; i < count; ++i) to[i] = static_cast<uint8_t>(from[i] > 0 ? from[i] : 0);
    } else {
      for (int i = 0; i < count; ++i) to[i] = static_cast<uint8_t>(from[i] + kSignedOffset);
    }
  }

  void StageRow(const int8_t* row, uint8_t* line) {
    if (s.stride == 1) {
      ConvertCodes(row, PixelsUsed(lines, s.in_w) * s.channels, line + s.pad * s.channels);
    } else {
      ConvertCodes(row, s.in_w * s.channels, codes);
      SpreadPixels(lines, codes, s.in_w, ZeroCode(), line);
    }
  }

  int32_t* PackedSlot(int row, int** tag) const {
    const int slot = (row + packed_rows * 64) % packed_rows;  // row >= -pad, less two dilations
    *tag = packed_tags + slot;
    return packed_ring + slot * (lines.Line() + 64);
  }

  // Packed codes of rows row, row + dilation, ...: from the packed row one or two dilations above,
  // or afresh.
  const int32_t* PackedRow(int row) {
    int *tag, *above_tag;
    int32_t* packed = PackedSlot(row, &tag);
    if (*tag == row) return packed;
    *tag = row;
    const uint8_t* rows[kTaps];
    for (int back = 1; back <= kRowsAbove; ++back) {
      const int32_t* above = PackedSlot(row - back * s.dilation, &above_tag);
      if (*above_tag != row - back * s.dilation) continue;
      for (int t = kTaps - back; t < kTaps; ++t) rows[t] = ByteRow(row + t * s.dilation);
      if (back == 1) {
        AdvanceRow<1>(above, rows, packed);
      } else {
        AdvanceRow<2>(above, rows, packed);
      }
      return packed;
    }
    for (int t = 0; t < kTaps; ++t) rows[t] = ByteRow(row + t * s.dilation);
    AdvanceRow<kTaps>(packed, rows, packed);
    return packed;
  }

  template <int kNew>
  void AdvanceRow(const int32_t* above, const uint8_t* const* rows, int32_t* packed) const {
    const int64_t line = lines.Line();
    FTT_UNROLL_SOME
    for (int64_t i = 0; i < line; i += kLanes) {
      Ints codes = kNew < kTaps ? Load(above + i) : Ints{};
      FTT_UNROLL
      for (int t = kTaps - Min(kNew, kTaps); t < kTaps; ++t)
        codes = Advance(codes, Extend(rows[t] + i));
      Store(packed + i, codes);
    }
  }

  static constexpr int kNone = -1000000;

  const DepthwiseShape& s;
  LinePlan lines;
  bool relu;
  int packed_rows, byte_rows;
  size_t bytes;
  const int8_t* x = nullptr;
  uint8_t *zero_line, *byte_ring, *codes;
  int32_t* packed_ring;
  int *byte_tags, *packed_tags;
};

// kBlock output vectors, `step` values apart; the last one may be partial.
template <int kDots, int kBlock>
inline void ForwardBlock(const int32_t* const* data, int64_t at, int64_t step,
                         const int32_t* weights, bool use_start, int32_t* out, int last_count) {
  Ints sums[kBlock];
  const Ints start = use_start ? Load(weights) : Ints{};
  FTT_UNROLL
  for (int b = 0; b < kBlock; ++b) sums[b] = start;
  FTT_UNROLL
  for (int dot = 0; dot < kDots; ++dot) {
    const Ints w = Load(weights + (1 + dot) * kLanes);
    const int32_t* from = data[dot] + at;
    KeepAsOne(from);
    FTT_UNROLL
    for (int b = 0; b < kBlock; ++b) {
      sums[b] = Dot(sums[b], Load(from + b * step), w);
      KeepInRegister(sums[b]);
    }
  }
  if (last_count < kLanes) {
    StoreFirst(out + at, sums[0], last_count);
    return;
  }
  FTT_UNROLL
  for (int b = 0; b < kBlock; ++b) Store(out + at + b * step, sums[b]);
}

template <int kKernel>
void ForwardRow(const DepthwiseShape& s, const int32_t* const* data, const int32_t* weights,
                bool use_start, int32_t* out) {
  constexpr int kDots = Groups(kKernel) * kKernel;
  const int period = Period(s.channels), length = s.out_w * s.channels, full = length / kLanes;
  const int64_t step = static_cast<int64_t>(period) * kLanes;
  const int64_t weight_step = static_cast<int64_t>(1 + kDots) * kLanes;
  for (int phase = 0; phase < Min(period, full); ++phase) {
    const int32_t* w = weights + phase * weight_step;
    int v = phase;
    for (; v + 3 * period < full; v += 4 * period) {
      ForwardBlock<kDots, 4>(data, v * kLanes, step, w, use_start, out, kLanes);
    }
    for (; v + period < full; v += 2 * period) {
      ForwardBlock<kDots, 2>(data, v * kLanes, step, w, use_start, out, kLanes);
    }
    if (v < full) ForwardBlock<kDots, 1>(data, v * kLanes, step, w, use_start, out, kLanes);
  }
  if (length % kLanes != 0) {
    ForwardBlock<kDots, 1>(data, full * kLanes, step, weights + full % period * weight_step,
                           use_start, out, length % kLanes);
  }
}

inline void RunForwardRow(const DepthwiseShape& s, const int32_t* const* data,
                          const int32_t* weights, bool use_start, int32_t* out) {
  switch (s.kernel) {
    case 1:
      return ForwardRow<1>(s, data, weights, use_start, out);
    case 2:
      return ForwardRow<2>(s, data, weights, use_start, out);
    case 3:
      return ForwardRow<3>(s, data, weights, use_start, out);
    case 4:
      return ForwardRow<4>(s, data, weights, use_start, out);
    default:
      return ForwardRow<5>(s, data, weights, use_start, out);
  }
}

size_t ForwardScratchBytes(const DepthwiseShape& s) { return ForwardRun(s, false, nullptr).bytes; }

void Forward(const DepthwiseShape& s, const int8_t* x, bool relu, const void* packed, int32_t* raw,
             const DepthwiseTaker* taker, void* scratch) {
  ForwardRun run(s, relu, scratch);
  const auto* weights = static_cast<const int32_t*>(packed);
  const int32_t* data[kMaxDots];
  int64_t offsets[kMaxKernel];
  for (int k = 0; k < s.kernel; ++k) offsets[k] = run.lines.Offset(k * s.dilation);
  const int all = s.images * s.out_h, at_a_time = taker == nullptr ? all : taker->rows;
  int taken = 0, done = 0;  // rows
  for (int n = 0; n < s.images; ++n) {
    run.StartImage(x + static_cast<int64_t>(n) * s.in_h * s.in_w * s.channels);
    for (int oy = 0; oy < s.out_h; ++oy) {
      for (int group = 0; group < Groups(s.kernel); ++group) {
        const int32_t* row =
            run.PackedRow(oy * s.stride - s.pad + GroupRow(s.kernel, group) * s.dilation);
        for (int k = 0; k < s.kernel; ++k) data[group * s.kernel + k] = row + offsets[k];
      }
      RunForwardRow(s, data, weights, !relu && kSignedOffset != 0,
                    raw + static_cast<int64_t>(done - taken) * s.out_w * s.channels);
      ++done;
      if (taker == nullptr || (done - taken < at_a_time && done < all)) continue;
      taker->take(taker->context, taken, done - taken);
      taken = done;
    }
  }
}

}  // namespace
}  // namespace ftt::cpu
