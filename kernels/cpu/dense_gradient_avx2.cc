// Compiled for AVX2; runs only where DenseGradientsAvailable().
#include "kernels/cpu/dense_gradient_avx2.h"

#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/unroll.h"

namespace ftt::cpu {
namespace {

// The first `count` of 8 floats; masked stores take a dozen cycles on some processors.
inline void StorePart(float* to, int count, __m256 value) {
  __m128 four = _mm256_castps256_ps128(value);
  if ((count & 4) != 0) {
    _mm_storeu_ps(to, four);
    four = _mm256_extractf128_ps(value, 1);
    to += 4;
  }
  if ((count & 2) != 0) {
    _mm_storel_pi(reinterpret_cast<__m64*>(to), four);
    four = _mm_movehl_ps(four, four);
    to += 2;
  }
  if ((count & 1) != 0) _mm_store_ss(to, four);
}

// Columns of a tile by vectors of 8, of which the last may be shorter.
template <int kVectors>
struct Columns {
  explicit Columns(int all) : count(all < 8 * kVectors ? all - 8 * (kVectors - 1) : 8) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    last = _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane);
  }
  __m256 Load(const float* from, int v) const {
    return v + 1 < kVectors ? _mm256_loadu_ps(from + 8 * v)
                            : _mm256_maskload_ps(from + 8 * v, last);
  }
  void Store(float* to, int v, __m256 value) const {
    if (v + 1 < kVectors || count == 8) {
      _mm256_storeu_ps(to + 8 * v, value);
    } else {
      StorePart(to + 8 * v, count, value);
    }
  }
  int count;  // of the last vector
  __m256i last;
};

// kExact: the last vector of b is shorter, too.
template <int kRows, int kVectors, bool kExact>
void MultiplyOuter(const WeightTile& t) {
  const Columns<kVectors> columns(t.columns);
  __m256 sum[kRows][kVectors];
  FTT_UNROLL
  for (int r = 0; r < kRows; ++r) {
    FTT_UNROLL
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = t.add ? columns.Load(t.c + r * t.c_row, v) : _mm256_setzero_ps();
  }
  const int64_t a_step = t.a_steps.pixel, b_step = t.b_steps.pixel;
  for (int image = 0; image < t.images; ++image) {
    for (int y = 0; y < t.rows; ++y) {
      const float* a = t.a + image * t.a_steps.image + y * t.a_steps.row;
      const float* b = t.b + image * t.b_steps.image + y * t.b_steps.row;
      for (int x = 0; x < t.width; ++x, a += a_step, b += b_step) {
        __m256 column[kVectors];
        FTT_UNROLL
        for (int v = 0; v < kVectors; ++v)
          column[v] = kExact ? columns.Load(b, v) : _mm256_loadu_ps(b + 8 * v);
        FTT_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const __m256 value = _mm256_broadcast_ss(a + r);
          FTT_UNROLL
          for (int v = 0; v < kVectors; ++v)
            sum[r][v] = _mm256_fmadd_ps(value, column[v], sum[r][v]);
        }
      }
    }
  }
  FTT_UNROLL
  for (int r = 0; r < kRows; ++r) {
    FTT_UNROLL
    for (int v = 0; v < kVectors; ++v) columns.Store(t.c + r * t.c_row, v, sum[r][v]);
  }
}

template <int kVectors, bool kExact>
void WeightTileOf(const WeightTile& tile) {
  switch (tile.channels) {
    case 1:
      return MultiplyOuter<1, kVectors, kExact>(tile);
    case 2:
      return MultiplyOuter<2, kVectors, kExact>(tile);
    case 3:
      return MultiplyOuter<3, kVectors, kExact>(tile);
    case 4:
      return MultiplyOuter<4, kVectors, kExact>(tile);
  }
  if constexpr (kVectors < 3) {
    if (tile.channels == 5) return MultiplyOuter<5, kVectors, kExact>(tile);
    return MultiplyOuter<kTileRows, kVectors, kExact>(tile);
  }
}

template <bool kExact>
void WeightTileOf(const WeightTile& tile) {
  switch (PanelColumns(tile.columns)) {
    case 8:
      return WeightTileOf<1, kExact>(tile);
    case kTileColumns:
      return WeightTileOf<2, kExact>(tile);
    default:
      return WeightTileOf<3, kExact>(tile);
  }
}

// Some pixels of DataRows, by address.
struct DataTile {
  const float* x[kGroupRows];
  float* out[kGroupRows];
  int count;
};

// Pixels from `at` on, by a tile of columns from `column` on.
template <int kVectors, int kPixels>
void MultiplyTaps(const DataRows& d, const DataTile& t, int at, int column) {
  const float* const* x = t.x + at;
  float* const* out = t.out + at;
  __m256 sum[kPixels][kVectors];
  FTT_UNROLL
  for (int p = 0; p < kPixels; ++p) {
    FTT_UNROLL
    for (int v = 0; v < kVectors; ++v) sum[p][v] = _mm256_setzero_ps();
  }
  const float* w = d.weights + int64_t{column} * d.segments * d.run;
  for (int s = 0; s < d.segments; ++s) {
    const int64_t first = d.offsets[s], last = first + d.run;
    for (int64_t i = first; i < last; ++i, w += 8 * kVectors) {
      __m256 weights[kVectors];
      FTT_UNROLL
      for (int v = 0; v < kVectors; ++v) weights[v] = _mm256_load_ps(w + 8 * v);
      FTT_UNROLL
      for (int p = 0; p < kPixels; ++p) {
        const __m256 value = _mm256_broadcast_ss(x[p] + i);
        FTT_UNROLL
        for (int v = 0; v < kVectors; ++v)
          sum[p][v] = _mm256_fmadd_ps(value, weights[v], sum[p][v]);
      }
    }
  }
  const Columns<kVectors> columns(d.columns - column);
  FTT_UNROLL
  for (int p = 0; p < kPixels; ++p) {
    FTT_UNROLL
    for (int v = 0; v < kVectors; ++v) columns.Store(out[p] + column, v, sum[p][v]);
  }
}

