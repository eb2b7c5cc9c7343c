// Depthwise convolution of a band of output rows of one image (band.cuh).
//
// A thread computes 4 channels of 4 x kRowSpan outputs. Along a row it turns the bytes of
// neighbouring pixels (a word each: 4 channels) into windows: words of one channel of four pixels,
// which dp4a multiplies at once. Windows are put together from pairs of pixels and serve all output
// rows that read them; with three taps two outputs share one, the second with its weights a byte
// further up. Dilation is a step between the pixels of a sequence: outputs that are a dilation
// apart read neighbours of the sequence.
#pragma once

#include "kernels/cuda/band.cuh"
#include "kernels/cuda/depthwise.h"
#include "kernels/cuda/relu.cuh"

namespace ftt::cuda {

inline constexpr int kSpan = 4;  // outputs of a thread along a row
// Rows of outputs of a thread: more would be more reuse of what was loaded, and more registers.
inline constexpr int kRowSpan = 2;

// How outputs of one dimension are dealt out: strip s covers outputs First(s) + i * out_step,
// i < span.
// Inputs at tap 0 of its first output are the start of a sequence with a step of its own, in which
// neighbouring outputs are `advance` apart.
struct StripPlan {
  int log2_step, span;  // out_step: 1 or 2
  FTT_HD StripPlan(int stride, int dilation, int span)
      : log2_step(stride == 1 && dilation == 2 ? 1 : 0), span(span) {}
  FTT_HD int OutStep() const { return 1 << log2_step; }
  FTT_HD int Strips(int outputs) const {
    return DivideUp((outputs + OutStep() - 1) >> log2_step, span) << log2_step;
  }
  FTT_HD int First(int strip) const {
    return (strip & (OutStep() - 1)) + ((strip >> log2_step) * span << log2_step);
  }
};

// Whether a thread keeps the weights: those of larger windows would leave no room for what else it
// needs.
FTT_HD constexpr bool KeepsWeights(int kernel, int advance) { return kernel == 3 && advance == 1; }
// Input rows that a thread has under way together: what does not spill.
FTT_HD constexpr int RowsUnderWay(int kernel, int advance) {
  return KeepsWeights(kernel, advance) ? 4 : 1;
}

// The windows of a thread's outputs in one input row.
template <int kKernel, int kAdvance>
struct WindowPlan {
  static constexpr bool kShared = kKernel == 3 && kAdvance == 1;  // by two outputs
  // Window w starts at position w * kStep. The fifth tap of an output lies in the next one's
  // window.
  static constexpr int kStep = kShared ? 2 : kAdvance;
  static constexpr int kWindows = kShared ? kSpan / 2 : kKernel == 5 ? kSpan + 1 : kSpan;
  static constexpr int kPairs = ((kWindows - 1) * kStep + 4) / 2;  // of positions
  static constexpr int kVersions = kShared ? 2 : 1;                // of weights
};

template <int kKernel, int kAdvance>
class DepthwiseThread {
 public:
  static constexpr int kBatch = RowsUnderWay(kKernel, kAdvance);
  static constexpr int kRows = kRowSpan;
  static constexpr int kLength = (kSpan - 1) * kAdvance + kKernel;  // of the input sequence
  static constexpr int kHeight = (kRows - 1) * kAdvance + kKernel;
  static constexpr int kWords = DepthwiseRowWords(kKernel);
  using Windows = WindowPlan<kKernel, kAdvance>;

  // image: the same for all threads of the block. word: of 4 channels.
  __device__ DepthwiseThread(const WindowGeometry& g, const int8_t* image, const uint32_t* weights,
                             int word)
      : g_(g),
        image_(Anew(image)),
        weights_at_(weights + 4 * word),
        word_at_(4 * word),
        stride_(PaddedChannels(g.in_channels)) {
    if constexpr (kKeepsWeights) {
      FTT_UNROLL
      for (int ky = 0; ky < kKernel; ++ky) LoadWeights(ky, weights_[ky]);
    }
  }

