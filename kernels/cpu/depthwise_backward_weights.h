// Internal: float32 gradient of the weights. Included by one file per instruction set.
//
// Every (tap, phase of the period) has a vector of sums. A block multiplies kRows rows of diff_y,
// one vector each, with all rows of x that meet them, so that a loaded value of x serves up to
// kRows taps of its column.
#pragma once

#include "kernels/cpu/depthwise_lines.h"

namespace ftt::cpu {
namespace {

// Columns of taps whose sums fit in the registers together.
constexpr int ColumnsAtOnce(int kernel) { return kLanes == 16 || kernel <= 3 ? kernel : 2; }

struct WeightsRun {
  WeightsRun(const DepthwiseShape& shape, void* scratch) : s(shape), lines(InputLines(shape)) {
    Carver carver(scratch);
    const int64_t length = RoundUp(static_cast<int64_t>(s.out_w) * s.channels, kLanes);
    sum_count = static_cast<int64_t>(Period(s.channels)) * s.kernel * s.kernel * kLanes;
    sums = carver.Take<float>(sum_count);
    zero_x = carver.Take<float>(lines.Line());
    zero_y = carver.Take<float>(length);
    tails = carver.Take<float>(kRows * kLanes);
    codes = carver.Take<float>(static_cast<int64_t>(s.in_w) * s.channels + kChunk);
    // A group of blocks covers kRows * step rows of diff_y, step = dilation / gcd(dilation,
    // stride).
    ring = Min(s.in_h, kRows * s.stride * s.dilation + (s.kernel - 1) * s.dilation);
    rows = carver.Take<float>(lines.Line() * ring);
    bytes = carver.Used();
    if (scratch == nullptr) return;
    Fill(sums, sum_count, 0.0f);
    Fill(zero_x, lines.Line(), 0.0f);
    Fill(zero_y, length, 0.0f);
    for (int r = 0; r < ring; ++r) FillLineBorders(lines, s.in_w, 0.0f, rows + r * lines.Line());
  }

  void StartImage(const int8_t* image) {
    x = image;
    staged = 0;
  }

  const float* Row(int row) {
    if (row < 0 || row >= s.in_h) return zero_x;
    const int length = s.in_w * s.channels;
    for (; staged <= row; ++staged) {
      const int8_t* from = x + static_cast<int64_t>(staged) * length;
      float* line = rows + staged % ring * lines.Line();
      if (s.stride == 1) {
        ConvertCodes(from, PixelsUsed(lines, s.in_w) * s.channels, line + s.pad * s.channels);
      } else {
        ConvertCodes(from, length, codes);
        SpreadPixels(lines, codes, s.in_w, 0.0f, line);
      }
    }
    return rows + row % ring * lines.Line();
  }

  void ConvertCodes(const int8_t* from, int count, float* to) const {
    if (relu) {
      for (int i = 0; i < count; ++i) to[i] = static_cast<float>(from[i] > 0 ? from[i] : 0);
    } else {
      for (int i = 0; i < count; ++i) to[i] = static_cast<float>(from[i]);
    }
  }

  const DepthwiseShape& s;
  LinePlan lines;
  bool relu = false;
  int ring = 0;
  int64_t sum_count = 0;
  size_t bytes = 0;
  float *sums, *zero_x, *zero_y, *tails, *codes, *rows;
  const int8_t* x = nullptr;
  int staged = 0;
};

struct WeightsBlock {
  const float* x[2 * (kRows - 1) + kMaxKernel];
  const float* diff_y[kRows];
  int64_t offsets[kMaxKernel];
};

// Adds the products of `count` vectors, `step` apart, to the sums of kColumns columns of taps. Row
// r of diff_y meets tap row t at row kSigma * r + t of x.
template <int kKernel, int kSigma, int kColumns>
inline void BackwardWeightsBlock(const WeightsBlock& block, int column, int64_t at, int64_t step,
                                 int count, float* sums) {
  Floats acc[kColumns][kKernel];
  FTT_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    FTT_UNROLL
    for (int t = 0; t < kKernel; ++t)
      acc[c][t] = Load(sums + ((column + c) * kKernel + t) * kLanes);
  }
  for (int i = 0; i < count; ++i, at += step) {
    Floats dy[kRows];
    FTT_UNROLL
    for (int r = 0; r < kRows; ++r) dy[r] = Load(block.diff_y[r] + at);
    FTT_UNROLL
    for (int row = 0; row < kSigma * (kRows - 1) + kKernel; ++row) {
      FTT_UNROLL
      for (int c = 0; c < kColumns; ++c) {
        const Floats value = Load(block.x[row] + block.offsets[column + c] + at);
        FTT_UNROLL
        for (int t = 0; t < kKernel; ++t) {
          if (row >= t && (row - t) % kSigma == 0 && (row - t) / kSigma < kRows) {
            acc[c][t] = MultiplyAdd(value, dy[(row - t) / kSigma], acc[c][t]);
          }
        }
      }
    }
  }
  FTT_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    FTT_UNROLL
    for (int t = 0; t < kKernel; ++t)
      Store(sums + ((column + c) * kKernel + t) * kLanes, acc[c][t]);
  }
}

