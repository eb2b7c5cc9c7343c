// Pools over NHWC maps. A tap of a whole row of outputs is one run of elements at stride 1, so that
// the passes over it do not depend on the number of channels; at larger strides it is one pixel.
#include <algorithm>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/ref_backend.h"

namespace ftt::cpu {
namespace {

// Output pixels [first, last) of a row whose input pixel for this tap lies inside the map.
struct Span {
  int first, last;
};

Span ValidOutputs(const WindowShape& s, int kx) {
  Span span{0, s.out.w};
  while (span.first < span.last && InputIndex(s, span.first, kx) < 0) ++span.first;
  while (span.last > span.first && InputIndex(s, span.last - 1, kx) >= s.in.w) --span.last;
  return span;
}

// Calls body(tap, element in the output row, element in the input map, elements) for each run of
// each valid tap of one output row, taps in row order.
template <typename Body>
void ForRuns(const WindowShape& s, int oy, const Body& body) {
  const int64_t c = s.in.c;
  for (int tap = 0; tap < s.conv.kernel * s.conv.kernel; ++tap) {
    const int iy = InputIndex(s, oy, tap / s.conv.kernel), kx = tap % s.conv.kernel;
    if (iy < 0 || iy >= s.in.h) continue;
    const Span span = ValidOutputs(s, kx);
    const int step = s.conv.stride == 1 ? span.last - span.first : 1;
    for (int ox = span.first; ox < span.last; ox += step) {
      body(tap, ox * c, (int64_t{iy} * s.in.w + InputIndex(s, ox, kx)) * c, step * c);
    }
  }
}

// Valid taps of the outputs of one row, [out.w].
std::vector<int> CountTaps(const WindowShape& s, int oy) {
  std::vector<int> taps(static_cast<size_t>(s.out.w));
  for (int tap = 0; tap < s.conv.kernel * s.conv.kernel; ++tap) {
    const int iy = InputIndex(s, oy, tap / s.conv.kernel);
    if (iy < 0 || iy >= s.in.h) continue;
    const Span span = ValidOutputs(s, tap % s.conv.kernel);
    for (int ox = span.first; ox < span.last; ++ox) ++taps[static_cast<size_t>(ox)];
  }
  return taps;
}

// Calls body(element in the row, elements, taps) for maximal runs of outputs with equally many
// taps.
template <typename Body>
void ForEqualTaps(const std::vector<int>& taps, int channels, const Body& body) {
  for (size_t first = 0; first < taps.size();) {
    size_t last = first;
    while (last < taps.size() && taps[last] == taps[first]) ++last;
    body(static_cast<int64_t>(first) * channels, static_cast<int64_t>(last - first) * channels,
         taps[first]);
    first = last;
  }
}

}  // namespace

namespace {

// One row of the map with the padding that its windows read on both sides, [pixels][c].
struct PaddedRow {
  explicit PaddedRow(const WindowShape& s)
      : first(InputIndex(s, 0, 0)),
        pixels(InputIndex(s, s.out.w - 1, s.conv.kernel - 1) + 1 - first),
        skip(std::max(first, 0)),
        used(std::max(0, std::min(s.in.w, first + pixels) - skip)) {}
  int first, pixels;  // the input pixel where it begins, and how many it has
  int skip, used;     // input pixels of the map that fall into it
};

// Input row of the first valid tap of output row oy, and the number of valid ones.
struct RowTaps {
  RowTaps(const WindowShape& s, int oy) {
    for (int ky = 0; ky < s.conv.kernel; ++ky) {
      const int iy = InputIndex(s, oy, ky);
      if (iy < 0 || iy >= s.in.h) continue;
      if (count++ == 0) first = iy;
    }
  }
  int first = 0, count = 0;
};

}  // namespace

// First the taps of each column of the windows, whole rows at a time, into a padded row; then the
// columns of it, which at stride 1 are whole rows too.
void PoolForward(const Elementwise& ops, const WindowShape& s, int images, const int8_t* x,
                 int32_t* acc, AlignedBytes& scratch) {
  const int64_t c = s.out.c, row = s.out.w * c, in_row = s.in.w * c;
  const bool max = s.pool_kind == PoolKind::kMax, dense = s.conv.stride == 1;
  const PaddedRow padded(s);
  scratch.Resize((row + padded.pixels * c + 128) * 2);
  auto* best = scratch.As<int8_t>();
  int8_t* column_best = best + (row + 63) / 64 * 64;
  auto* sums = scratch.As<int16_t>();
  int16_t* column_sums = sums + (row + 31) / 32 * 32;
  const int64_t begin = (padded.skip - padded.first) * c, used = padded.used * c;
  std::fill_n(max ? column_best : reinterpret_cast<int8_t*>(column_sums),
              padded.pixels * c * (max ? 1 : 2), static_cast<int8_t>(max ? -128 : 0));
  std::vector<int> columns(static_cast<size_t>(s.out.w));  // valid ones of each output pixel
  for (int kx = 0; kx < s.conv.kernel; ++kx) {
    const Span span = ValidOutputs(s, kx);
    for (int ox = span.first; ox < span.last; ++ox) ++columns[static_cast<size_t>(ox)];
  }
  const int64_t tap_step = s.conv.dilation * c, pixels = dense ? 1 : s.out.w,
                pixel_step = s.conv.stride * c, width = dense ? row : c;
  for (int64_t y = 0; y < int64_t{images} * s.out.h; ++y, acc += row) {
    const RowTaps taps(s, static_cast<int>(y % s.out.h));
    const int8_t* from = x + y / s.out.h * s.in.Elements() + taps.first * in_row + padded.skip * c;
    if (max) {
      ops.max_windows(from, taps.count, s.conv.dilation * in_row, 1, 0, used,
                      static_cast<int8_t>(s.relu ? 0 : -128), column_best + begin);
      ops.max_windows(column_best, s.conv.kernel, tap_step, pixels, pixel_step, width, -128, best);
      ops.widen_codes(best, row, acc);
      continue;
    }
    std::fill_n(column_sums + begin, used, int16_t{0});
    for (int t = 0; t < taps.count; ++t)
      ops.add_codes(from + t * s.conv.dilation * in_row, used, s.relu, column_sums + begin);
    ops.sum_windows(column_sums, s.conv.kernel, tap_step, pixels, pixel_step, width, sums);
    ForEqualTaps(columns, s.out.c, [&](int64_t at, int64_t n, int valid) {
      ops.average_sums(sums + at, n, valid * taps.count, acc + at);
    });
  }
}

void PoolBackward(const Elementwise& ops, const WindowShape& s, const int8_t* x,
                  const float* grad_y, float* grad_x, AlignedBytes& scratch) {
  const int64_t row = int64_t{s.out.w} * s.out.c;
  scratch.Resize(row * 4);
  for (int oy = 0; oy < s.out.h; ++oy, grad_y += row) {
    if (s.pool_kind == PoolKind::kMax) {
      auto* best = scratch.As<int8_t>();
      auto* arg = scratch.As<uint8_t>() + row;
      // A maximum that ReLU cuts off belongs to no tap: only codes above 0 then count as better.
      std::fill_n(best, row, int8_t{0});
      std::fill_n(arg, row, s.relu ? uint8_t{kNoTap - 1} : kNoTap);
      ForRuns(s, oy, [&](int tap, int64_t to, int64_t from, int64_t n) {
        ops.first_max(x + from, n, static_cast<uint8_t>(tap), best + to, arg + to);
      });
      ForRuns(s, oy, [&](int tap, int64_t to, int64_t from, int64_t n) {
        ops.route_grad(grad_y + to, arg + to, static_cast<uint8_t>(tap), n, grad_x + from);
      });
      continue;
    }
    auto* share = scratch.As<float>();
    ForEqualTaps(CountTaps(s, oy), s.out.c, [&](int64_t at, int64_t n, int taps) {
      ops.pass_grad(grad_y + at, 1.0f / static_cast<float>(taps), nullptr, false, nullptr, n, false,
                    share + at);
    });
    ForRuns(s, oy, [&](int, int64_t to, int64_t from, int64_t n) {
      ops.pass_grad(share + to, 1.0f, x + from, s.relu, nullptr, n, true, grad_x + from);
    });
  }
}

}  // namespace ftt::cpu
