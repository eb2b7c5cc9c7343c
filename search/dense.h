// Products of small dense matrices in double precision, row-major, for the controller. Each result
// is the same on every processor: vectors only do several of these sums at a time.
#pragma once

#include <cstddef>
#include <vector>

namespace ftt::dense {

// y[cols] += x[rows] W[rows, cols].
void AddProduct(const double* x, const double* w, size_t rows, size_t cols, double* y);
// dx[rows] += W[rows, cols] dy[cols].
void AddProductTransposed(const double* w, size_t rows, size_t cols, const double* dy, double* dx);
// dw[rows, cols] += sum over t of x_t[rows] dy_t[cols]^T.
void AddOuter(const std::vector<const double*>& x, const std::vector<const double*>& dy,
              size_t rows, size_t cols, double* dw);

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
