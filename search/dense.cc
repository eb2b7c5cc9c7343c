#include "search/dense.h"

#include <cmath>

// One source, compiled for what every processor has and again for wider vectors.
#if defined(__x86_64__)
#define FTT_AVX2 __attribute__((target("avx2")))
#define FTT_HAS_AVX2 __builtin_cpu_supports("avx2")
#else
#define FTT_AVX2
#define FTT_HAS_AVX2 false
#endif
#define FTT_INLINE inline __attribute__((always_inline))

namespace ftt::dense {
namespace {

// Four numbers: one register of AVX2, two of what every processor has.
using Vec = double __attribute__((vector_size(32), aligned(8), may_alias));
FTT_INLINE const Vec& Load(const double* from) { return *reinterpret_cast<const Vec*>(from); }
FTT_INLINE void Store(double* to, const Vec& v) { *reinterpret_cast<Vec*>(to) = v; }

// Four rows of W at a time, so that y is read and written less often; all x use them while they are
// in the first-level cache.
FTT_INLINE void Product(const double* x, size_t n, const double* w, size_t rows, size_t cols,
                        double* y) {
  size_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const double *w0 = w + r * cols, *w1 = w0 + cols, *w2 = w1 + cols, *w3 = w2 + cols;
    for (size_t t = 0; t < n; ++t) {
      const double* xr = x + t * rows + r;
      const double x0 = xr[0], x1 = xr[1], x2 = xr[2], x3 = xr[3];
      double* __restrict__ yt = y + t * cols;
      for (size_t c = 0; c < cols; ++c) yt[c] += x0 * w0[c] + x1 * w1[c] + x2 * w2[c] + x3 * w3[c];
    }
  }
  for (; r < rows; ++r) {
    for (size_t t = 0; t < n; ++t) {
      const double xr = x[t * rows + r];
      double* __restrict__ yt = y + t * cols;
      for (size_t c = 0; c < cols; ++c) yt[c] += xr * w[r * cols + c];
    }
  }
}
FTT_AVX2 void ProductAvx2(const double* x, size_t n, const double* w, size_t rows, size_t cols,
                          double* y) {
  Product(x, n, w, rows, cols, y);
}

// Of kRows rows with one dy. Eight partial sums a row, so that the additions do not wait for each
// other.
template <size_t kRows>
FTT_INLINE void TransposedRows(const double* dy, const double* w, size_t cols, double* dx) {
  Vec sum[kRows][2] = {};
  size_t c = 0;
  for (; c + 8 <= cols; c += 8) {
    for (size_t i = 0; i < kRows; ++i) {
      sum[i][0] += Load(w + i * cols + c) * Load(dy + c);
      sum[i][1] += Load(w + i * cols + c + 4) * Load(dy + c + 4);
    }
  }
  for (size_t i = 0; i < kRows; ++i) {
    const Vec s = sum[i][0], t = sum[i][1];
    double first = s[0];
    for (size_t at = c; at < cols; ++at) first += w[i * cols + at] * dy[at];
    dx[i] += ((first + s[1]) + (s[2] + s[3])) + ((t[0] + t[1]) + (t[2] + t[3]));
  }
}
FTT_INLINE void Transposed(const double* dy, size_t n, const double* w, size_t rows, size_t cols,
                           double* dx) {
  size_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    for (size_t t = 0; t < n; ++t)
      TransposedRows<4>(dy + t * cols, w + r * cols, cols, dx + t * rows + r);
  }
  for (; r < rows; ++r) {
    for (size_t t = 0; t < n; ++t)
      TransposedRows<1>(dy + t * cols, w + r * cols, cols, dx + t * rows + r);
  }
}
FTT_AVX2 void TransposedAvx2(const double* dy, size_t n, const double* w, size_t rows, size_t cols,
                             double* dx) {
  Transposed(dy, n, w, rows, cols, dx);
}

// kRows rows of DW, by tiles whose sums stay in registers.
template <size_t kRows>
FTT_INLINE void OuterRows(const double* x, const double* dy, size_t n, size_t rows, size_t cols,
                          double* dw) {
  size_t c = 0;
  for (; c + 8 <= cols; c += 8) {
    Vec sum[kRows][2] = {};
    for (size_t t = 0; t < n; ++t) {
      const Vec d0 = Load(dy + t * cols + c), d1 = Load(dy + t * cols + c + 4);
      for (size_t i = 0; i < kRows; ++i) {
        sum[i][0] += x[t * rows + i] * d0;
        sum[i][1] += x[t * rows + i] * d1;
      }
    }
    for (size_t i = 0; i < kRows; ++i) {
      Store(dw + i * cols + c, sum[i][0]);
      Store(dw + i * cols + c + 4, sum[i][1]);
    }
  }
  for (; c < cols; ++c) {
    for (size_t i = 0; i < kRows; ++i) {
      double sum = 0;
      for (size_t t = 0; t < n; ++t) sum += x[t * rows + i] * dy[t * cols + c];
      dw[i * cols + c] = sum;
    }
  }
}
FTT_INLINE void OuterOf(const double* x, const double* dy, size_t n, size_t rows, size_t cols,
                        double* dw) {
  size_t r = 0;
  for (; r + 4 <= rows; r += 4) OuterRows<4>(x + r, dy, n, rows, cols, dw + r * cols);
  for (; r < rows; ++r) OuterRows<1>(x + r, dy, n, rows, cols, dw + r * cols);
}
FTT_AVX2 void OuterAvx2(const double* x, const double* dy, size_t n, size_t rows, size_t cols,
                        double* dw) {
  OuterOf(x, dy, n, rows, cols, dw);
}

FTT_INLINE void Adam(const double* __restrict__ gradient, size_t n, const AdamRates& rates,
                     double* __restrict__ m, double* __restrict__ v, double* __restrict__ values) {
  const double scale = rates.scale, rate = rates.rate, root_scale = rates.root_scale;
  for (size_t i = 0; i < n; ++i) {
    const double g = gradient[i] * scale;
    m[i] = kAdamBeta1 * m[i] + (1 - kAdamBeta1) * g;
    v[i] = kAdamBeta2 * v[i] + (1 - kAdamBeta2) * g * g;
    values[i] -= rate * m[i] / (std::sqrt(v[i]) * root_scale + kAdamEpsilon);
  }
}
FTT_AVX2 void AdamAvx2(const double* gradient, size_t n, const AdamRates& rates, double* m,
                       double* v, double* values) {
  Adam(gradient, n, rates, m, v, values);
}

}  // namespace

void AddProduct(const double* x, size_t n, const double* w, size_t rows, size_t cols, double* y) {
  if (FTT_HAS_AVX2) return ProductAvx2(x, n, w, rows, cols, y);
  Product(x, n, w, rows, cols, y);
}

void AddProductTransposed(const double* dy, size_t n, const double* w, size_t rows, size_t cols,
                          double* dx) {
  if (FTT_HAS_AVX2) return TransposedAvx2(dy, n, w, rows, cols, dx);
  Transposed(dy, n, w, rows, cols, dx);
}

void Outer(const double* x, const double* dy, size_t n, size_t rows, size_t cols, double* dw) {
  if (FTT_HAS_AVX2) return OuterAvx2(x, dy, n, rows, cols, dw);
  OuterOf(x, dy, n, rows, cols, dw);
}

void AdamUpdate(const double* gradient, size_t n, const AdamRates& rates, double* m, double* v,
                double* values) {
  if (FTT_HAS_AVX2) return AdamAvx2(gradient, n, rates, m, v, values);
  Adam(gradient, n, rates, m, v, values);
}

}  // namespace ftt::dense
