// Kernels of backward.h.
#pragma once

#include "kernels/cuda/backward.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/divider.h"
#include "kernels/cuda/gradient.cuh"
#include "kernels/cuda/raw_values.cuh"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

inline constexpr int kBackwardThreads = 256;
inline constexpr int kBackwardFlight = 4;  // pixels that a thread loads at once

// How a map is shared out: `pixels` pixels a block, `width` threads a pixel, `slots` pixels at
// once.
struct PlacePlan {
  int pixels = 1, width = 1, slots = 1;
  Divider by_width;
};

// A thread's place: four channels of every slots-th pixel of its block's, from pixel `slot` on.
// Neighbouring threads take neighbouring channels. Grid (blocks, lanes, groups of channels).
struct VectorPlace {
  int width, slots, slot, channel, first, count;
  bool works;

  __device__ __forceinline__ VectorPlace(int stride, int all_pixels, const PlacePlan& plan)
      : width(plan.width), slots(plan.slots) {
    const int thread = static_cast<int>(threadIdx.x);
    slot = plan.by_width(thread);
    channel = 4 * (static_cast<int>(blockIdx.z) * kBackwardThreads + thread - slot * width);
    first = static_cast<int>(blockIdx.x) * plan.pixels;
    count = all_pixels - first < plan.pixels ? all_pixels - first : plan.pixels;
    works = slot < slots && channel < stride;
  }
  __device__ __forceinline__ bool Works() const { return works; }
  // For StartKernel.
  __device__ __forceinline__ int Index() const { return channel + slot + count; }
  // Bits of those of the four channels that are no pads.
  __device__ __forceinline__ uint32_t Real(int channels) const {
    const int left = channels - channel;
    return left >= 4 ? 0xFu : left <= 0 ? 0u : (1u << left) - 1;
  }
};

__device__ __forceinline__ bool Passes(const uint8_t* mask, int64_t bit) {
  return mask == nullptr || (mask[bit >> 3] >> (bit & 7) & 1) != 0;
}
// Mask bits of elements at .. at + 3, a multiple of 4; bits beyond them are of others.
__device__ __forceinline__ uint32_t PassBits(const uint8_t* mask, int64_t at) {
  return mask == nullptr ? 0xFu : static_cast<uint32_t>(mask[at >> 3]) >> (at & 4);
}

// What a thread reads of kBackwardFlight pixels of a gradient and of the raw outputs beside it. All
// loads are under way before the first value is used: Load is a block of its own, from which the
// compiler takes nothing apart.
template <typename Raw>
struct NormFlight {
  uint2 grad[kBackwardFlight];
  RawValues<Raw, 4> raw[kBackwardFlight];
  uint32_t pass[kBackwardFlight];  // mask bytes; 0 beyond the last pixel

  __device__ __forceinline__ void Load(const NormBackwardArguments& a, const VectorPlace& place,
                                       int64_t base, int stride, int p) {
    if (p >= place.count) return;
    FTT_UNROLL
    for (int u = 0; u < kBackwardFlight; ++u) {
      const bool inside = p + u * place.slots < place.count;
      const int64_t at = base + int64_t{inside ? p + u * place.slots : p} * stride;
      grad[u] = *FourOf(a.grad + at);
      if (a.mean != nullptr) raw[u].Load(static_cast<const Raw*>(a.raw) + at);
      pass[u] = inside ? 0xFF : 0;
      if (inside && a.mask != nullptr) pass[u] = a.mask[at >> 3];
    }
  }
  // Those that pass.
  __device__ __forceinline__ float4 Gradients(const VectorPlace& place, int u) const {
    return FloatsOf(Counting(grad[u], TopsOfBits(pass[u] >> (place.channel & 4) & 0xF)));
  }
};