template <int kKernel, int kSigma>
inline void BackwardWeightsVectors(const WeightsBlock& block, int64_t at, int64_t step, int count,
                                   float* sums) {
  constexpr int kColumns = ColumnsAtOnce(kKernel);
  int column = 0;
  for (; column + kColumns <= kKernel; column += kColumns) {
    BackwardWeightsBlock<kKernel, kSigma, kColumns>(block, column, at, step, count, sums);
  }
  for (; column < kKernel; ++column)
    BackwardWeightsBlock<kKernel, kSigma, 1>(block, column, at, step, count, sums);
}

template <int kKernel, int kSigma>
void BackwardWeightsRows(WeightsRun& run, WeightsBlock& block) {
  const int length = run.s.out_w * run.s.channels, full = length / kLanes,
            period = Period(run.s.channels);
  const int64_t step = static_cast<int64_t>(period) * kLanes,
                sums_step = kKernel * kKernel * kLanes;
  for (int phase = 0; phase < Min(period, full); ++phase) {
    BackwardWeightsVectors<kKernel, kSigma>(
        block, phase * kLanes, step, CeilDiv(full - phase, period), run.sums + phase * sums_step);
  }
  const int tail = length % kLanes;
  if (tail == 0) return;
  const int64_t at = full * kLanes;
  for (int r = 0; r < kRows; ++r) {
    float* copy = run.tails + r * kLanes;
    Store(copy, LoadFirst(block.diff_y[r] + at, tail));
    block.diff_y[r] = copy - at;
  }
  BackwardWeightsVectors<kKernel, kSigma>(block, at, step, 1, run.sums + full % period * sums_step);
}

template <int kSigma>
inline void RunWeightsRows(WeightsRun& run, WeightsBlock& block) {
  switch (run.s.kernel) {
    case 1:
      return BackwardWeightsRows<1, kSigma>(run, block);
    case 2:
      return BackwardWeightsRows<2, kSigma>(run, block);
    case 3:
      return BackwardWeightsRows<3, kSigma>(run, block);
    case 4:
      return BackwardWeightsRows<4, kSigma>(run, block);
    default:
      return BackwardWeightsRows<5, kSigma>(run, block);
  }
}

// Output rows oy, oy + step, ... (kRows of them) of one image.
void BackwardWeightsImageRows(WeightsRun& run, const float* diff_y, int oy, int step, int sigma) {
  const DepthwiseShape& s = run.s;
  WeightsBlock block;
  for (int r = 0; r < kRows; ++r) {
    const int y = oy + r * step;
    block.diff_y[r] =
        y < s.out_h ? diff_y + static_cast<int64_t>(y) * s.out_w * s.channels : run.zero_y;
  }
  for (int row = 0; row < sigma * (kRows - 1) + s.kernel; ++row) {
    block.x[row] = run.Row(oy * s.stride - s.pad + row * s.dilation);
  }
  for (int k = 0; k < s.kernel; ++k) block.offsets[k] = run.lines.Offset(k * s.dilation);
  if (sigma == 1) {
    RunWeightsRows<1>(run, block);
  } else {
    RunWeightsRows<2>(run, block);
  }
}

// Sums are kept per phase as [column][row of taps][lane].
inline void ReduceWeights(const WeightsRun& run, float* diff_w) {
  const DepthwiseShape& s = run.s;
  const int k = s.kernel, taps = k * k, positions = Period(s.channels) * kLanes;
  Fill(diff_w, static_cast<int64_t>(s.channels) * taps, 0.0f);
  for (int at = 0, channel = 0; at < positions; ++at) {
    const float* sums = run.sums + static_cast<int64_t>(at / kLanes) * taps * kLanes + at % kLanes;
    float* filter = diff_w + static_cast<int64_t>(channel) * taps;
    for (int column = 0; column < k; ++column) {
      for (int row = 0; row < k; ++row, sums += kLanes) filter[row * k + column] += *sums;
    }
    channel = channel + 1 == s.channels ? 0 : channel + 1;
  }
}

size_t BackwardWeightsScratchBytes(const DepthwiseShape& s) { return WeightsRun(s, nullptr).bytes; }

void BackwardWeights(const DepthwiseShape& s, const int8_t* x, bool relu, const float* diff_y,
                     float* diff_w, void* scratch) {
  WeightsRun run(s, scratch);
  run.relu = relu;
  const int g = Gcd(s.dilation, s.stride), step = s.dilation / g, sigma = s.stride / g;
  for (int n = 0; n < s.images; ++n) {
    run.StartImage(x + static_cast<int64_t>(n) * s.in_h * s.in_w * s.channels);
    const float* image = diff_y + static_cast<int64_t>(n) * s.out_h * s.out_w * s.channels;
    for (int first = 0; first < s.out_h; first += kRows * step) {
      for (int oy = first; oy < Min(first + step, s.out_h); ++oy)
        BackwardWeightsImageRows(run, image, oy, step, sigma);
    }
  }
  ReduceWeights(run, diff_w);
}

}  // namespace
}  // namespace ftt::cpu
