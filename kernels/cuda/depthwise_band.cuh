// Depthwise convolution of a band of output rows of one image (band.cuh).
//
// A thread computes 4 channels of 4 x kRowSpan outputs. Along a row it turns the
// bytes of four pixels (a word each: 4 channels) into a word per channel of four taps, which dp4a
// multiplies at once; a window that starts within such words is put together by one byte
// permutation and serves all output rows that read it. Dilation is a step between the pixels of a
// sequence: outputs that are a dilation apart read neighbours of the sequence.
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

// Steps of the input sequence between neighbouring outputs.
FTT_HD constexpr int SequenceStride(int stride, int dilation) {
  return stride == 2 && dilation == 1 ? 2 : 1;
}

// Words of four pixels, one byte per channel -> words of four channels, one byte per pixel.
__device__ __forceinline__ void TransposeBytes(const uint32_t* pixels, uint32_t (&channels)[4]) {
  const uint32_t a = BytePermute(pixels[0], pixels[1], 0x5140);
  const uint32_t b = BytePermute(pixels[2], pixels[3], 0x5140);
  const uint32_t c = BytePermute(pixels[0], pixels[1], 0x7362);
  const uint32_t d = BytePermute(pixels[2], pixels[3], 0x7362);
  channels[0] = BytePermute(a, b, 0x5410);
  channels[1] = BytePermute(a, b, 0x7632);
  channels[2] = BytePermute(c, d, 0x5410);
  channels[3] = BytePermute(c, d, 0x7632);
}

// Whether a thread keeps the weights: those of larger windows would leave no room for what else it
// needs.
FTT_HD constexpr bool KeepsWeights(int kernel, int advance) { return kernel == 3 && advance == 1; }
// Input rows that a thread has under way together: what does not spill.
FTT_HD constexpr int RowsUnderWay(int kernel, int advance) {
  return KeepsWeights(kernel, advance) ? 4 : 1;
}

template <int kKernel, int kAdvance>
class DepthwiseThread {
 public:
  static constexpr int kBatch = RowsUnderWay(kKernel, kAdvance);
  static constexpr int kRows = kRowSpan;
  static constexpr int kLength = (kSpan - 1) * kAdvance + kKernel;  // of the input sequence
  static constexpr int kHeight = (kRows - 1) * kAdvance + kKernel;
  static constexpr int kQuads = DivideUp(kLength, 4);
  static constexpr int kWords = DepthwiseRowWords(kKernel);

  // word: of 4 channels.
  __device__ DepthwiseThread(const WindowGeometry& g, const int8_t* image, const uint32_t* weights,
                             int word)
      : g_(g),
        x_(image + 4 * word),
        weights_at_(weights + 4 * word),
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
      uint32_t pixels[kBatch][4 * kQuads];
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

  // The taps of kernel row ky: [word][channel].
  __device__ __forceinline__ void LoadWeights(int ky, uint32_t (&taps)[kWords][4]) const {
    FTT_UNROLL
    for (int w = 0; w < kWords; ++w) {
      const auto* from = reinterpret_cast<const uint4*>(weights_at_ + (ky * kWords + w) * stride_);
      const uint4 v = kKeepsWeights ? *from : LoadInPlace(from);
      taps[w][0] = v.x;
      taps[w][1] = v.y;
      taps[w][2] = v.z;
      taps[w][3] = v.w;
    }
  }

  // The columns of an input sequence, which its rows have in common. What lies outside the map is
  // taken from the nearest pixel inside, and cleared later: loads need no predicates.
  struct Columns {
    int offset[kLength];      // of a column's pixel in its row
    uint32_t inside[kQuads];  // a byte for each pixel: all ones where it is inside

    __device__ __forceinline__ Columns(const DepthwiseThread& t, int ix0) {
      FTT_UNROLL
      for (int q = 0; q < kQuads; ++q) inside[q] = 0;
      FTT_UNROLL
      for (int i = 0; i < kLength; ++i) {
        const int ix = ix0 + i * t.g_.dilation;
        offset[i] = Nearest(ix, t.g_.in_w - 1) * t.stride_;
        const bool is_inside = static_cast<unsigned>(ix) < static_cast<unsigned>(t.g_.in_w);
        inside[i / 4] |= is_inside ? 0xFFu << i % 4 * 8 : 0u;
      }
    }
  };
  __device__ __forceinline__ void LoadRow(int iy, const Columns& columns,
                                          uint32_t (&pixels)[4 * kQuads]) const {
    const int8_t* row = x_ + Nearest(iy, g_.in_h - 1) * (g_.in_w * stride_);
    FTT_UNROLL
    for (int i = 0; i < 4 * kQuads; ++i)
      pixels[i] = i < kLength ? *reinterpret_cast<const uint32_t*>(row + columns.offset[i]) : 0u;
  }

  // Row j of the sequence is tap row j - r * kAdvance of output row r.
  __device__ __forceinline__ void AddRow(int j, int iy, const Columns& columns,
                                         uint32_t (&pixels)[4 * kQuads],
                                         int32_t (&acc)[kRows][kSpan][4]) const {
    uint32_t taps[kRows][kWords][4] = {};
    FTT_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const int ky = j - r * kAdvance;
      if (ky < 0 || ky >= kKernel) continue;
      if constexpr (kKeepsWeights) {
        memcpy(taps[r], weights_[ky], sizeof taps[r]);
      } else {
        LoadWeights(ky, taps[r]);
      }
    }
    const Relu relu(g_.relu);
    FTT_UNROLL
    for (int i = 0; i < kLength; ++i) pixels[i] = relu(pixels[i]);
    uint32_t quad[kQuads][4];
    FTT_UNROLL
    for (int q = 0; q < kQuads; ++q) {
      TransposeBytes(pixels + 4 * q, quad[q]);
      const bool inside = static_cast<unsigned>(iy) < static_cast<unsigned>(g_.in_h);
      FTT_UNROLL
      for (int c = 0; c < 4; ++c) quad[q][c] &= inside ? columns.inside[q] : 0u;
    }
    FTT_UNROLL
    for (int i = 0; i < kSpan; ++i) {
      const int q = i * kAdvance / 4, shift = i * kAdvance % 4;
      FTT_UNROLL
      for (int c = 0; c < 4; ++c) {
        const uint32_t next = quad[q + 1 < kQuads ? q + 1 : q][c];
        const uint32_t selector = 0x3210u + 0x1111u * static_cast<uint32_t>(shift);
        const uint32_t window = shift == 0 ? quad[q][c] : BytePermute(quad[q][c], next, selector);
        FTT_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const int ky = j - r * kAdvance;
          if (ky < 0 || ky >= kKernel) continue;
          acc[r][i][c] = Dp4a(window, taps[r][0][c], acc[r][i][c]);
          if constexpr (kKernel == 5)
            acc[r][i][c] = Dp4a(next >> 8 * shift, taps[r][1][c], acc[r][i][c]);
        }
      }
    }
  }

  const WindowGeometry& g_;
  const int8_t* x_;
  const uint32_t* weights_at_;
  int stride_;
  uint32_t weights_[kKeepsWeights ? kKernel : 1][kWords][4];
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