// partials[lane][block]: a thread keeps its channels, slots are added up pairwise.
template <typename Raw>
__global__ void __launch_bounds__(kBackwardThreads, 3)
    NormSumsKernel(FTT_IN_PLACE NormBackwardArguments a, FTT_IN_PLACE PlacePlan plan) {
  const int lane = static_cast<int>(blockIdx.y), stride = a.shape.Stride();
  const VectorPlace place(stride, a.shape.Pixels(), plan);
  StartKernel(place.Index());
  const bool norm = a.mean != nullptr;
  const int64_t base =
      lane * a.shape.LaneElements() + int64_t{place.first} * stride + place.channel;
  double grad[4] = {}, grad_raw[4] = {};
  const int first = place.Works() ? place.slot : place.count;
  NormFlight<Raw> flight;
  flight.Load(a, place, base, stride, first);
  for (int p = first; p < place.count;) {
    // Few values lose nothing to speak of in float32, which doubles then add up.
    float few[4] = {}, few_raw[4] = {};
    FTT_UNROLL
    for (int u = 0; u < kBackwardFlight; ++u) {
      const float4 four = flight.Gradients(place, u);
      const float v[4] = {four.x, four.y, four.z, four.w};
      float raw[4];
      if (norm) flight.raw[u].Floats(raw);
      FTT_UNROLL
      for (int k = 0; k < 4; ++k) {
        few[k] += v[k];
        if (norm) few_raw[k] = fmaf(v[k], raw[k], few_raw[k]);
      }
    }
    FTT_UNROLL
    for (int k = 0; k < 4; ++k) {
      grad[k] += few[k];
      grad_raw[k] += few_raw[k];
    }
    p += kBackwardFlight * place.slots;
    flight.Load(a, place, base, stride, p);
  }
  using Shared = double[2][4][kBackwardThreads];
  FTT_SHARED(Shared, shared);
  const int thread = static_cast<int>(threadIdx.x);
  FTT_UNROLL
  for (int k = 0; k < 4; ++k) {
    shared[0][k][thread] = grad[k];
    shared[1][k][thread] = grad_raw[k];
  }
  int reach = 1;
  while (reach < place.slots) reach *= 2;
  for (reach /= 2; reach > 0; reach /= 2) {
    SyncThreads();
    if (place.slot >= reach || place.slot + reach >= place.slots) continue;
    const int other = thread + reach * place.width;
    FTT_UNROLL
    for (int k = 0; k < 4; ++k) {
      shared[0][k][thread] = grad[k] += shared[0][k][other];
      shared[1][k][thread] = grad_raw[k] += shared[1][k][other];
    }
  }
  if (place.slot != 0 || !place.Works()) return;
  GradSums* to = a.partials + (int64_t{lane} * gridDim.x + blockIdx.x) * stride + place.channel;
  FTT_UNROLL
  for (int k = 0; k < 4; ++k) to[k] = {grad[k], grad_raw[k]};
}

inline constexpr int kFinishChannels = 16;  // of a block
inline constexpr int kFinishSlotsLog2 = 5, kFinishSlots = 1 << kFinishSlotsLog2;
inline constexpr int kFinishThreads = kFinishSlots * kFinishChannels;
inline constexpr int kFinishFlight = 8;  // rows that a thread loads at once

// Rows part, part + parts, ... of one channel, in order.
__device__ __forceinline__ GradSums AddRows(const GradSums* from, int stride, int part, int parts,
                                            int rows) {
  GradSums total{0, 0};
  for (int row = part; row < rows; row += kFinishFlight * parts) {
    GradSums sums[kFinishFlight];
    FTT_UNROLL
    for (int u = 0; u < kFinishFlight; ++u) {
      const int r = row + u * parts;
      sums[u] = r < rows ? from[int64_t{r} * stride] : GradSums{0, 0};
    }
    FTT_UNROLL
    for (int u = 0; u < kFinishFlight; ++u) {
      total.grad += sums[u].grad;
      total.grad_raw += sums[u].grad_raw;
    }
  }
  return total;
}

// What the statistics' gradient takes off every value.
__device__ __forceinline__ float BatchMean(const NormBackwardArguments& a, double sum) {
  return a.frozen ? 0.0f : static_cast<float>(sum / static_cast<double>(a.shape.Pixels()));
}

// What the forward pass left of one channel of one lane.
struct ChannelState {
  float unit = 0, mean = 0, inv_std = 0, gamma = 1;

