// Pools over NHWC maps: the inner loop runs over channels.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/ref_backend.h"

namespace ftt::cpu {
namespace {

// Calls body(input pixel, tap number) for the valid taps of an output pixel, in row order; returns
// their count.
template <typename Body>
int ForTaps(const WindowShape& s, int oy, int ox, const Body& body) {
  int taps = 0;
  for (int ky = 0; ky < s.conv.kernel; ++ky) {
    const int iy = InputIndex(s, oy, ky);
    if (iy < 0 || iy >= s.in.h) continue;
    for (int kx = 0; kx < s.conv.kernel; ++kx) {
      const int ix = InputIndex(s, ox, kx);
      if (ix < 0 || ix >= s.in.w) continue;
      body(int64_t{iy} * s.in.w + ix, ky * s.conv.kernel + kx);
      ++taps;
    }
  }
  return taps;
}

void MaxPixel(const WindowShape& s, const int8_t* x, int oy, int ox, int floor, int32_t* out) {
  std::fill_n(out, s.out.c, floor);
  ForTaps(s, oy, ox, [&](int64_t pixel, int) {
    const int8_t* in = x + pixel * s.in.c;
    for (int c = 0; c < s.out.c; ++c) out[c] = std::max<int32_t>(out[c], in[c]);
  });
}

void AveragePixel(const WindowShape& s, const int8_t* x, int oy, int ox, int floor, int32_t* out) {
  std::fill_n(out, s.out.c, 0);
  const int taps = ForTaps(s, oy, ox, [&](int64_t pixel, int) {
    const int8_t* in = x + pixel * s.in.c;
    for (int c = 0; c < s.out.c; ++c) out[c] += std::max<int32_t>(in[c], floor);
  });
  // float division is exact enough to round right: |sum| <= 128 * taps, and quotients at a distance
  // of 1 / (2 taps) from a tie are told apart from it
  const auto divisor = static_cast<float>(taps);
  for (int c = 0; c < s.out.c; ++c) {
    out[c] = static_cast<int32_t>(std::nearbyint(static_cast<float>(out[c]) / divisor));
  }
}

void MaxGradPixel(const WindowShape& s, const int8_t* x, int oy, int ox, const float* g, float* gx,
                  std::vector<int8_t>& best, std::vector<int16_t>& arg) {
  std::fill(best.begin(), best.end(), int8_t{-128});
  std::fill(arg.begin(), arg.end(), int16_t{-1});
  int8_t* top = best.data();
  int16_t* at = arg.data();
  ForTaps(s, oy, ox, [&](int64_t pixel, int tap) {
    const int8_t* in = x + pixel * s.in.c;
    for (int c = 0; c < s.out.c; ++c) {
      const bool better = in[c] > top[c] || at[c] < 0;
      at[c] = better ? static_cast<int16_t>(tap) : at[c];
      top[c] = better ? in[c] : top[c];
    }
  });
  ForTaps(s, oy, ox, [&](int64_t pixel, int tap) {
    float* out = gx + pixel * s.in.c;
    for (int c = 0; c < s.out.c; ++c)
      out[c] += at[c] == tap && (!s.relu || top[c] > 0) ? g[c] : 0.0f;
  });
}

}  // namespace

void PoolForward(const WindowShape& s, const int8_t* x, int32_t* acc) {
  const int floor = s.relu ? 0 : -128;
  for (int oy = 0; oy < s.out.h; ++oy) {
    for (int ox = 0; ox < s.out.w; ++ox, acc += s.out.c) {
      if (s.pool_kind == PoolKind::kMax) {
        MaxPixel(s, x, oy, ox, floor, acc);
      } else {
        AveragePixel(s, x, oy, ox, floor, acc);
      }
    }
  }
}

void PoolBackward(const WindowShape& s, const int8_t* x, const float* grad_y, float* grad_x) {
  std::vector<int8_t> best(static_cast<size_t>(s.out.c));
  std::vector<int16_t> arg(static_cast<size_t>(s.out.c));
  for (int oy = 0; oy < s.out.h; ++oy) {
    for (int ox = 0; ox < s.out.w; ++ox, grad_y += s.out.c) {
      if (s.pool_kind == PoolKind::kMax) {
        MaxGradPixel(s, x, oy, ox, grad_y, grad_x, best, arg);
        continue;
      }
      const int taps = ForTaps(s, oy, ox, [](int64_t, int) {});
      const float share = 1.0f / static_cast<float>(taps);
      ForTaps(s, oy, ox, [&](int64_t pixel, int) {
        const int8_t* in = x + pixel * s.in.c;
        float* out = grad_x + pixel * s.in.c;
        for (int c = 0; c < s.out.c; ++c) out[c] += !s.relu || in[c] > 0 ? grad_y[c] * share : 0.0f;
      });
    }
  }
}

}  // namespace ftt::cpu