  // acc[row][column][channel] of the outputs that start at (oy, ox).
  __device__ __forceinline__ void Accumulate(int oy, int ox,
                                             int32_t (&acc)[kRows][kSpan][4]) const {
    FTT_UNROLL
    for (int r = 0; r < kRows; ++r) {
      FTT_UNROLL
      for (int i = 0; i < kSpan; ++i) {
        FTT_UNROLL
        for (int c = 0; c < 4; ++c) acc[r][i][c] = 0;
      }
    }
    const int iy0 = oy * g_.stride + g_.origin;
    const Columns columns(*this, ox * g_.stride + g_.origin);
    FTT_UNROLL
    for (int first = 0; first < kHeight; first += kBatch) {
      uint32_t pixels[kBatch][kLength];
      FTT_UNROLL
      for (int j = 0; j < kBatch; ++j) {
        if (first + j < kHeight) LoadRow(iy0 + (first + j) * g_.dilation, columns, pixels[j]);
      }
      FTT_UNROLL
      for (int j = 0; j < kBatch; ++j) {
        if (first + j < kHeight)
          AddRow(first + j, iy0 + (first + j) * g_.dilation, columns, pixels[j], acc);
      }
    }
  }

 private:
  static constexpr bool kKeepsWeights = KeepsWeights(kKernel, kAdvance);
  struct Taps {  // of a kernel row, four channels
    uint32_t word[Windows::kVersions][kWords][4];
  };

  __device__ __forceinline__ void LoadWeights(int ky, Taps& taps) const {
    FTT_UNROLL
    for (int w = 0; w < kWords; ++w) {
      const auto* from = reinterpret_cast<const uint4*>(weights_at_ + (ky * kWords + w) * stride_);
      const uint4 v = kKeepsWeights ? *from : LoadInPlace(from);
      const uint32_t words[4] = {v.x, v.y, v.z, v.w};
      FTT_UNROLL
      for (int version = 0; version < Windows::kVersions; ++version) {
        FTT_UNROLL
        for (int c = 0; c < 4; ++c) taps.word[version][w][c] = words[c] << 8 * version;
      }
    }
  }

  // The columns of an input sequence, which its rows have in common. What lies outside the map is
  // taken from the nearest pixel inside, and cleared later: loads need no predicates.
  struct Columns {
    uint32_t offset[kLength];  // of a column's word in its row, in bytes
    uint32_t inside[kLength];  // all ones where it is inside

    __device__ __forceinline__ Columns(const DepthwiseThread& t, int ix0) {
      FTT_UNROLL
      for (int i = 0; i < kLength; ++i) {
        const int ix = ix0 + i * t.g_.dilation;
        offset[i] = static_cast<uint32_t>(Nearest(ix, t.g_.in_w - 1) * t.stride_ + t.word_at_);
        inside[i] = static_cast<unsigned>(ix) < static_cast<unsigned>(t.g_.in_w) ? ~0u : 0u;
      }
    }
  };
  __device__ __forceinline__ void LoadRow(int iy, const Columns& columns,
                                          uint32_t (&pixels)[kLength]) const {
    const int8_t* row =
        image_ + static_cast<uint32_t>(Nearest(iy, g_.in_h - 1) * (g_.in_w * stride_));
    FTT_UNROLL
    for (int i = 0; i < kLength; ++i)
      pixels[i] = *reinterpret_cast<const uint32_t*>(row + columns.offset[i]);
  }

  // The windows of a row: [window][channel].
  __device__ static __forceinline__ void MakeWindows(const uint32_t (&pixels)[kLength],
                                                     uint32_t (&window)[Windows::kWindows][4]) {
    uint32_t low[Windows::kPairs], high[Windows::kPairs];  // channels 0 and 1, 2 and 3
    FTT_UNROLL
    for (int p = 0; p < Windows::kPairs; ++p) {
      const uint32_t first = pixels[2 * p], second = 2 * p + 1 < kLength ? pixels[2 * p + 1] : 0;
      low[p] = BytePermute(first, second, 0x5140);
      high[p] = BytePermute(first, second, 0x7362);
    }
    FTT_UNROLL
    for (int w = 0; w < Windows::kWindows; ++w) {
      const int p = w * Windows::kStep / 2;
      if (w * Windows::kStep % 2 != 0) continue;
      window[w][0] = BytePermute(low[p], low[p + 1], 0x5410);
      window[w][1] = BytePermute(low[p], low[p + 1], 0x7632);
      window[w][2] = BytePermute(high[p], high[p + 1], 0x5410);
      window[w][3] = BytePermute(high[p], high[p + 1], 0x7632);
    }
    FTT_UNROLL
    for (int w = 0; w < Windows::kWindows; ++w) {
      if (w * Windows::kStep % 2 == 0) continue;
      FTT_UNROLL
      for (int c = 0; c < 4; ++c)
        window[w][c] = BytePermute(window[w - 1][c], window[w + 1][c], 0x6321);
    }
  }