  __device__ __forceinline__ void Load(const NormBackwardArguments& a, int lane, int c) {
    if (a.mean == nullptr || c >= a.shape.channels) return;
    const int i = lane * a.shape.Stride() + c;
    unit = a.unit[lane];
    mean = a.mean[i];
    inv_std = a.inv_std[i];
    if (a.gamma != nullptr) gamma = a.gamma[c];
  }
};

// From the sums of one channel of one lane: its part of the map g -> fma(raw, q, fma(g, p, r)),
// map = p, q, r. Returns the sum of the gradient times the normalised value.
__device__ __forceinline__ double FinishChannel(const NormBackwardArguments& a, int lane, int c,
                                                const ChannelState& state, const GradSums& sums) {
  const int stride = a.shape.Stride(), i = lane * stride + c, n = a.shape.lanes * stride;
  float p = 0, q = 0, r = 0;
  double grad_xhat = 0;
  if (c < a.shape.channels) {
    const float unit =
        state.unit * (a.raw_type == RawType::kInt32 ? 1.0f : PowerOfTwo(a.raw_shift));
    const float mean = state.mean, inv_std = state.inv_std;
    grad_xhat = (sums.grad_raw * double{unit} - double{mean} * sums.grad) * double{inv_std};
    p = inv_std * state.gamma;
    const float slope = p * BatchMean(a, grad_xhat) * inv_std;
    q = -slope * unit;
    r = slope * mean - p * BatchMean(a, sums.grad);
  }
  a.map[i] = p;
  a.map[n + i] = q;
  a.map[2 * n + i] = r;
  return grad_xhat;
}

// A block adds up the rows of 16 channels. Slots share the lanes and then the rows of each; what
// they have is added up in order, and so are the lanes.
__global__ void __launch_bounds__(kFinishThreads)
    NormSumsFinishKernel(FTT_IN_PLACE NormBackwardArguments a, int rows) {
  const int stride = a.shape.Stride(), lanes = a.shape.lanes;
  const int local = static_cast<int>(threadIdx.x) % kFinishChannels;
  const int slot = static_cast<int>(threadIdx.x) / kFinishChannels;
  const int c = static_cast<int>(blockIdx.x) * kFinishChannels + local;
  int log2_parts = kFinishSlotsLog2;  // of the slots of a lane
  while (log2_parts > 0 && kFinishSlots >> log2_parts < lanes) --log2_parts;
  const int parts = 1 << log2_parts, at_once = kFinishSlots >> log2_parts;
  const int part = slot & (parts - 1);
  const bool adds_lanes = slot == 0 && c < a.shape.channels;
  const bool beta = adds_lanes && a.grad_beta != nullptr;
  const bool gamma = adds_lanes && a.grad_gamma != nullptr;
  StartKernel(c + part);
  float grad_beta = beta ? a.grad_beta[c] : 0.0f, grad_gamma = gamma ? a.grad_gamma[c] : 0.0f;
  using Shared = GradSums[kFinishSlots][kFinishChannels];
  FTT_SHARED(Shared, shared);
  for (int lane0 = 0; lane0 < lanes; lane0 += at_once) {
    const int lane = lane0 + (slot >> log2_parts);
    const bool finishes = part == 0 && lane < lanes;
    ChannelState state;  // loaded before it is needed
    if (finishes) state.Load(a, lane, c);
    GradSums total{0, 0};
    if (lane < lanes)
      total = AddRows(a.partials + int64_t{lane} * rows * stride + c, stride, part, parts, rows);
    shared[slot][local] = total;
    SyncThreads();
    if (finishes) {
      for (int s = 1; s < parts; ++s) {
        total.grad += shared[slot + s][local].grad;
        total.grad_raw += shared[slot + s][local].grad_raw;
      }
      if (a.mean != nullptr) total.grad_raw = FinishChannel(a, lane, c, state, total);
      shared[slot][local] = total;
    }
    SyncThreads();
    for (int l = 0; adds_lanes && l < at_once && lane0 + l < lanes; ++l) {
      grad_beta += static_cast<float>(shared[l * parts][local].grad);
      grad_gamma += static_cast<float>(shared[l * parts][local].grad_raw);
    }
    SyncThreads();
  }
  if (beta) a.grad_beta[c] = grad_beta;
  if (gamma) a.grad_gamma[c] = grad_gamma;
}

