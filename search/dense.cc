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

// Four rows at a time, so that y is read and written less often.
FTT_INLINE void Product(const double* x, const double* w, size_t rows, size_t cols,
                        double* __restrict__ y) {
  size_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const double x0 = x[r], x1 = x[r + 1], x2 = x[r + 2], x3 = x[r + 3];
    const double *w0 = w + r * cols, *w1 = w0 + cols, *w2 = w1 + cols, *w3 = w2 + cols;
    for (size_t c = 0; c < cols; ++c) y[c] += x0 * w0[c] + x1 * w1[c] + x2 * w2[c] + x3 * w3[c];
  }
  for (; r < rows; ++r) {
    const double xr = x[r];
    for (size_t c = 0; c < cols; ++c) y[c] += xr * w[r * cols + c];
  }
}
FTT_AVX2 void ProductAvx2(const double* x, const double* w, size_t rows, size_t cols, double* y) {
  Product(x, w, rows, cols, y);
}

// Eight partial sums, so that the additions do not wait for each other.
FTT_INLINE void Transposed(const double* w, size_t rows, size_t cols, const double* dy,
                           double* __restrict__ dx) {
  for (size_t r = 0; r < rows; ++r) {
    const double* row = w + r * cols;
    double sum[8] = {};
    size_t c = 0;
    for (; c + 8 <= cols; c += 8) {
      for (size_t k = 0; k < 8; ++k) sum[k] += row[c + k] * dy[c + k];
    }
    for (; c < cols; ++c) sum[0] += row[c] * dy[c];
    dx[r] += ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
  }
}
FTT_AVX2 void TransposedAvx2(const double* w, size_t rows, size_t cols, const double* dy,
                             double* dx) {
  Transposed(w, rows, cols, dy, dx);
}

// Row by row, so that a large dw is walked through once.
FTT_INLINE void Outer(const std::vector<const double*>& x, const std::vector<const double*>& dy,
                      size_t rows, size_t cols, double* dw) {
  for (size_t r = 0; r < rows; ++r) {
    double* __restrict__ row = dw + r * cols;
    for (size_t t = 0; t < x.size(); ++t) {
      const double factor = x[t][r];
      const double* d = dy[t];
      for (size_t c = 0; c < cols; ++c) row[c] += factor * d[c];
    }
  }
}
FTT_AVX2 void OuterAvx2(const std::vector<const double*>& x, const std::vector<const double*>& dy,
                        size_t rows, size_t cols, double* dw) {
  Outer(x, dy, rows, cols, dw);
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

void AddProduct(const double* x, const double* w, size_t rows, size_t cols, double* y) {
  if (FTT_HAS_AVX2) return ProductAvx2(x, w, rows, cols, y);
  Product(x, w, rows, cols, y);
}

void AddProductTransposed(const double* w, size_t rows, size_t cols, const double* dy, double* dx) {
  if (FTT_HAS_AVX2) return TransposedAvx2(w, rows, cols, dy, dx);
  Transposed(w, rows, cols, dy, dx);
}

void AddOuter(const std::vector<const double*>& x, const std::vector<const double*>& dy,
              size_t rows, size_t cols, double* dw) {
  if (FTT_HAS_AVX2) return OuterAvx2(x, dy, rows, cols, dw);
  Outer(x, dy, rows, cols, dw);
}

void AdamUpdate(const double* gradient, size_t n, const AdamRates& rates, double* m, double* v,
                double* values) {
  if (FTT_HAS_AVX2) return AdamAvx2(gradient, n, rates, m, v, values);
  Adam(gradient, n, rates, m, v, values);
}

}  // namespace ftt::dense
