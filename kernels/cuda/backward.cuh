// Kernels of backward.h.
#pragma once

#include "kernels/cuda/backward.h"
#include "kernels/cuda/device.h"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

inline constexpr int kBackwardThreads = 256;
inline constexpr int kBackwardPixels = 256;  // of a block of the sums

__device__ __forceinline__ bool Passes(const uint8_t* mask, int64_t bit) {
  return mask == nullptr || (mask[bit >> 3] >> (bit & 7) & 1) != 0;
}

// Reads an output's gradient and normalised value.
template <typename Raw>
class NormReader {
 public:
  __device__ NormReader(const NormBackwardArguments& a, int lane, int channel)
      : a_(a), base_(int64_t{lane} * a.shape.LaneElements() + channel), stride_(a.shape.Stride()) {
    if (a.mean == nullptr) return;
    const int64_t at = int64_t{lane} * stride_ + channel;
    mean_ = a.mean[at];
    inv_std_ = a.inv_std[at];
    unit_ = a.unit[lane] * (sizeof(Raw) == 4 ? 1.0f : PowerOfTwo(a.raw_shift));
  }
  __device__ __forceinline__ int64_t At(int pixel) const {
    return base_ + int64_t{pixel} * stride_;
  }
  __device__ __forceinline__ float Grad(int64_t at) const {
    return Passes(a_.mask, at) ? a_.grad[at] : 0.0f;
  }
  __device__ __forceinline__ float Normalised(int64_t at) const {
    float acc;
    if constexpr (sizeof(Raw) == 4) {
      acc = static_cast<float>(static_cast<const int32_t*>(a_.raw)[at]);
    } else {
      acc = HalfToFloat(static_cast<const Half*>(a_.raw)[at]);
    }
    return (acc * unit_ - mean_) * inv_std_;
  }
  __device__ float InvStd() const { return inv_std_; }

 private:
  const NormBackwardArguments& a_;
  int64_t base_;
  int stride_;
  float mean_ = 0, inv_std_ = 0, unit_ = 0;
};

// partials[lane][block]: a thread keeps its channel, threads of one channel are added up in order.
template <typename Raw>
__global__ void __launch_bounds__(kBackwardThreads) NormSumsKernel(NormBackwardArguments a) {
  const int lane = static_cast<int>(blockIdx.y), stride = a.shape.Stride();
  const int first = static_cast<int>(blockIdx.x) * kBackwardPixels;
  const int left = a.shape.Pixels() - first;
  const int count = left < kBackwardPixels ? left : kBackwardPixels;
  using Shared = GradSums[kBackwardThreads];
  FTT_SHARED(Shared, shared);
  for (int channel0 = 0; channel0 < stride; channel0 += kBackwardThreads) {
    const int width = stride - channel0 < kBackwardThreads ? stride - channel0 : kBackwardThreads;
    const int slots = kBackwardThreads / width;
    const int c = static_cast<int>(threadIdx.x) % width;
    const int slot = static_cast<int>(threadIdx.x) / width;
    if (slot < slots) {
      GradSums sums{};
      if (channel0 + c < a.shape.channels) {
        const NormReader<Raw> reader(a, lane, channel0 + c);
        for (int p = slot; p < count; p += slots) {
          const int64_t at = reader.At(first + p);
          const float g = reader.Grad(at);
          sums.grad += g;
          if (a.mean != nullptr) sums.grad_xhat += double{g} * reader.Normalised(at);
        }
      }
      shared[slot * width + c] = sums;
    }
    SyncThreads();
    if (slot == 0) {
      GradSums sums = shared[c];
      for (int s = 1; s < slots; ++s) {
        sums.grad += shared[s * width + c].grad;
        sums.grad_xhat += shared[s * width + c].grad_xhat;
      }
      a.partials[(int64_t{lane} * gridDim.x + blockIdx.x) * stride + channel0 + c] = sums;
    }
    SyncThreads();
  }
}

// A thread adds up the blocks of one channel, lane by lane.
__global__ void __launch_bounds__(128) NormSumsFinishKernel(NormBackwardArguments a, int blocks) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), stride = a.shape.Stride();
  if (c >= a.shape.channels) return;
  for (int lane = 0; lane < a.shape.lanes; ++lane) {
    GradSums total{};
    for (int b = 0; b < blocks; ++b) {
      const GradSums& m = a.partials[(int64_t{lane} * blocks + b) * stride + c];
      total.grad += m.grad;
      total.grad_xhat += m.grad_xhat;
    }
    a.sums[int64_t{lane} * stride + c] = total;
    if (a.grad_beta != nullptr) a.grad_beta[c] += static_cast<float>(total.grad);
    if (a.grad_gamma != nullptr) a.grad_gamma[c] += static_cast<float>(total.grad_xhat);
  }
}