// grad_x (+)= g; before: what grad_x was.
__device__ __forceinline__ void AddTo(Bf16* grad_x, bool accumulate, const uint2& g,
                                      const uint2& before) {
  if (!accumulate) {
    *FourOf(grad_x) = g;
    return;
  }
  const float4 f = FloatsOf(g), b = FloatsOf(before);
  *FourOf(grad_x) = RoundedToBf16(make_float4(b.x + f.x, b.y + f.y, b.z + f.z, b.w + f.w));
}

// 128 bits a thread at once; the last may have fewer. `blocks` blocks share them.
__device__ __forceinline__ void CutMasksOf(const CutMasksArguments& a, int block, int blocks) {
  const int64_t bytes = a.shape.lanes * a.shape.LaneElements() / 8;
  const int64_t step = int64_t{16} * kBackwardThreads * blocks;
  for (int64_t at = 16 * (int64_t{block} * kBackwardThreads + threadIdx.x); at < bytes;
       at += step) {
    if (at + 16 <= bytes) {
      const uint4 cut = *reinterpret_cast<const uint4*>(a.mask + at);
      for (int i = 0; i < a.count; ++i) {
        auto* to = reinterpret_cast<uint4*>(a.masks[i] + at);
        const uint4 v = *to;
        *to = make_uint4(v.x & cut.x, v.y & cut.y, v.z & cut.z, v.w & cut.w);
      }
      continue;
    }
    for (int64_t byte = at; byte < bytes; ++byte) {
      for (int i = 0; i < a.count; ++i) a.masks[i][byte] &= a.mask[byte];
    }
  }
}

