#include "kernels/cpu/dense_gradient.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "kernels/cpu/dense_gradient_avx2.h"
#include "kernels/cpu/elementwise.h"

namespace ftt::cpu {

bool DenseGradientsAvailable() {
#ifdef FTT_X86
  static const bool available = __builtin_cpu_supports("avx2") != 0 &&
                                __builtin_cpu_supports("fma") != 0 &&
                                __builtin_cpu_supports("avx512bw") == 0;
  return available;
#else
  return false;
#endif
}

#ifndef FTT_X86
void WeightTileAvx2(const WeightTile&) {}
void PackRowsAvx2(const float*, int64_t, int64_t, int, float*) {}
void PackCodesAvx2(const int8_t*, int64_t, int64_t, int, bool, float*) {}
void DataRowsAvx2(const DataRows&) {}
#endif

namespace {

constexpr int64_t kFloat = sizeof(float);
// Pixels of diff_y whose products are summed before a tile of weights is touched again: with those
// of one tile, and what they read, near the first-level cache.
constexpr int kBlockPixels = 256;
// Taps of an output channel up to which rearranging diff_y would take too large a part.
constexpr int kFewTaps = 48;
// Bytes of weights that are multiplied with a few pixels before the next ones.
constexpr int64_t kWeightBytes = 24 << 10;
// Bytes of diff_y that tiles of columns are multiplied with in turn: of pixels side by side, and of
// staged rows.
constexpr int64_t kFlatBytes = 24 << 10, kStagedBytes = 64 << 10;

void Check(const ConvShape& s) {
  FTT_CHECK(std::min({s.in_h, s.in_w, s.in_c, s.out_h, s.out_w, s.out_c, s.kernel, s.stride,
                      s.dilation}) > 0 &&
                s.pad >= 0 && s.groups == 1,
            "gradients of a dense convolution {}x{}x{} -> {}x{}x{}, kernel {}, groups {}: sizes "
            "must be positive, and groups 1",
            s.in_h, s.in_w, s.in_c, s.out_h, s.out_w, s.out_c, s.kernel, s.groups);
}

bool IsFlat(const ConvShape& s) {
  return s.kernel == 1 && s.stride == 1 && s.pad == 0 && s.in_h == s.out_h && s.in_w == s.out_w;
}

int CeilDiv(int a, int b) { return (a + b - 1) / b; }
int FloorDiv(int a, int b) { return a >= 0 ? a / b : -CeilDiv(-a, b); }

// Calls multiply(first row, rows) for as few tiles as there can be, of nearly the same size.
template <typename Multiply>
void ForTiles(int rows, int most, const Multiply& multiply) {
  const int count = CeilDiv(rows, most);
  for (int i = 0; i < count; ++i) {
    const int first = rows * i / count;
    multiply(first, rows * (i + 1) / count - first);
  }
}

}  // namespace

DenseWeightGradient::DenseWeightGradient(const ConvShape& s)
    : shape_(s),
      flat_(IsFlat(s)),
      by_taps_(s.dilation == 1 && s.kernel * s.kernel * s.in_c <= kFewTaps),
      staged_w_((s.out_w - 1) * s.stride + s.dilation * (s.kernel - 1) + 1) {
  Check(s);
}

int DenseWeightGradient::StagedRows(int rows) const {
  return (rows - 1) * shape_.stride + shape_.dilation * (shape_.kernel - 1) + 1;
}

// Steps between the first taps of neighbouring outputs, with so many staged floats a pixel.
PixelSteps DenseWeightGradient::Staged(const Block& b, int64_t pixel) const {
  return {shape_.stride * pixel, shape_.stride * staged_w_ * pixel,
          StagedRows(b.rows) * staged_w_ * pixel};
}

// [images][staged rows][staged_w][pixel], zeros outside of the image; convert(codes of a row, count
// of pixels, floats).
template <typename Convert>
void DenseWeightGradient::Stage(const int8_t* x, const Block& b, int64_t pixel, float* to,
                                const Convert& convert) const {
  const ConvShape& s = shape_;
  const int64_t image = int64_t{s.in_h} * s.in_w * s.in_c;
  x += b.image * image;
  if (flat_) {
    convert(x + int64_t{b.row} * s.in_c, b.width, to);
    return;
  }
  const int inside = std::clamp(staged_w_ - s.pad, 0, s.in_w);
  const int64_t left = std::min(s.pad, staged_w_) * pixel;
  const int64_t right = staged_w_ * pixel - left - inside * pixel;
  for (int i = 0; i < b.images; ++i, x += image) {
    for (int r = 0; r < StagedRows(b.rows); ++r, to += staged_w_ * pixel) {
      const int y = b.row * s.stride - s.pad + r;
      if (y < 0 || y >= s.in_h) {
        std::fill_n(to, staged_w_ * pixel, 0.0f);
        continue;
      }
      std::fill_n(to, left, 0.0f);
      if (inside > 0) convert(x + int64_t{y} * s.in_w * s.in_c, inside, to + left);
      std::fill_n(to + left + inside * pixel, right, 0.0f);
    }
  }
}

// diff_w: [out_c][kernel][kernel][in_c].
void DenseWeightGradient::RunByOutputs(const int8_t* x, bool relu, const Block& b,
                                       const float* diff_y, bool add, float* diff_w,
                                       DenseScratch& scratch) const {
  const ConvShape& s = shape_;
  const int64_t pixels = int64_t{b.images} * b.rows * b.width;
  scratch.rows.Resize((pixels * s.out_c + kPackSlack) * kFloat);
  auto* packed = scratch.rows.As<float>();
  for (int first = 0; first < s.out_c; first += kGroupRows) {
    PackRowsAvx2(diff_y + first, s.out_c, pixels, std::min(kGroupRows, s.out_c - first),
                 packed + first * pixels);
  }
  scratch.x.Resize((flat_ ? pixels : b.images * StagedRows(b.rows) * staged_w_) * kWideColumns *
                   kFloat);
  auto* staged = scratch.x.As<float>();
  WeightTile tile{.images = b.images, .rows = b.rows, .width = b.width};
  tile.c_row = int64_t{s.kernel} * s.kernel * s.in_c;
  tile.add = add;
  for (int channel = 0; channel < s.in_c; channel += tile.columns) {
    tile.columns = NextColumns(s.in_c - channel);
    const int panel = PanelColumns(tile.columns);
    Stage(x + channel, b, panel, staged, [&](const int8_t* codes, int count, float* to) {
      PackCodesAvx2(codes, s.in_c, count, tile.columns, relu, to);
    });
    tile.b_steps = Staged(b, panel);
    for (int first = 0; first < s.out_c; first += kGroupRows) {
      const int group = std::min(kGroupRows, s.out_c - first);
      const int64_t row = int64_t{b.width} * group;
      tile.a_steps = {group, row, b.rows * row};
      ForTiles(group, RowsBeside(tile.columns), [&](int at, int rows) {
        tile.channels = rows;
        tile.a = packed + first * pixels + at;
        tile.c = diff_w + (first + at) * tile.c_row + channel;
        for (int ky = 0; ky < s.kernel; ++ky) {
          for (int kx = 0; kx < s.kernel; ++kx, tile.c += s.in_c) {
            tile.b = staged + (int64_t{ky} * staged_w_ + kx) * s.dilation * panel;
            WeightTileAvx2(tile);
          }
        }
      });
    }
  }
}

// diff_w: [kernel][kernel][in_c][out_c]; neither operand is rearranged.
void DenseWeightGradient::RunByTaps(const int8_t* x, bool relu, const Block& b, const float* diff_y,
                                    bool add, float* diff_w, DenseScratch& scratch) const {
  const ConvShape& s = shape_;
  const int64_t pixels = int64_t{b.images} * b.rows * b.width;
  scratch.x.Resize((flat_ ? pixels : b.images * StagedRows(b.rows) * staged_w_) * s.in_c * kFloat);
  auto* staged = scratch.x.As<float>();
  Stage(x, b, s.in_c, staged, [&](const int8_t* codes, int count, float* to) {
    GetElementwise().to_float(codes, int64_t{count} * s.in_c, relu, to);
  });
  WeightTile tile{.images = b.images, .rows = b.rows, .width = b.width};
  tile.a_steps = Staged(b, s.in_c);
  tile.b_steps = {s.out_c, int64_t{b.width} * s.out_c, int64_t{b.rows} * b.width * s.out_c};
  tile.exact = true;
  tile.c_row = s.out_c;
  tile.add = add;
  for (int channel = 0; channel < s.out_c; channel += tile.columns) {
    tile.columns = NextColumns(s.out_c - channel);
    tile.b = diff_y + channel;
    for (int ky = 0; ky < s.kernel; ++ky) {
      ForTiles(s.kernel * s.in_c, RowsBeside(tile.columns), [&](int at, int rows) {
        tile.channels = rows;
        tile.a = staged + int64_t{ky} * staged_w_ * s.in_c + at;
        tile.c = diff_w + (int64_t{ky} * s.kernel * s.in_c + at) * s.out_c + channel;
        WeightTileAvx2(tile);
      });
    }
  }
}

void DenseWeightGradient::Run(const int8_t* x, bool relu, int images, const float* diff_y,
                              float* diff_w, DenseScratch& scratch) const {
  const ConvShape& s = shape_;
  const int map = s.out_h * s.out_w;
  const int pixels = by_taps_ && s.in_c > 24 ? kBlockPixels / 2 : kBlockPixels;
  bool add = false;
  const auto run = [&](const Block& b) {
    const int64_t first = int64_t{b.image} * map + int64_t{b.row} * (flat_ ? 1 : s.out_w);
    const float* dy = diff_y + first * s.out_c;
    if (by_taps_) {
      RunByTaps(x, relu, b, dy, add, diff_w, scratch);
    } else {
      RunByOutputs(x, relu, b, dy, add, diff_w, scratch);
    }
    add = true;
  };
  if (flat_) {
    for (int first = 0; first < images * map; first += pixels)
      run({0, 1, first, 1, std::min(pixels, images * map - first)});
  } else if (map < pixels) {
    const int several = pixels / map;
    for (int image = 0; image < images; image += several)
      run({image, std::min(several, images - image), 0, s.out_h, s.out_w});
  } else {
    const int rows = std::max(1, pixels / s.out_w);
    for (int image = 0; image < images; ++image) {
      for (int row = 0; row < s.out_h; row += rows)
        run({image, 1, row, std::min(rows, s.out_h - row), s.out_w});
    }
  }
}

int64_t DenseWeightGradient::PieceUnit() const {
  constexpr int64_t kLineFloats = 16;
  return by_taps_ ? kLineFloats * shape_.out_c : kLineFloats;
}

void DenseWeightGradient::AddTo(const float* diff_w, int64_t first, int64_t last, float unit,
                                const uint8_t* keep, float* grad_w) const {
  const auto add = [&](int64_t to, int64_t from) {
    if (keep == nullptr || keep[to] != 0) grad_w[to] += diff_w[from] * unit;
  };
  if (!by_taps_) {
    for (int64_t i = first; i < last; ++i) add(i, i);
    return;
  }
  const int64_t taps = int64_t{shape_.kernel} * shape_.kernel * shape_.in_c, outs = shape_.out_c;
  for (int64_t o = 0; o < outs; ++o) {
    for (int64_t t = first / outs; t < last / outs; ++t) add(o * taps + t, t * outs + o);
  }
}

DenseDataGradient::DenseDataGradient(const ConvShape& s, const int8_t* weights, float unit)
    : shape_(s), flat_(IsFlat(s)) {
  Check(s);
  // Input i sees output j = (i + pad - tap * dilation) / stride for each tap that leaves no
  // remainder.
  const int reach = s.dilation * (s.kernel - 1);
  pad_ = std::max(0, CeilDiv(reach - s.pad, s.stride));
  const auto staged = [&](int in, int out) {
    return pad_ + std::max(out, FloorDiv(in - 1 + s.pad, s.stride) + 1);
  };
  ahead_ = FloorDiv(s.stride - 1 + s.pad, s.stride);
  staged_w_ = staged(s.in_w, s.out_w);
  for (int y = 0; y < std::min(s.stride, s.in_h); ++y) {
    for (int x = 0; x < std::min(s.stride, s.in_w); ++x) AddPhase(y, x, weights, unit);
  }
}

void DenseDataGradient::AddPhase(int y, int x, const int8_t* weights, float unit) {
  const ConvShape& s = shape_;
  // Taps that inputs of this phase see, the last first, and the distance of their outputs.
  struct Tap {
    int tap, output;
  };
  const auto taps = [&](int at) {
    std::vector<Tap> all;
    for (int k = s.kernel - 1; k >= 0; --k) {
      const int from = at + s.pad - k * s.dilation;
      if (from - FloorDiv(from, s.stride) * s.stride == 0)
        all.push_back({k, FloorDiv(from, s.stride)});
    }
    return all;
  };
  const std::vector<Tap> rows = taps(y), columns = taps(x);
  bool neighbours = true;
  for (size_t i = 1; i < columns.size(); ++i)
    neighbours = neighbours && columns[i].output == columns[i - 1].output + 1;
  const size_t together = neighbours ? columns.size() : 1;

  Phase& phase = phases_.emplace_back();
  phase.y = y;
  phase.x = x;
  phase.height = CeilDiv(s.in_h - y, s.stride);
  phase.width = CeilDiv(s.in_w - x, s.stride);
  phase.run = static_cast<int>(together) * s.out_c;
  for (const Tap& row : rows) {
    for (size_t i = 0; i < columns.size(); i += together)
      phase.offsets.push_back(((row.output + pad_) * staged_w_ + columns[i].output + pad_) *
                              s.out_c);
  }
  const auto products = static_cast<int64_t>(phase.offsets.size()) * phase.run;
  phase.weights.Resize((products * CeilDiv(s.in_c, 8) * 8 + 1) * kFloat);
  auto* to = phase.weights.As<float>();
  for (int channel = 0, count = 0; channel < s.in_c; channel += count) {
    count = NextColumns(s.in_c - channel);
    const int panel = PanelColumns(count);
    for (const Tap& row : rows) {
      for (const Tap& column : columns) {
        for (int o = 0; o < s.out_c; ++o, to += panel) {
          const int8_t* from =
              weights + ((int64_t{o} * s.kernel + row.tap) * s.kernel + column.tap) * s.in_c +
              channel;
          for (int c = 0; c < panel; ++c)
            to[c] = c < count ? static_cast<float>(from[c]) * unit : 0.0f;
        }
      }
    }
  }
}

// Rows [first, first + count) of the padded map of one image.
void DenseDataGradient::Stage(const float* diff_y, int first, int count, float* to) const {
  const ConvShape& s = shape_;
  const int64_t pixel = s.out_c, row = staged_w_ * pixel;
  for (int r = first; r < first + count; ++r, to += row) {
    const int y = r - pad_;
    if (y < 0 || y >= s.out_h) {
      std::fill_n(to, row, 0.0f);
      continue;
    }
    std::fill_n(to, pad_ * pixel, 0.0f);
    std::copy_n(diff_y + y * s.out_w * pixel, s.out_w * pixel, to + pad_ * pixel);
    std::fill_n(to + (pad_ + s.out_w) * pixel, (staged_w_ - pad_ - s.out_w) * pixel, 0.0f);
  }
}

void DenseDataGradient::Run(const float* diff_y, int images, float* diff_x,
                            DenseScratch& scratch) const {
  const ConvShape& s = shape_;
  const int64_t pixel = s.out_c, out_map = int64_t{s.out_h} * s.out_w * pixel;
  const int64_t in_map = int64_t{s.in_h} * s.in_w * s.in_c;
  // Of `width` pixels a row, from the phase's row `row` on; staged: where that row's first tap
  // lies.
  const auto multiply = [&](const Phase& phase, const float* staged, int row, int width, int count,
                            float* to) {
    DataRows rows;
    rows.x = staged;
    rows.x_pixel = pixel;
    rows.x_row = staged_w_ * pixel;
    rows.width = width;
    rows.count = count;
    rows.offsets = phase.offsets.data();
    rows.segments = static_cast<int>(phase.offsets.size());
    rows.run = phase.run;
    rows.out_pixel = int64_t{s.stride} * s.in_c;
    rows.out_row = int64_t{s.stride} * s.in_w * s.in_c;
    const int64_t products = int64_t{rows.segments} * rows.run;
    const auto tiles = static_cast<int>(kWeightBytes / (products * kTileColumns * kFloat + 1));
    const int few = std::max(tiles, 1) * kTileColumns;
    for (int channel = 0; channel < s.in_c; channel += rows.columns) {
      const int left = s.in_c - channel;
      rows.columns = left <= few + kWideColumns - kTileColumns ? left : few;
      rows.weights = phase.weights.As<float>() + products * channel;
      rows.out = to + (int64_t{phase.y + row * s.stride} * s.in_w + phase.x) * s.in_c + channel;
      DataRowsAvx2(rows);
    }
  };
  if (flat_) {
    const int pixels = images * s.out_h * s.out_w;
    const int few =
        std::max(2, static_cast<int>(kFlatBytes / (pixel * kFloat) / kGroupRows)) * kTileRows;
    for (int first = 0; first < pixels; first += few) {
      const int count = std::min(few, pixels - first);
      multiply(phases_[0], diff_y + first * pixel, 0, count, count,
               diff_x + int64_t{first} * s.in_c);
    }
    return;
  }
  const int64_t row_bytes = staged_w_ * pixel * kFloat;
  const int height = phases_[0].height;  // the tallest
  const int band = std::max<int>(std::max(1, CeilDiv(2 * kGroupRows, phases_[0].width)),
                                 static_cast<int>(kStagedBytes / row_bytes) - pad_ - ahead_);
  scratch.x.Resize((std::min(band, height) + pad_ + ahead_) * row_bytes);
  auto* staged = scratch.x.As<float>();
  for (int image = 0; image < images; ++image, diff_y += out_map, diff_x += in_map) {
    for (int first = 0; first < height; first += band) {
      const int rows = std::min(band, height - first);
      Stage(diff_y, first, rows + pad_ + ahead_, staged);
      for (const Phase& phase : phases_) {
        const int count = std::min(rows, phase.height - first) * phase.width;
        if (count > 0) multiply(phase, staged, first, phase.width, count, diff_x);
      }
    }
  }
}

}  // namespace ftt::cpu