// Pixels from `first` on by a tile of columns.
template <int kVectors>
void MultiplyPixels(const DataRows& d, const DataTile& t, int first, int column) {
  switch (t.count - first) {
    case 1:
      return MultiplyTaps<kVectors, 1>(d, t, first, column);
    case 2:
      return MultiplyTaps<kVectors, 2>(d, t, first, column);
    case 3:
      return MultiplyTaps<kVectors, 3>(d, t, first, column);
  }
  if constexpr (kVectors < 3) {
    if (t.count - first == 4) return MultiplyTaps<kVectors, 4>(d, t, first, column);
    if (t.count - first == 5) return MultiplyTaps<kVectors, 5>(d, t, first, column);
    return MultiplyTaps<kVectors, kTileRows>(d, t, first, column);
  }
  return MultiplyTaps<kVectors, 4>(d, t, first, column);
}

void MultiplyColumns(const DataRows& d, const DataTile& t) {
  for (int column = 0; column < d.columns;) {
    const int columns = NextColumns(d.columns - column), rows = RowsBeside(columns);
    auto* const multiply = columns <= 8              ? MultiplyPixels<1>
                           : columns <= kTileColumns ? MultiplyPixels<2>
                                                     : MultiplyPixels<3>;
    for (int first = 0; first < t.count; first += rows) multiply(d, t, first, column);
    column += columns;
  }
}

template <int kPanel>
void PackCodes(const int8_t* from, int64_t step, int64_t pixels, int columns, bool relu,
               float* to) {
  const __m128i least = _mm_set1_epi8(relu ? 0 : -128);
  int64_t p = 0;
  for (; (pixels - 1 - p) * step + columns >= kPanel; ++p, from += step, to += kPanel) {
    FTT_UNROLL
    for (int i = 0; i < kPanel; i += 8) {
      const __m128i codes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + i));
      const __m256i wide = _mm256_cvtepi8_epi32(_mm_max_epi8(codes, least));
      _mm256_storeu_ps(to + i, _mm256_cvtepi32_ps(wide));
    }
  }
  for (; p < pixels; ++p, from += step, to += kPanel) {
    for (int i = 0; i < kPanel; ++i) {
      const int code = i < columns ? from[i] : 0;
      to[i] = static_cast<float>(relu && code < 0 ? 0 : code);
    }
  }
}

}  // namespace

void WeightTileAvx2(const WeightTile& tile) {
  (tile.exact && tile.columns % 8 != 0 ? WeightTileOf<true> : WeightTileOf<false>)(tile);
}

void DataRowsAvx2(const DataRows& d) {
  DataTile tile;
  const float* x = d.x;
  float* out = d.out;
  int column = 0;
  for (int left = d.count; left > 0; left -= kGroupRows) {
    tile.count = left < kGroupRows ? left : kGroupRows;
    for (int p = 0; p < tile.count; ++p) {
      tile.x[p] = x + column * d.x_pixel;
      tile.out[p] = out + column * d.out_pixel;
      if (++column < d.width) continue;
      column = 0;
      x += d.x_row;
      out += d.out_row;
    }
    MultiplyColumns(d, tile);
  }
}

void PackRowsAvx2(const float* from, int64_t step, int64_t pixels, int channels, float* to) {
  // Whole vectors, of which the next pixel overwrites what is too much; the last pixel's neighbours
  // may not be there.
  const int vectors = (channels + 3) / 4;
  int64_t p = 0;
  for (; (pixels - 1 - p) * step + channels >= 4 * vectors; ++p, from += step, to += channels) {
    _mm_storeu_ps(to, _mm_loadu_ps(from));
    if (vectors > 1) _mm_storeu_ps(to + 4, _mm_loadu_ps(from + 4));
    if (vectors > 2) _mm_storeu_ps(to + 8, _mm_loadu_ps(from + 8));
  }
  for (; p < pixels; ++p, from += step, to += channels)
    std::memcpy(to, from, static_cast<size_t>(channels) * sizeof(float));
}

void PackCodesAvx2(const int8_t* from, int64_t step, int64_t pixels, int columns, bool relu,
                   float* to) {
  switch (PanelColumns(columns)) {
    case 8:
      return PackCodes<8>(from, step, pixels, columns, relu, to);
    case kTileColumns:
      return PackCodes<kTileColumns>(from, step, pixels, columns, relu, to);
    default:
      return PackCodes<kWideColumns>(from, step, pixels, columns, relu, to);
  }
}

}  // namespace ftt::cpu
