// Internal: float32 gradient of the data. Included by one file per instruction set.
//
// The positions of diff_x fall into stride * stride classes by their remainders. Within a class the
// gradient is a stride-1 correlation of diff_y with some of the taps, mirrored. A block computes
// kRows rows times kBlock vectors, so that a loaded value serves every row of taps and a loaded
// weight serves the whole block.
#pragma once

#include "kernels/cpu/depthwise_lines.h"

namespace ftt::cpu {
namespace {

// One dimension of a class: the position first + stride * i reads diff_y at i + base + t * step
// with tap tap_last - t * tap_step, for t in [0, taps).
struct TapClass {
  int taps = 0, tap_last = 0, tap_step = 1;
  int base = 0, step = 1;
  int count = 0;  // positions in this class
};

inline TapClass MakeTapClass(const DepthwiseShape& s, int first, int size) {
  TapClass c;
  const int g = Gcd(s.dilation, s.stride);
  c.tap_step = s.stride / g;
  c.step = s.dilation / g;
  c.count = first < size ? CeilDiv(size - first, s.stride) : 0;
  for (int k = 0; k < s.kernel; ++k) {
    if ((first + s.pad + s.kernel * s.dilation * s.stride - k * s.dilation) % s.stride != 0)
      continue;
    ++c.taps;
    c.tap_last = k;
  }
  if (c.taps > 0) c.base = (first + s.pad - c.tap_last * s.dilation) / s.stride;  // exact
  return c;
}

size_t BackwardDataWeightBytes(const DepthwiseShape& s) {
  return static_cast<size_t>(Period(s.channels)) * s.kernel * s.kernel * kLanes * sizeof(float);
}

// Order: class row, class column, phase, column of taps, row of taps.
void PackBackwardData(const DepthwiseShape& s, const int8_t* weights, float unit, void* packed) {
  auto* out = static_cast<float*>(packed);
  const int positions = Period(s.channels) * kLanes;
  for (int c = 0; c < s.stride * s.stride; ++c) {
    const TapClass cy = MakeTapClass(s, c / s.stride, s.in_h),
                   cx = MakeTapClass(s, c % s.stride, s.in_w);
    const int taps = cx.taps * cy.taps;
    for (int tx = 0; tx < cx.taps; ++tx) {
      for (int ty = 0; ty < cy.taps; ++ty) {
        const int kx = cx.tap_last - tx * cx.tap_step, ky = cy.tap_last - ty * cy.tap_step;
        const int8_t* tap = weights + ky * s.kernel + kx;
        float* vector = out + (tx * cy.taps + ty) * kLanes;
        for (int at = 0, channel = 0; at < positions; ++at) {
          vector[at / kLanes * taps * kLanes + at % kLanes] =
              unit * static_cast<float>(tap[channel * s.kernel * s.kernel]);
          channel = channel + 1 == s.channels ? 0 : channel + 1;
        }
      }
    }
    out += static_cast<int64_t>(taps) * positions;
  }
}

// diff_y as lines with `left` pixels of zeros before them, in a ring of as many rows as a group of
// blocks reads.
struct DiffLines {
  DiffLines(const DepthwiseShape& shape, void* scratch) : s(shape) {
    for (int first = 0; first < s.stride; ++first)
      left = Max(left, -MakeTapClass(s, first, s.in_w).base);
    int64_t read = static_cast<int64_t>(left + s.out_w) * s.channels;
    for (int first = 0; first < s.stride; ++first) {
      const TapClass c = MakeTapClass(s, first, s.in_w);
      const int64_t outputs = RoundUp(static_cast<int64_t>(c.count) * s.channels, kLanes);
      const int64_t end =
          static_cast<int64_t>(left + c.base + (c.taps - 1) * c.step) * s.channels + outputs;
      read = end > read ? end : read;
      widest = outputs > widest ? outputs : widest;
    }
    line = RoundUp(read, kChunk);
    // With a stride, every class goes over the whole map again.
    ring = s.stride > 1 ? s.out_h : Min(s.out_h, (kRows + s.kernel - 1) * s.dilation);
    Carver carver(scratch);
    zero_line = carver.Take<float>(line);
    rows = carver.Take<float>(line * ring);
    for (float*& t : temp) t = carver.Take<float>(widest);
    bytes = carver.Used();
    if (scratch == nullptr) return;
    Fill(zero_line, line, 0.0f);
    const int64_t begin = static_cast<int64_t>(left) * s.channels,
                  end = begin + static_cast<int64_t>(s.out_w) * s.channels;
    for (int r = 0; r < ring; ++r) FillBorders(rows + r * line, begin, end, line, 0.0f);
  }