// What the statistics' gradient takes off every value.
__device__ __forceinline__ float BatchMean(const NormBackwardArguments& a, double sum) {
  return a.frozen ? 0.0f : static_cast<float>(sum / static_cast<double>(a.shape.Pixels()));
}

template <typename Raw>
__global__ void __launch_bounds__(kBackwardThreads) NormApplyKernel(NormBackwardArguments a) {
  const int lane = static_cast<int>(blockIdx.y), stride = a.shape.Stride();
  const int first = static_cast<int>(blockIdx.x) * kBackwardPixels;
  const int left = a.shape.Pixels() - first;
  const int count = left < kBackwardPixels ? left : kBackwardPixels;
  for (int channel0 = 0; channel0 < stride; channel0 += kBackwardThreads) {
    const int width = stride - channel0 < kBackwardThreads ? stride - channel0 : kBackwardThreads;
    const int slots = kBackwardThreads / width;
    const int c = channel0 + static_cast<int>(threadIdx.x) % width;
    const int slot = static_cast<int>(threadIdx.x) / width;
    if (slot >= slots) continue;
    const NormReader<Raw> reader(a, lane, c);
    const bool pad = c >= a.shape.channels;
    float mean_grad = 0, mean_xhat = 0, scale = 1;
    if (a.mean != nullptr && !pad) {
      const GradSums& sums = a.sums[int64_t{lane} * stride + c];
      mean_grad = BatchMean(a, sums.grad);
      mean_xhat = BatchMean(a, sums.grad_xhat);
      scale = reader.InvStd() * (a.gamma == nullptr ? 1.0f : a.gamma[c]);
    }
    for (int p = slot; p < count; p += slots) {
      const int64_t at = reader.At(first + p);
      float g = pad ? 0.0f : reader.Grad(at);
      if (a.mean != nullptr && !pad)
        g = scale * (g - mean_grad - reader.Normalised(at) * mean_xhat);
      a.grad[at] = g;
    }
  }
}

// A thread writes the map of one channel of one lane: NormApplyKernel as
// g -> fma(raw, q, fma(g, p, r)), map = p, q, r.
__global__ void __launch_bounds__(128) NormMapKernel(NormBackwardArguments a, float* map) {
  const int stride = a.shape.Stride(), n = a.shape.lanes * stride;
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n) return;
  const int lane = i / stride, c = i - lane * stride;
  float p = 0, q = 0, r = 0;
  if (c < a.shape.channels) {
    const float mean_grad = BatchMean(a, a.sums[i].grad);
    const float mean_xhat = BatchMean(a, a.sums[i].grad_xhat);
    const float unit =
        a.unit[lane] * (a.raw_type == RawType::kInt32 ? 1.0f : PowerOfTwo(a.raw_shift));
    p = a.inv_std[i] * (a.gamma == nullptr ? 1.0f : a.gamma[c]);
    const float slope = p * mean_xhat * a.inv_std[i];
    q = -slope * unit;
    r = slope * a.mean[i] - p * mean_grad;
  }
  map[i] = p;
  map[n + i] = q;
  map[2 * n + i] = r;
}

__global__ void __launch_bounds__(kBackwardThreads) SumBackwardKernel(SumBackwardArguments a) {
  const int stride = PaddedChannels(a.channels), out_stride = a.shape.Stride();
  const int64_t n = int64_t{a.shape.lanes} * a.shape.Pixels() * stride;
  for (int64_t i = int64_t{blockIdx.x} * kBackwardThreads + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * kBackwardThreads) {
    const int64_t pixel = i / stride;
    const int c = static_cast<int>(i - pixel * stride);
    float g = 0;
    if (c < a.channels) {
      const int64_t from = pixel * out_stride + a.channel_offset + c;
      if (Passes(a.mask, from) && (!a.relu || a.x[i] > 0)) g = a.grad_y[from];
    }
    a.grad_x[i] = a.accumulate ? a.grad_x[i] + g : g;
  }
}

__global__ void __launch_bounds__(kBackwardThreads)
    GlobalSumBackwardKernel(GlobalSumBackwardArguments a) {
  const int stride = a.in.Stride(), map_pixels = a.in.MapPixels();
  const float share = 1.0f / static_cast<float>(map_pixels);
  const int64_t n = a.in.lanes * a.in.LaneElements();
  for (int64_t i = int64_t{blockIdx.x} * kBackwardThreads + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * kBackwardThreads) {
    const int64_t pixel = i / stride;
    const int c = static_cast<int>(i - pixel * stride);
    const int64_t from = pixel / map_pixels * stride + c;
    float g = 0;
    if (c < a.in.channels && Passes(a.mask, from) && (!a.relu || a.x[i] > 0))
      g = a.grad_y[from] * share;
    a.grad_x[i] = a.accumulate ? a.grad_x[i] + g : g;
  }
}

}  // namespace ftt::cuda
