// What the tests of backward kernels share: geometry, operands and gradients on the device.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/bf16.h"
#include "kernels/cuda/gradient.h"
#include "kernels/quantize_math.h"
#include "tests/cuda/layout.h"
#include "tests/kernels/parity_util.h"

namespace ftt::cuda::test {

inline WindowGeometry GeometryOf(const WindowShape& s, int lanes, int images) {
  return {lanes,         images,        s.in.h,          s.in.w,
          s.in.c,        s.out.h,       s.out.w,         s.out.c,
          s.conv.kernel, s.conv.stride, s.conv.dilation, s.conv.offset - s.conv.pad,
          s.relu};
}

inline ConvParams Params(int k, int stride, int dilation, int groups, int offset = 0) {
  return {k, stride, dilation * (k - 1) / 2, dilation, groups, offset};
}

inline std::vector<Bf16> ToBf16(const std::vector<float>& values) {
  std::vector<Bf16> rounded(values.size());
  std::transform(values.begin(), values.end(), rounded.begin(), FloatToBf16);
  return rounded;
}
inline std::vector<float> FromBf16(const std::vector<Bf16>& values) {
  std::vector<float> floats(values.size());
  std::transform(values.begin(), values.end(), floats.begin(), Bf16ToFloat);
  return floats;
}
inline std::vector<float> RoundedToBf16(const std::vector<float>& values) {
  return FromBf16(ToBf16(values));
}
// Random numbers that bfloat16 holds.
inline std::vector<float> ShortFloats(ftt::test::Operands& operands, int64_t n) {
  return RoundedToBf16(operands.Floats(n));
}

// Every value within `tolerance` of the largest, and the share `rounding` of its own.
inline void ExpectClose(const std::vector<float>& want, const std::vector<float>& got,
                        double tolerance, double rounding = 0) {
  ASSERT_EQ(want.size(), got.size());
  double largest = 0;
  for (const float v : want) largest = std::max(largest, std::fabs(double{v}));
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_LE(std::fabs(double{want[i]} - got[i]),
              rounding * std::fabs(want[i]) + tolerance * largest + 1e-30)
        << "at " << i << ": " << want[i] << " against " << got[i];
  }
}
// The same of what was rounded to bfloat16 in the end.
inline void ExpectRounded(const std::vector<float>& want, const std::vector<Bf16>& got,
                          int channels, double tolerance) {
  ExpectClose(want, Dense(FromBf16(got), channels), tolerance, 1.0 / 256);
}

// A gradient behind a mask and a map, on the device and, applied, for the reference.
class MappedGradient {
 public:
  MappedGradient(ftt::test::Operands& operands, const MapShape& s, bool mapped, RawType type)
      : applied_(ShortFloats(operands, int64_t{s.lanes} * s.Pixels() * s.channels)),
        grad_(ToBf16(Padded(applied_, s.channels))),
        raw_int_(grad_.Size()),
        raw_half_(grad_.Size()),
        mask_(grad_.Size() / 8),
        mapped_(mapped),
        type_(type) {
    if (!mapped) return;
    const int64_t elements = int64_t{s.MapPixels()} * s.channels;
    const std::vector<uint8_t> mask = operands.Mask(int64_t{s.lanes} * s.images, elements);
    mask_.Set(PaddedMask(mask, s));
    std::vector<float> p = operands.Floats(int64_t{s.lanes} * s.channels);
    std::vector<float> q = operands.Floats(int64_t{s.lanes} * s.channels), r = p;
    for (float& v : q) v /= 512;
    for (float& v : r) v *= 0.25f;
    p_.emplace_back(Padded(p, s.channels));
    p_.emplace_back(Padded(q, s.channels));
    p_.emplace_back(Padded(r, s.channels));
    std::vector<int32_t> raw(applied_.size());
    std::vector<uint16_t> half(applied_.size());
    for (size_t i = 0; i < raw.size(); ++i) {
      // Small integers, whose halves are written by hand.
      const auto magnitude = static_cast<int>(operands.Below(1024)) + 1024;
      const bool negative = operands.Below(2) != 0;
      raw[i] = negative ? -magnitude : magnitude;
      half[i] = static_cast<uint16_t>((negative ? 0x8000 : 0) | 25 << 10 | (magnitude & 1023));
      const auto element = static_cast<int64_t>(i);
      const int64_t map = element / elements, at = element % elements;
      const bool pass =
          (mask[static_cast<size_t>(map * MaskBytes(elements) + at / 8)] >> at % 8 & 1) != 0;
      const auto norm = static_cast<size_t>(map / s.images * s.channels + element % s.channels);
      const float g = pass ? applied_[i] : 0.0f;
      applied_[i] = std::fmaf(static_cast<float>(raw[i]), q[norm], std::fmaf(g, p[norm], r[norm]));
    }
    raw_int_.Set(Padded(raw, s.channels));
    raw_half_.Set(Padded(half, s.channels));
  }

  const std::vector<float>& Host() const { return applied_; }
  OutputGradient Device() const {
    OutputGradient y;
    y.grad = grad_.Data();
    if (!mapped_) return y;
    y.mask = mask_.Data();
    y.raw_type = type_;
    y.raw = raw_int_.Data();
    if (type_ == RawType::kHalf) y.raw = raw_half_.Data();
    y.p = p_[0].Data();
    y.q = p_[1].Data();
    y.r = p_[2].Data();
    return y;
  }

 private:
  std::vector<float> applied_;
  DeviceBuffer<Bf16> grad_;
  DeviceBuffer<int32_t> raw_int_;
  DeviceBuffer<uint16_t> raw_half_;
  DeviceBuffer<uint8_t> mask_;
  std::deque<DeviceBuffer<float>> p_;
  bool mapped_;
  RawType type_;
};

}  // namespace ftt::cuda::test