  void StartImage(const float* image) {
    diff_y = image;
    staged = 0;
  }
  // Rows are staged in order, just before their first use.
  const float* Row(int row) {
    if (row < 0 || row >= s.out_h) return zero_line;
    const int64_t length = static_cast<int64_t>(s.out_w) * s.channels;
    for (; staged <= row; ++staged) {
      std::memcpy(rows + staged % ring * line + static_cast<int64_t>(left) * s.channels,
                  diff_y + staged * length, static_cast<size_t>(length) * sizeof(float));
    }
    return rows + row % ring * line;
  }

  const DepthwiseShape& s;
  int left = 0, ring = 0;
  int64_t line = 0, widest = 0;
  size_t bytes = 0;
  float *zero_line, *rows, *temp[kRows];
  const float* diff_y = nullptr;
  int staged = 0;
};

struct DataBlock {
  const float* rows[kRows + kMaxKernel - 1];  // diff_y lines
  int64_t offsets[kMaxKernel];                // of the columns of taps
  int columns = 0, valid_rows = 0;
  float* out[kRows];
};

template <int kTapRows, int kBlock>
inline void BackwardDataBlock(const DataBlock& block, int64_t at, int64_t step,
                              const float* weights, int count) {
  Floats sums[kRows][kBlock];
  FTT_UNROLL
  for (int r = 0; r < kRows; ++r) {
    FTT_UNROLL
    for (int b = 0; b < kBlock; ++b) sums[r][b] = Zero();
  }
  for (int column = 0; column < block.columns; ++column) {
    Floats w[kTapRows];
    FTT_UNROLL
    for (int t = 0; t < kTapRows; ++t) w[t] = Load(weights + (column * kTapRows + t) * kLanes);
    const int64_t from = block.offsets[column] + at;
    FTT_UNROLL
    for (int row = 0; row < kRows + kTapRows - 1; ++row) {
      FTT_UNROLL
      for (int b = 0; b < kBlock; ++b) {
        const Floats value = Load(block.rows[row] + from + b * step);
        FTT_UNROLL
        for (int t = 0; t < kTapRows; ++t) {
          if (row - t >= 0 && row - t < kRows)
            sums[row - t][b] = MultiplyAdd(value, w[t], sums[row - t][b]);
        }
      }
    }
  }
  FTT_UNROLL
  for (int r = 0; r < kRows; ++r) {
    if (r >= block.valid_rows) break;
    if (count < kLanes) {
      StoreFirst(block.out[r] + at, sums[r][0], count);
      continue;
    }
    FTT_UNROLL
    for (int b = 0; b < kBlock; ++b) Store(block.out[r] + at + b * step, sums[r][b]);
  }
}

template <int kTapRows>
void BackwardDataRows(const DataBlock& block, int length, int period, const float* weights) {
  constexpr int kBlock = kLanes == 16 ? 4 : 2;  // as many sums as fit in the registers
  const int full = length / kLanes;
  const int64_t step = static_cast<int64_t>(period) * kLanes;
  const int64_t weight_step = static_cast<int64_t>(block.columns) * kTapRows * kLanes;
  for (int phase = 0; phase < Min(period, full); ++phase) {
    const float* w = weights + phase * weight_step;
    int v = phase;
    for (; v + (kBlock - 1) * period < full; v += kBlock * period) {
      BackwardDataBlock<kTapRows, kBlock>(block, v * kLanes, step, w, kLanes);
    }
    for (; v + period < full; v += 2 * period) {
      BackwardDataBlock<kTapRows, 2>(block, v * kLanes, step, w, kLanes);
    }
    if (v < full) BackwardDataBlock<kTapRows, 1>(block, v * kLanes, step, w, kLanes);
  }
  if (length % kLanes != 0) {
    BackwardDataBlock<kTapRows, 1>(block, full * kLanes, step,
                                   weights + full % period * weight_step, length % kLanes);
  }
}

inline void RunDataRows(const DataBlock& block, int tap_rows, int length, int period,
                        const float* weights) {
  switch (tap_rows) {
    case 1:
      return BackwardDataRows<1>(block, length, period, weights);
    case 2:
      return BackwardDataRows<2>(block, length, period, weights);
    case 3:
      return BackwardDataRows<3>(block, length, period, weights);
    case 4:
      return BackwardDataRows<4>(block, length, period, weights);
    default:
      return BackwardDataRows<5>(block, length, period, weights);
  }
}

// Spreads a row of one class over its columns of diff_x.
inline void ScatterPixels(const DepthwiseShape& s, const float* from, int count, float* to) {
  for (int i = 0; i < count;
       ++i, from += s.channels, to += static_cast<int64_t>(s.stride) * s.channels) {
    int c = 0;
    for (; c + kLanes <= s.channels; c += kLanes) Store(to + c, Load(from + c));
    if (c < s.channels) StoreFirst(to + c, LoadFirst(from + c, s.channels - c), s.channels - c);
  }
}

// Rows i0, i0 + step, ... (kRows of them) of class (py, px) of one image.
void BackwardDataClassRows(const TapClass& cy, const TapClass& cx, int py, int px, int i0,
                           DiffLines& lines, const float* weights, float* image) {
  const DepthwiseShape& s = lines.s;
  DataBlock block;
  block.columns = cx.taps;
  block.valid_rows = Min(kRows, CeilDiv(cy.count - i0, cy.step));
  for (int r = 0; r < kRows + cy.taps - 1; ++r)
    block.rows[r] = lines.Row(i0 + cy.base + r * cy.step);
  for (int t = 0; t < cx.taps; ++t) {
    block.offsets[t] = static_cast<int64_t>(lines.left + cx.base + t * cx.step) * s.channels;
  }
  float* rows[kRows];
  for (int r = 0; r < block.valid_rows; ++r) {
    const int64_t y = py + static_cast<int64_t>(s.stride) * (i0 + r * cy.step);
    rows[r] = image + (y * s.in_w + px) * s.channels;
    block.out[r] = s.stride == 1 ? rows[r] : lines.temp[r];
  }
  RunDataRows(block, cy.taps, cx.count * s.channels, Period(s.channels), weights);
  if (s.stride == 1) return;
  for (int r = 0; r < block.valid_rows; ++r) ScatterPixels(s, lines.temp[r], cx.count, rows[r]);
}

inline void BackwardDataImage(DiffLines& lines, const float* weights, float* image) {
  const DepthwiseShape& s = lines.s;
  for (int py = 0; py < s.stride; ++py) {
    const TapClass cy = MakeTapClass(s, py, s.in_h);
    for (int px = 0; px < s.stride; ++px) {
      const TapClass cx = MakeTapClass(s, px, s.in_w);
      const int taps = cy.taps * cx.taps;
      for (int first = 0; first < cy.count && taps > 0 && cx.count > 0; first += kRows * cy.step) {
        for (int i0 = first; i0 < Min(first + cy.step, cy.count); ++i0) {
          BackwardDataClassRows(cy, cx, py, px, i0, lines, weights, image);
        }
      }
      weights += static_cast<int64_t>(taps) * Period(s.channels) * kLanes;
    }
  }
}

size_t BackwardDataScratchBytes(const DepthwiseShape& s) { return DiffLines(s, nullptr).bytes; }

void BackwardData(const DepthwiseShape& s, const float* diff_y, const void* packed, float* diff_x,
                  void* scratch) {
  DiffLines lines(s, scratch);
  const int64_t in = static_cast<int64_t>(s.in_h) * s.in_w * s.channels;
  const int64_t out = static_cast<int64_t>(s.out_h) * s.out_w * s.channels;
  // Classes without taps get no gradient.
  bool holes = false;
  for (int first = 0; first < s.stride; ++first) {
    holes |= MakeTapClass(s, first, s.in_h).taps == 0 || MakeTapClass(s, first, s.in_w).taps == 0;
  }
  if (holes) std::memset(diff_x, 0, static_cast<size_t>(s.images * in) * sizeof(float));
  for (int n = 0; n < s.images; ++n) {
    lines.StartImage(diff_y + n * out);
    BackwardDataImage(lines, static_cast<const float*>(packed), diff_x + n * in);
  }
}

}  // namespace
}  // namespace ftt::cpu
