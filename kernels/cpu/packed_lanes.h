// Internal to the CPU backend: what it keeps in WeightCodes::packed, and the gathering of strided
// 1x1 convolutions.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/conv_dnnl.h"
#include "kernels/cpu/dense_gradient.h"
#include "kernels/cpu/depthwise.h"
#include "kernels/cpu/direct_conv.h"
#include "kernels/cpu/pair_conv.h"

namespace ftt::cpu {

struct PackedLanes {
  // One per copy of the weights; which of them are used depends on the shape alone.
  std::vector<PackedWeights> forward, backward;
  std::vector<DepthwiseWeights> depthwise_forward, depthwise_backward;
  std::vector<DirectConv> direct_forward;
  std::vector<PairConv> pair_forward;
  std::vector<DenseDataGradient> dense_backward;

  template <typename Weights>
  static const Weights& OfLane(const std::vector<Weights>& copies, int lane) {
    return copies[copies.size() == 1 ? 0 : static_cast<size_t>(lane)];
  }
  // The packed form of the weights, created empty on first use.
  static PackedLanes& Of(WeightCodes& weights) {
    if (weights.packed == nullptr) weights.packed = std::make_shared<PackedLanes>();
    return *static_cast<PackedLanes*>(weights.packed.get());
  }
};

// Convolutions that the project's own depthwise kernels take.
inline bool IsDepthwise(const WindowShape& s) {
  return !s.pool && s.conv.groups > 1 && s.conv.groups == s.in.c && s.in.c == s.out.c &&
         s.conv.kernel <= 5 && s.conv.stride <= 2 && s.conv.offset == 0;
}

inline DepthwiseShape ToDepthwise(const WindowShape& s, int images) {
  return {images, s.in.h,        s.in.w,        s.out.h,    s.out.w,
          s.in.c, s.conv.kernel, s.conv.stride, s.conv.pad, s.conv.dilation};
}

inline DirectShape ToDirect(const WindowShape& s) {
  return {s.in.h,         s.in.w,        s.in.c,
          s.out.h,        s.out.w,       s.out.c,
          s.conv.kernel,  s.conv.stride, s.conv.pad - s.conv.offset,
          s.conv.dilation};
}

// Convolutions that the project's own AMX kernels take.
inline bool IsDirect(const WindowShape& s) {
  return !s.pool && s.conv.groups == 1 && DirectConv::Available() && DirectConv::Suits(ToDirect(s));
}

// 1x1 convolutions with a stride or an offset read a subset of the pixels: gathered first, they are
// dense.
inline bool Gathers(const WindowShape& s) {
  return !s.pool && s.conv.kernel == 1 && s.conv.groups == 1 &&
         (s.conv.stride != 1 || s.conv.offset != 0 || s.conv.pad != 0);
}

// oneDNN sees those as dense convolutions over the gathered pixels.
inline ConvShape ToConv(const WindowShape& s, int images) {
  ConvShape c{images,  s.in.h,        s.in.w,        s.in.c,     s.out.h,         s.out.w,
              s.out.c, s.conv.kernel, s.conv.stride, s.conv.pad, s.conv.dilation, s.conv.groups};
  if (Gathers(s)) {
    c.in_h = s.out.h;
    c.in_w = s.out.w;
    c.stride = 1;
    c.pad = 0;
  }
  return c;
}

// Tasks have at most about 128 Ki elements: an int32 copy fills a quarter of a typical L2 cache.
// And few images, so that a thread does not wait long for another one's last task.
inline int ImagesPerTask(int64_t elements_per_image) {
  const int64_t wanted = (int64_t{1} << 17) / std::max<int64_t>(elements_per_image, 1);
  return static_cast<int>(std::clamp<int64_t>(wanted, 1, 8));
}

// Calls body(input pixel or -1 where outside, output pixel) for every output pixel of a 1x1
// convolution.
template <typename Body>
void ForGatheredPixels(const WindowShape& s, const Body& body) {
  for (int oy = 0; oy < s.out.h; ++oy) {
    const int iy = oy * s.conv.stride - s.conv.pad + s.conv.offset;
    for (int ox = 0; ox < s.out.w; ++ox) {
      const int ix = ox * s.conv.stride - s.conv.pad + s.conv.offset;
      const bool inside = iy >= 0 && iy < s.in.h && ix >= 0 && ix < s.in.w;
      body(inside ? int64_t{iy} * s.in.w + ix : int64_t{-1}, int64_t{oy} * s.out.w + ox);
    }
  }
}

// One image: x [in.h][in.w][c] -> out [out.h][out.w][c], zero outside.
inline void GatherPixels(const WindowShape& s, const int8_t* x, int8_t* out) {
  const auto c = static_cast<size_t>(s.in.c);
  ForGatheredPixels(s, [&](int64_t from, int64_t to) {
    int8_t* pixel = out + to * s.in.c;
    if (from < 0) {
      std::memset(pixel, 0, c);
    } else {
      std::memcpy(pixel, x + from * s.in.c, c);
    }
  });
}

}  // namespace ftt::cpu
