// Products of small dense matrices in double precision, row-major, for the controller. Each result
// is the same on every processor: vectors only do several of these sums at a time.
#pragma once

#include <cstddef>

namespace ftt::dense {

// Y[n, cols] += X[n, rows] W[rows, cols].
void AddProduct(const double* x, size_t n, const double* w, size_t rows, size_t cols, double* y);
// DX[n, rows] += DY[n, cols] W[rows, cols]^T.
void AddProductTransposed(const double* dy, size_t n, const double* w, size_t rows, size_t cols,
                          double* dx);
// DW[rows, cols] = X[n, rows]^T DY[n, cols], summed in the order of the n rows.
void Outer(const double* x, const double* dy, size_t n, size_t rows, size_t cols, double* dw);

struct AdamRates {
  double scale = 1;  // of the gradient
  double rate = 0, root_scale = 1;
};
inline constexpr double kAdamBeta1 = 0.9, kAdamBeta2 = 0.999, kAdamEpsilon = 1e-8;
// values -= rate * m / (sqrt(v) * root_scale + epsilon), with the moments m and v, [n] like the
// others, brought up to date first.
void AdamUpdate(const double* gradient, size_t n, const AdamRates& rates, double* m, double* v,
                double* values);

}  // namespace ftt::dense