  // Row j of the sequence is tap row j - r * kAdvance of output row r.
  __device__ __forceinline__ void AddRow(int j, int iy, const Columns& columns,
                                         uint32_t (&pixels)[kLength],
                                         int32_t (&acc)[kRows][kSpan][4]) const {
    Taps loaded[kKeepsWeights ? 1 : kRows];
    FTT_UNROLL
    for (int r = 0; !kKeepsWeights && r < kRows; ++r) {
      const int ky = j - r * kAdvance;
      if (ky >= 0 && ky < kKernel) LoadWeights(ky, loaded[r]);
    }
    const bool inside = static_cast<unsigned>(iy) < static_cast<unsigned>(g_.in_h);
    const Relu relu = Relu(g_.relu).If(inside);
    FTT_UNROLL
    for (int i = 0; i < kLength; ++i) pixels[i] = relu(pixels[i], columns.inside[i]);
    uint32_t window[Windows::kWindows][4];
    MakeWindows(pixels, window);
    FTT_UNROLL
    for (int i = 0; i < kSpan; ++i) {
      const int w = Windows::kShared ? i / 2 : i, version = Windows::kShared ? i % 2 : 0;
      FTT_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const int ky = j - r * kAdvance;
        if (ky < 0 || ky >= kKernel) continue;
        const Taps& taps = kKeepsWeights ? weights_[ky] : loaded[r];
        FTT_UNROLL
        for (int c = 0; c < 4; ++c) {
          acc[r][i][c] = Dp4a(window[w][c], taps.word[version][0][c], acc[r][i][c]);
          if constexpr (kKernel == 5)
            acc[r][i][c] = Dp4a(window[w + 1][c], taps.word[0][1][c], acc[r][i][c]);
        }
      }
    }
  }

  const WindowGeometry& g_;
  const int8_t* image_;
  const uint32_t* weights_at_;
  int word_at_, stride_;
  Taps weights_[kKeepsWeights ? kKernel : 1];
};

// Strips along a row of outputs; what plan.by_columns divides by.
FTT_HD inline int DepthwiseColumns(const WindowGeometry& g) {
  return StripPlan(g.stride, g.dilation, kSpan).Strips(g.out_w);
}

// Calls put(pixel of the band, accumulators of the thread's word) for the thread's outputs, or
// put(first pixel, accumulators of kSpan pixels that lie one behind the other).
template <int kKernel, int kAdvance, typename Put>
__device__ __forceinline__ void ComputeBand(const DepthwiseArguments& a, const BandPlan& plan,
                                            const Band& band, const Put& put) {
  const WindowGeometry& g = a.geometry;
  const int64_t in_image = (int64_t{band.lane} * g.images + band.image) * g.in_h * g.in_w;
  const DepthwiseThread<kKernel, kAdvance> thread(
      g, a.x + in_image * PaddedChannels(g.in_channels),
      a.weights + (a.one_weight ? 0 : int64_t{band.lane} * PackedDepthwiseWords(g)), band.word);
  constexpr int kRows = kRowSpan;
  const StripPlan across(g.stride, g.dilation, kSpan), down(g.stride, g.dilation, kRows);
  const int columns = plan.by_columns.Divisor(), items = columns * down.Strips(band.rows);
  for (int item = band.slot; item < items; item += band.slots) {
    const int strip = plan.by_columns(item);
    const int oy = down.First(strip), ox = across.First(item - strip * columns);
    int32_t acc[kRows][kSpan][4];
    thread.Accumulate(band.first_row + oy, ox, acc);
    // Whole rows of neighbours at once: what does not depend on the pixel is then asked once.
    const bool neighbours = across.log2_step == 0 && ox + kSpan <= g.out_w;
    FTT_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const int y = oy + r * down.OutStep();
      if (y >= band.rows) break;
      if (neighbours) {
        put(y * g.out_w + ox, acc[r]);
        continue;
      }
      FTT_UNROLL
      for (int i = 0; i < kSpan; ++i) {
        const int x = ox + i * across.OutStep();
        if (x < g.out_w) put(y * g.out_w + x, acc[r][i]);
      }
    }
  }
}

}  // namespace ftt::cuda