__global__ void __launch_bounds__(kBackwardThreads)
    CutMasksKernel(FTT_IN_PLACE CutMasksArguments a) {
  StartKernel();
  CutMasksOf(a, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
}

struct SumBackwardInputs {
  SumBackwardArguments of[kMaxSumInputs];
  int count = 0;
  Divider by_lanes;
  CutMasksArguments cut;
};

// Grid: as VectorPlace wants it, with the lanes of one input after the other, and behind them one
// row of blocks for the masks, if any are to be cut. kAligned: vectors of the inputs are vectors of
// the output.
template <bool kAligned>
__global__ void __launch_bounds__(kBackwardThreads, 3)
    SumBackwardKernel(FTT_IN_PLACE SumBackwardInputs inputs, FTT_IN_PLACE PlacePlan plan) {
  const int input = inputs.by_lanes(static_cast<int>(blockIdx.y));
  const int lane = static_cast<int>(blockIdx.y) - input * inputs.by_lanes.Divisor();
  if (input == inputs.count) {
    StartKernel(input);
    if (blockIdx.z == 0)
      CutMasksOf(inputs.cut, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
    return;
  }
  const SumBackwardArguments& a = inputs.of[input];
  const int stride = PaddedChannels(a.channels), out_stride = a.shape.Stride();
  const VectorPlace place(stride, a.shape.Pixels(), plan);
  StartKernel(place.Index() + input);
  if (!place.Works()) return;
  const int64_t pixel0 = int64_t{lane} * a.shape.Pixels() + place.first;
  const uint32_t real = place.Real(a.channels);
  const int64_t x0 = pixel0 * stride + place.channel;
  // Vectors of pads may lie behind the output's; they read its first one.
  const int64_t y0 = pixel0 * out_stride + (real != 0 ? a.channel_offset + place.channel : 0);
  const int bit = (a.channel_offset + place.channel) & 7;  // of the vector in its mask byte
  uint2 g[kBackwardFlight], before[kBackwardFlight];
  uint32_t pass[kBackwardFlight], codes[kBackwardFlight];
  // As NormFlight::Load.
  const auto load = [&](int p) {
    if (p >= place.count) return;
    FTT_UNROLL
    for (int u = 0; u < kBackwardFlight; ++u) {
      const int pixel = p + u * place.slots < place.count ? p + u * place.slots : p;
      const int64_t at = x0 + int64_t{pixel} * stride, from = y0 + int64_t{pixel} * out_stride;
      pass[u] = 0xFF;
      if constexpr (kAligned) {
        g[u] = *FourOf(a.grad_y + from);
        if (a.mask != nullptr) pass[u] = a.mask[from >> 3];
      } else {
        pass[u] = 0;
        Bf16 apart[4] = {};
        FTT_UNROLL
        for (int k = 0; k < 4; ++k) {
          if ((real >> k & 1) == 0) continue;
          apart[k] = a.grad_y[from + k];
          if (Passes(a.mask, from + k)) pass[u] |= 1u << k;
        }
        g[u] = make_uint2(apart[0] | uint32_t{apart[1]} << 16, apart[2] | uint32_t{apart[3]} << 16);
      }
      codes[u] = 0x01010101;
      if (a.relu) codes[u] = *reinterpret_cast<const uint32_t*>(a.x + at);
      if (a.accumulate) before[u] = *FourOf(a.grad_x + at);
    }
  };
  load(place.slot);
  for (int p = place.slot; p < place.count;) {
    FTT_UNROLL
    for (int u = 0; u < kBackwardFlight; ++u) {
      const int pixel = p + u * place.slots;
      if (pixel >= place.count) break;
      const uint32_t open = (kAligned ? pass[u] >> bit : pass[u]) & real;
      AddTo(a.grad_x + x0 + int64_t{pixel} * stride, a.accumulate,
            Counting(g[u], TopsOfBits(open) & TopsOfPositive(codes[u])), before[u]);
    }
    p += kBackwardFlight * place.slots;
    load(p);
  }
}

__global__ void __launch_bounds__(kBackwardThreads, 3)
    GlobalSumBackwardKernel(FTT_IN_PLACE GlobalSumBackwardArguments a, FTT_IN_PLACE PlacePlan plan,
                            FTT_IN_PLACE Divider by_map) {
  const int lane = static_cast<int>(blockIdx.y), stride = a.in.Stride();
  const VectorPlace place(stride, a.in.Pixels(), plan);
  StartKernel(place.Index());
  if (!place.Works()) return;
  const float share = 1.0f / static_cast<float>(by_map.Divisor());
  const uint32_t real = place.Real(a.in.channels);
  const int64_t x0 = lane * a.in.LaneElements() + int64_t{place.first} * stride + place.channel;
  const int64_t y0 = int64_t{lane} * a.in.images * stride + place.channel;
  for (int p = place.slot; p < place.count; p += kBackwardFlight * place.slots) {
    uint2 g[kBackwardFlight], before[kBackwardFlight];
    uint32_t open[kBackwardFlight], codes[kBackwardFlight];
    FTT_UNROLL
    for (int u = 0; u < kBackwardFlight; ++u) {
      const int pixel = p + u * place.slots < place.count ? p + u * place.slots : p;
      const int64_t at = x0 + int64_t{pixel} * stride;
      const int64_t from = y0 + int64_t{by_map(place.first + pixel)} * stride;
      g[u] = *FourOf(a.grad_y + from);
      open[u] = PassBits(a.mask, from) & real;
      before[u] = make_uint2(0, 0);
      codes[u] = 0x01010101;
      if (a.relu) codes[u] = *reinterpret_cast<const uint32_t*>(a.x + at);
      if (a.accumulate) before[u] = *FourOf(a.grad_x + at);
    }
    FTT_UNROLL
    for (int u = 0; u < kBackwardFlight; ++u) {
      const int pixel = p + u * place.slots;
      if (pixel >= place.count) break;
      const uint32_t tops = TopsOfBits(open[u]) & TopsOfPositive(codes[u]);
      const float4 f = FloatsOf(Counting(g[u], tops)), b = FloatsOf(before[u]);
      *FourOf(a.grad_x + x0 + int64_t{pixel} * stride) = RoundedToBf16(
          make_float4(b.x + f.x * share, b.y + f.y * share, b.z + f.z * share, b.w + f.w * share));
    }
  }
}

}  // namespace ftt::cuda
