// Forward ops of the reference backend.
#include <cmath>
#include <cstring>

#include "kernels/quantize_math.h"
#include "kernels/ref_backend.h"

namespace ftt {
namespace {

int ReluCode(int code, bool relu) { return relu && code < 0 ? 0 : code; }

// One accumulator of a convolution at output (oy, ox, oc).
int32_t ConvAt(const WindowShape& s, const int8_t* x, const int8_t* w, int oy, int ox, int oc) {
  const int in_per_group = s.in.c / s.conv.groups;
  const int first = oc / (s.out.c / s.conv.groups) * in_per_group;
  int32_t acc = 0;
  for (int ky = 0; ky < s.conv.kernel; ++ky) {
    const int iy = InputIndex(s, oy, ky);
    if (iy < 0 || iy >= s.in.h) continue;
    for (int kx = 0; kx < s.conv.kernel; ++kx) {
      const int ix = InputIndex(s, ox, kx);
      if (ix < 0 || ix >= s.in.w) continue;
      const int8_t* pixel = x + (int64_t{iy} * s.in.w + ix) * s.in.c + first;
      const int8_t* tap =
          w + ((int64_t{oc} * s.conv.kernel + ky) * s.conv.kernel + kx) * in_per_group;
      for (int c = 0; c < in_per_group; ++c) acc += ReluCode(pixel[c], s.relu) * tap[c];
    }
  }
  return acc;
}

// n / d rounded to nearest, ties to even; d > 0.
int32_t DivideRound(int32_t n, int32_t d) {
  const int32_t quotient = n / d;
  const int32_t rest = n - quotient * d;
  const int32_t twice = 2 * std::abs(rest);
  const int32_t away = n < 0 ? -1 : 1;
  if (twice > d || (twice == d && quotient % 2 != 0)) return quotient + away;
  return quotient;
}

int32_t PoolAt(const WindowShape& s, const int8_t* x, int oy, int ox, int c) {
  int32_t best = -128, sum = 0, taps = 0;
  for (int ky = 0; ky < s.conv.kernel; ++ky) {
    const int iy = InputIndex(s, oy, ky);
    if (iy < 0 || iy >= s.in.h) continue;
    for (int kx = 0; kx < s.conv.kernel; ++kx) {
      const int ix = InputIndex(s, ox, kx);
      if (ix < 0 || ix >= s.in.w) continue;
      const int code = ReluCode(x[(int64_t{iy} * s.in.w + ix) * s.in.c + c], s.relu);
      best = code > best ? code : best;
      sum += code;
      ++taps;
    }
  }
  return s.pool_kind == PoolKind::kMax ? best : DivideRound(sum, taps);
}

void AddStats(ChannelStats& s, int32_t v, bool first) {
  s.sum += v;
  s.sum_squares += double{static_cast<double>(v)} * v;
  s.min = first || v < s.min ? v : s.min;
  s.max = first || v > s.max ? v : s.max;
}

void InjectLane(const LaneFaults* faults, int lane, uint32_t image, const Shape& s, int8_t* codes,
                uint8_t* mask) {
  if (faults == nullptr || faults[lane].faults == nullptr || faults[lane].faults->Empty()) return;
  const LaneFaults& f = faults[lane];
  InjectFeatureRef(*f.faults, f.moment, image, codes, s.Elements(), s.c, mask, f.counts,
                   f.recorder);
}

void SetMaskBit(uint8_t* mask, int64_t i, bool pass) {
  const auto bit = static_cast<uint8_t>(1u << (i % 8));
  mask[i / 8] = static_cast<uint8_t>(pass ? mask[i / 8] | bit : mask[i / 8] & ~bit);
}

void MaskRelu(const int8_t* codes, int64_t n, uint8_t* mask) {
  for (int64_t i = 0; i < n; ++i) {
    if (codes[i] <= 0) SetMaskBit(mask, i, false);
  }
}

}  // namespace

int InputIndex(const WindowShape& s, int out, int tap) {
  return out * s.conv.stride - s.conv.pad + s.conv.offset + tap * s.conv.dilation;
}

void RefBackend::Accumulate(const BatchDims& b, const WindowShape& s, const int8_t* x,
                            WeightCodes* weights, const RawMap& raw, ChannelStats* stats) {
  int32_t* acc = Ints(raw);
  for (int lane = 0; lane < b.lanes; ++lane) {
    for (int image = 0; image < b.images; ++image) {
      const int64_t at = int64_t{lane} * b.images + image;
      const int8_t* map = x + at * s.in.Elements();
      int32_t* out = acc + at * s.out.Elements();
      for (int oy = 0; oy < s.out.h; ++oy) {
        for (int ox = 0; ox < s.out.w; ++ox) {
          for (int c = 0; c < s.out.c; ++c) {
            const int32_t v =
                s.pool ? PoolAt(s, map, oy, ox, c) : ConvAt(s, map, weights->Lane(lane), oy, ox, c);
            *out++ = v;
            if (stats != nullptr) AddStats(stats[lane * s.out.c + c], v, image + oy + ox == 0);
          }
        }
      }
    }
  }
}

void RefBackend::Quantize(const BatchDims& b, const Shape& s, int bits, const RawMap& raw,
                          const LaneNorm* norms, const LaneFaults* faults, int8_t* codes,
                          uint8_t* mask, bool relu_mask) {
  const int32_t* acc = Ints(raw);
  const int64_t n = s.Elements();
  for (int lane = 0; lane < b.lanes; ++lane) {
    const LaneNorm& norm = norms[lane];
    for (int image = 0; image < b.images; ++image) {
      const int64_t at = int64_t{lane} * b.images + image;
      uint8_t* image_mask = mask == nullptr ? nullptr : mask + at * MaskBytes(n);
      for (int64_t i = 0; i < n; ++i) {
        const auto c = static_cast<size_t>(i % s.c);
        const float y =
            std::rint(std::fmaf(static_cast<float>(acc[at * n + i]), norm.scale[c], norm.shift[c]));
        const bool inside =
            y >= static_cast<float>(CodeMin(bits)) && y <= static_cast<float>(CodeMax(bits));
        const int saturated = y > 0 ? CodeMax(bits) : CodeMin(bits);
        codes[at * n + i] = static_cast<int8_t>(inside ? static_cast<int>(y) : saturated);
        if (image_mask != nullptr) SetMaskBit(image_mask, i, inside);
      }
      InjectLane(faults, lane, b.image_ids[image], s, codes + at * n, image_mask);
      if (relu_mask && mask != nullptr) MaskRelu(codes + at * n, n, image_mask);
    }
  }
}

void RefBackend::Inject(const BatchDims& b, const Shape& s, const LaneFaults* faults,
                        int8_t* codes) {
  for (int lane = 0; lane < b.lanes; ++lane) {
    for (int image = 0; image < b.images; ++image) {
      InjectLane(faults, lane, b.image_ids[image], s,
                 codes + (int64_t{lane} * b.images + image) * s.Elements(), nullptr);
    }
  }
}

void RefBackend::AccumulateQuantize(const BatchDims& b, const WindowShape& s, int bits,
                                    const int8_t* x, WeightCodes* weights, const LaneNorm& norm,
                                    const LaneFaults* faults, int8_t* codes) {
  std::vector<int32_t> acc(static_cast<size_t>(b.lanes * b.images * s.out.Elements()));
  Accumulate(b, s, x, weights, acc.data(), nullptr);
  const std::vector<LaneNorm> norms(static_cast<size_t>(b.lanes), norm);
  Quantize(b, s.out, bits, acc.data(), norms.data(), faults, codes, nullptr, false);
}

void RefBackend::Add(const BatchDims& b, const Shape& s, int bits,
                     const std::vector<SumInput>& inputs, bool derive_exponent, int* exponent,
                     const LaneFaults* faults, int8_t* codes, uint8_t* mask, bool relu_mask) {
  const int64_t n = s.Elements() * b.images;
  std::vector<int64_t> sum(static_cast<size_t>(n));
  for (int lane = 0; lane < b.lanes; ++lane) {
    const int aligned = AlignedExponentOf(inputs, lane);
    int64_t largest = 0;
    for (int64_t i = 0; i < n; ++i) {
      int64_t total = 0;
      for (const SumInput& in : inputs) {
        total += RoundShift(ReluCode(in.codes[lane * n + i], in.relu), aligned - in.exponent[lane]);
      }
      sum[static_cast<size_t>(i)] = total;
      largest = std::max(largest, std::abs(total));
    }
    if (derive_exponent)
      exponent[lane] = ExponentFor(static_cast<float>(largest) * PowerOfTwo(aligned), bits);
    for (int image = 0; image < b.images; ++image) {
      const int64_t at = int64_t{lane} * b.images + image;
      uint8_t* image_mask = mask == nullptr ? nullptr : mask + at * MaskBytes(s.Elements());
      for (int64_t i = 0; i < s.Elements(); ++i) {
        const auto total = static_cast<int32_t>(sum[static_cast<size_t>(image * s.Elements() + i)]);
        const int64_t v = RoundShift(total, exponent[lane] - aligned);
        const int code = SaturateCode64(v, bits);
        codes[at * s.Elements() + i] = static_cast<int8_t>(code);
        if (image_mask != nullptr) SetMaskBit(image_mask, i, code == v);
      }
      InjectLane(faults, lane, b.image_ids[image], s, codes + at * s.Elements(), image_mask);
      if (relu_mask && mask != nullptr)
        MaskRelu(codes + at * s.Elements(), s.Elements(), image_mask);
    }
  }
}

void RefBackend::Concat(const BatchDims& b, const Shape& s, int bits,
                        const std::vector<SumInput>& inputs, const int* exponent,
                        const LaneFaults* faults, int8_t* codes) {
  const int64_t pixels = int64_t{s.h} * s.w;
  for (int lane = 0; lane < b.lanes; ++lane) {
    for (int image = 0; image < b.images; ++image) {
      const int64_t at = int64_t{lane} * b.images + image;
      int8_t* out = codes + at * s.Elements();
      int offset = 0;
      for (const SumInput& in : inputs) {
        const int8_t* part = in.codes + at * pixels * in.channels;
        for (int64_t p = 0; p < pixels; ++p) {
          for (int c = 0; c < in.channels; ++c) {
            const int code = ReluCode(part[p * in.channels + c], in.relu);
            out[p * s.c + offset + c] = static_cast<int8_t>(
                SaturateCode64(RoundShift(code, exponent[lane] - in.exponent[lane]), bits));
          }
        }
        offset += in.channels;
      }
      InjectLane(faults, lane, b.image_ids[image], s, out, nullptr);
    }
  }
}

void RefBackend::GlobalSum(const BatchDims& b, const Shape& in, bool relu, const int8_t* x,
                           int32_t* acc) {
  for (int64_t at = 0; at < int64_t{b.lanes} * b.images; ++at) {
    int32_t* out = acc + at * in.c;
    std::memset(out, 0, sizeof(int32_t) * static_cast<size_t>(in.c));
    const int8_t* map = x + at * in.Elements();
    for (int64_t i = 0; i < in.Elements(); ++i) out[i % in.c] += ReluCode(map[i], relu);
  }
}

void RefBackend::Linear(const BatchDims& b, int in, int out, const int8_t* x,
                        const WeightCodes& weights, const float* unit, const float* bias,
                        const uint8_t* keep, float* logits) {
  for (int lane = 0; lane < b.lanes; ++lane) {
    for (int image = 0; image < b.images; ++image) {
      const int64_t at = int64_t{lane} * b.images + image;
      for (int o = 0; o < out; ++o) {
        const int8_t* row = weights.Lane(lane) + int64_t{o} * in;
        int32_t acc = 0;
        for (int i = 0; i < in; ++i) {
          if (keep == nullptr || keep[int64_t{image} * in + i] != 0) acc += row[i] * x[at * in + i];
        }
        logits[at * out + o] = std::fmaf(static_cast<float>(acc), unit[lane], bias[o]);
      }
    }
  }
}

}  // namespace ftt
