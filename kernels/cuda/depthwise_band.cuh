// Depthwise convolution of a band of output rows of one image (band.cuh).
//
// A thread computes 4 channels of 4 x RowSpan outputs. Along a row it turns the
// bytes of four pixels (a word each: 4 channels) into a word per channel of four taps, which dp4a
// multiplies at once; a window that starts within such words is put together by one byte
// permutation and serves all output rows that read it. Dilation is a step between the pixels of a
// sequence: outputs that are a dilation apart read neighbours of the sequence.
#pragma once

#include "kernels/cuda/band.cuh"
#include "kernels/cuda/depthwise.h"

namespace ftt::cuda {

inline constexpr int kSpan = 4;  // outputs of a thread along a row
// Rows of outputs of a thread: more reuse of what was loaded, more registers.
FTT_HD constexpr int RowSpan(int kernel) { return kernel == 5 ? 2 : 4; }

// How outputs of one dimension are dealt out: strip s covers outputs First(s) + i * out_step,
// i < span.
// Inputs at tap 0 of its first output are the start of a sequence with a step of its own, in which
// neighbouring outputs are `advance` apart.
struct StripPlan {
  int out_step, span;
  FTT_HD StripPlan(int stride, int dilation, int span)
      : out_step(stride == 1 ? dilation : 1), span(span) {}
  FTT_HD int Strips(int outputs) const {
    return out_step * DivideUp(DivideUp(outputs, out_step), span);
  }
  FTT_HD int First(int strip) const {
    return strip % out_step + strip / out_step * out_step * span;
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

template <int kKernel, int kAdvance>
class DepthwiseThread {
 public:
  static constexpr int kRows = RowSpan(kKernel);
  static constexpr int kLength = (kSpan - 1) * kAdvance + kKernel;  // of the input sequence
  static constexpr int kHeight = (kRows - 1) * kAdvance + kKernel;
  static constexpr int kQuads = DivideUp(kLength, 4);
  static constexpr int kWords = DepthwiseRowWords(kKernel);

  // word: of 4 channels.
  __device__ DepthwiseThread(const WindowGeometry& g, const int8_t* image, const uint32_t* weights,
                             int word)
      : g_(g), x_(image + 4 * word), stride_(PaddedChannels(g.in_channels)) {
    FTT_UNROLL
    for (int i = 0; i < kKernel * kWords; ++i) {
      const uint4 v = *reinterpret_cast<const uint4*>(weights + i * stride_ + 4 * word);
      weights_[i][0] = v.x;
      weights_[i][1] = v.y;
      weights_[i][2] = v.z;
      weights_[i][3] = v.w;
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
    const uint32_t relu = g_.relu ? 0xFFFFFFFFu : 0u;
    const int iy0 = oy * g_.stride + g_.origin, ix0 = ox * g_.stride + g_.origin;
    FTT_UNROLL
    for (int j = 0; j < kHeight; ++j) {
      const int iy = iy0 + j * g_.dilation;
      if (static_cast<unsigned>(iy) >= static_cast<unsigned>(g_.in_h)) continue;
      uint32_t quad[kQuads][4];
      LoadRow(iy, ix0, relu, quad);
      AddRow(j, quad, acc);
    }
  }

 private:
  __device__ __forceinline__ void LoadRow(int iy, int ix0, uint32_t relu,
                                          uint32_t (&quad)[kQuads][4]) const {
    const int8_t* row = x_ + int64_t{iy} * g_.in_w * stride_;
    uint32_t pixels[4 * kQuads];
    FTT_UNROLL
    for (int i = 0; i < 4 * kQuads; ++i) {
      const int ix = ix0 + i * g_.dilation;
      pixels[i] = 0;
      if (i < kLength && static_cast<unsigned>(ix) < static_cast<unsigned>(g_.in_w))
        pixels[i] = *reinterpret_cast<const uint32_t*>(row + ix * stride_);
      pixels[i] &= ~(BytePermute(pixels[i], 0, 0xBA98) & relu);
    }
    FTT_UNROLL
    for (int q = 0; q < kQuads; ++q) TransposeBytes(pixels + 4 * q, quad[q]);
  }

  // Row j of the sequence is tap row j - r * kAdvance of output row r.
  __device__ __forceinline__ void AddRow(int j, const uint32_t (&quad)[kQuads][4],
                                         int32_t (&acc)[kRows][kSpan][4]) const {
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
          acc[r][i][c] = Dp4a(window, weights_[ky * kWords][c], acc[r][i][c]);
          if constexpr (kKernel == 5)
            acc[r][i][c] = Dp4a(next >> 8 * shift, weights_[ky * kWords + 1][c], acc[r][i][c]);
        }
      }
    }
  }

  const WindowGeometry& g_;
  const int8_t* x_;
  int stride_;
  uint32_t weights_[kKernel * kWords][4];
};

// Calls put(pixel of the band, accumulators of the thread's word) for the thread's outputs.
template <int kKernel, int kAdvance, typename Put>
__device__ __forceinline__ void ComputeBand(const DepthwiseArguments& a, const Band& band,
                                            const Put& put) {
  const WindowGeometry& g = a.geometry;
  const int64_t in_image = (int64_t{band.lane} * g.images + band.image) * g.in_h * g.in_w;
  const DepthwiseThread<kKernel, kAdvance> thread(
      g, a.x + in_image * PaddedChannels(g.in_channels),
      a.weights + (a.one_weight ? 0 : int64_t{band.lane} * PackedDepthwiseWords(g)), band.word);
  constexpr int kRows = RowSpan(kKernel);
  const StripPlan across(g.stride, g.dilation, kSpan), down(g.stride, g.dilation, kRows);
  const int columns = across.Strips(g.out_w), items = columns * down.Strips(band.rows);
  for (int item = band.slot; item < items; item += band.slots) {
    const int oy = down.First(item / columns), ox = across.First(item % columns);
    int32_t acc[kRows][kSpan][4];
    thread.Accumulate(band.first_row + oy, ox, acc);
    FTT_UNROLL
    for (int r = 0; r < kRows; ++r) {
      FTT_UNROLL
      for (int i = 0; i < kSpan; ++i) {
        const int y = oy + r * down.out_step, x = ox + i * across.out_step;
        if (y < band.rows && x < g.out_w) put(y * g.out_w + x, acc[r][i]);
      }
    }
  }
}

}  // namespace ftt::cuda
