// Internal: lines, the form in which the depthwise kernels read a map's row.
//
// A line holds one padded row as `planes` parts. Part q holds the padded columns q, q + planes, q +
// 2 * planes, ...: with one part per step of the stride, the inputs of neighbouring outputs are
// neighbours, and a tap is only an offset.
#pragma once

#include "kernels/cpu/depthwise_shape.h"
#include "kernels/cpu/depthwise_simd.h"

namespace ftt::cpu {
namespace {

// Rows of the map that one block of a gradient kernel works on.
constexpr int kRows = 4;
constexpr int kChunk = 16;  // values that one copy of SpreadPixels moves

struct LinePlan {
  int channels = 0, planes = 0, pad = 0;
  int plane_pixels = 0;
  int64_t plane = 0;  // values per part, with slack for whole vectors and chunks

  int64_t Line() const { return planes * plane; }
  // Where padded column `column` starts.
  int64_t Offset(int column) const {
    return column % planes * plane + static_cast<int64_t>(column / planes) * channels;
  }
};

// Lines for the input of s, read by vectors of outputs.
inline LinePlan InputLines(const DepthwiseShape& s) {
  LinePlan plan;
  plan.channels = s.channels;
  plan.planes = s.stride;
  plan.pad = s.pad;
  const int reach = s.dilation * (s.kernel - 1) / s.stride;
  plan.plane_pixels = s.out_w + reach + 1;
  const int64_t outputs = RoundUp(static_cast<int64_t>(s.out_w) * s.channels, kLanes);
  const int64_t read = static_cast<int64_t>(reach) * s.channels + outputs;
  const int64_t written = static_cast<int64_t>(plan.plane_pixels) * s.channels;
  plan.plane = RoundUp((read > written ? read : written) + kChunk, kChunk);
  return plan;
}

// Pixels of a row that fall into the line.
inline int PixelsUsed(const LinePlan& plan, int pixels) {
  return Min(pixels, plan.plane_pixels * plan.planes - plan.pad);
}

// Distributes the pixels of a row over the parts of a line. Reads and writes up to kChunk values
// too far; what lies behind the last pixel of a part is set to `zero` again.
template <typename T>
void SpreadPixels(const LinePlan& plan, const T* row, int pixels, T zero, T* line) {
  const int used = PixelsUsed(plan, pixels), channels = plan.channels;
  for (int first = 0; first < Min(plan.planes, used); ++first) {
    T* to = line + plan.Offset(first + plan.pad);
    const T* from = row + static_cast<int64_t>(first) * channels;
    for (int x = first; x < used; x += plan.planes) {
      for (int c = 0; c < channels; c += kChunk) std::memcpy(to + c, from + c, kChunk * sizeof(T));
      to += channels;
      from += static_cast<int64_t>(plan.planes) * channels;
    }
    for (int c = 0; c < kChunk; ++c) to[c] = zero;
  }
}

// Hands out 64-byte-aligned pieces of scratch memory; with a null base it only adds up their sizes.
class Carver {
 public:
  explicit Carver(void* base) : base_(static_cast<char*>(base)) {}
  template <typename T>
  T* Take(int64_t count) {
    char* at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += static_cast<size_t>(RoundUp(count * static_cast<int64_t>(sizeof(T)), 64));
    return reinterpret_cast<T*>(at);
  }
  size_t Used() const { return used_; }

 private:
  char* base_;
  size_t used_ = 0;
};

template <typename T>
void Fill(T* p, int64_t count, T value) {
  for (int64_t i = 0; i < count; ++i) p[i] = value;
}

// Everything outside [begin, end).
template <typename T>
void FillBorders(T* line, int64_t begin, int64_t end, int64_t size, T value) {
  Fill(line, begin, value);
  Fill(line + end, size - end, value);
}

// What staging a row of `pixels` pixels does not write in every part of a line.
template <typename T>
void FillLineBorders(const LinePlan& plan, int pixels, T value, T* line) {
  if (plan.planes > 1) {
    Fill(line, plan.Line(), value);
    return;
  }
  const int64_t begin = static_cast<int64_t>(plan.pad) * plan.channels;
  FillBorders(line, begin, begin + static_cast<int64_t>(PixelsUsed(plan, pixels)) * plan.channels,
              plan.Line(), value);
}

}  // namespace
}  // namespace ftt::cpu
