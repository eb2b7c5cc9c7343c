// The oracle of the CPU convolution tests: every sum as plain loops over the definition, in int32
// or double.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/cpu/conv_dnnl.h"

namespace ftt::cpu {

// "Same" padding, so that stride 1 keeps the size of the map.
inline ConvShape SameShape(int images, int h, int w, int in_c, int out_c, int kernel,
                           int stride = 1, int dilation = 1, int groups = 1) {
  ConvShape s;
  s.images = images;
  s.in_h = h;
  s.in_w = w;
  s.in_c = in_c;
  s.out_c = out_c;
  s.kernel = kernel;
  s.stride = stride;
  s.dilation = dilation;
  s.groups = groups;
  s.pad = dilation * (kernel - 1) / 2;
  s.out_h = (h + 2 * s.pad - dilation * (kernel - 1) - 1) / stride + 1;
  s.out_w = (w + 2 * s.pad - dilation * (kernel - 1) - 1) / stride + 1;
  return s;
}

// Calls body(x index, weight index, y index) for every product of the convolution.
template <typename Body>
void ForEachProduct(const ConvShape& s, const Body& body) {
  const int in = s.in_c / s.groups, out = s.out_c / s.groups;
  for (int n = 0; n < s.images; ++n)
    for (int oy = 0; oy < s.out_h; ++oy)
      for (int ox = 0; ox < s.out_w; ++ox)
        for (int oc = 0; oc < s.out_c; ++oc)
          for (int ky = 0; ky < s.kernel; ++ky)
            for (int kx = 0; kx < s.kernel; ++kx) {
              const int y = oy * s.stride - s.pad + ky * s.dilation,
                        x = ox * s.stride - s.pad + kx * s.dilation;
              if (y < 0 || y >= s.in_h || x < 0 || x >= s.in_w) continue;
              for (int i = 0; i < in; ++i) {
                body(((size_t(n) * s.in_h + y) * s.in_w + x) * s.in_c + oc / out * in + i,
                     ((size_t(oc) * s.kernel + ky) * s.kernel + kx) * in + i,
                     ((size_t(n) * s.out_h + oy) * s.out_w + ox) * s.out_c + oc);
              }
            }
}

inline std::vector<int8_t> RandomCodes(size_t count, int low, int high, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<int8_t> codes(count);
  for (int8_t& code : codes) code = int8_t(low + int(rng() % unsigned(high - low + 1)));
  return codes;
}

inline std::vector<float> RandomFloats(size_t count, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<float> values(count);
  for (float& v : values) v = float(int(rng() % 20001u) - 10000) * 1e-4f;
  return values;
}

template <typename T>
std::vector<int32_t> NaiveForward(const ConvShape& s, const T* x, const std::vector<int8_t>& w) {
  std::vector<int32_t> y(s.OutElements());
  ForEachProduct(s, [&](size_t xi, size_t wi, size_t yi) { y[yi] += int32_t(x[xi]) * w[wi]; });
  return y;
}

inline std::vector<double> NaiveBackwardData(const ConvShape& s, const std::vector<float>& diff_y,
                                             const std::vector<int8_t>& w) {
  std::vector<double> diff_x(s.InElements());
  ForEachProduct(
      s, [&](size_t xi, size_t wi, size_t yi) { diff_x[xi] += double(diff_y[yi]) * w[wi]; });
  return diff_x;
}

// x as codes; relu: max(code, 0).
inline std::vector<double> NaiveBackwardWeights(const ConvShape& s, const std::vector<int8_t>& x,
                                                bool relu, const std::vector<float>& diff_y) {
  std::vector<double> diff_w(s.WeightElements());
  ForEachProduct(s, [&](size_t xi, size_t wi, size_t yi) {
    diff_w[wi] += double(diff_y[yi]) * (relu && x[xi] < 0 ? 0 : x[xi]);
  });
  return diff_w;
}

// |got - want| / |want| in the Euclidean norm.
inline double RelativeError(const float* got, const std::vector<double>& want) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  return norm > 0 ? std::sqrt(error / norm) : std::sqrt(error);
}

}  // namespace ftt::cpu
