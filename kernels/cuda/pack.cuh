// Kernels of pack.h. Blocks take chunks of jobs, so that they have about as much to do each.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/pack.h"

namespace ftt::cuda {

inline constexpr int kPackThreads = 256;

// Items [first, end) of one copy of one job.
struct PackRange {
  int copy, first, end;
};

// `count` (0..16) codes, then zeros. As wide as their alignment allows: rows of weights are not
// padded.
__device__ inline uint4 LoadCodes16(const int8_t* from, int count) {
  const auto address = reinterpret_cast<uintptr_t>(from);
  if (count == 16 && address % 16 == 0) return *reinterpret_cast<const uint4*>(from);
  uint32_t words[4] = {};
  if (count % 4 == 0 && address % 4 == 0) {
    FTT_UNROLL
    for (int k = 0; k < 4; ++k) {
      if (4 * k < count) words[k] = *reinterpret_cast<const uint32_t*>(from + 4 * k);
    }
  } else {
    FTT_UNROLL
    for (int k = 0; k < 16; ++k) {
      if (k < count) words[k / 4] |= (static_cast<uint32_t>(from[k]) & 0xFF) << 8 * (k % 4);
    }
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// An item is a segment of 16 codes.
__device__ inline void PackConv(const PackJob& job, const PackRange& range) {
  const WindowGeometry& g = job.geometry;
  const int taps = g.kernel * g.kernel, row_segments = PackedConvDepth(g) / 16;
  const int tap_segments = PaddedChannels(g.in_channels) / 16;
  const int8_t* codes = job.codes + int64_t{range.copy} * g.out_channels * taps * g.in_channels;
  auto* packed = static_cast<uint4*>(job.packed) + int64_t{range.copy} * PackItems(job.layout, g);
  for (int i = range.first + static_cast<int>(threadIdx.x); i < range.end; i += kPackThreads) {
    const int row = i / row_segments, at = i - row * row_segments;
    const int tap = at / tap_segments, channel = (at - tap * tap_segments) * 16;
    const int left = g.in_channels - channel;
    const bool inside = row < g.out_channels && tap < taps;
    const int8_t* from = codes + (inside ? (row * taps + tap) * g.in_channels + channel : 0);
    packed[i] = LoadCodes16(from, !inside ? 0 : left < 16 ? left : 16);
  }
}

// An item is 16 output channels of one tap and input channel. Neighbouring threads read
// neighbouring input channels, each writes a whole sector.
__device__ inline void PackConvGrad(const PackJob& job, const PackRange& range) {
  const WindowGeometry& g = job.geometry;
  const int taps = g.kernel * g.kernel, width = PaddedChannels(g.in_channels);
  const int depth = PaddedChannels(g.out_channels), step = taps * g.in_channels;
  const int8_t* codes = job.codes + int64_t{range.copy} * g.out_channels * step;
  auto* packed =
      static_cast<uint16_t*>(job.packed) + int64_t{range.copy} * PackedConvGradElements(g);
  for (int i = range.first + static_cast<int>(threadIdx.x); i < range.end; i += kPackThreads) {
    const int group = i / width, c = i - group * width;
    const int first = group / taps * 16, tap = group % taps;
    const int count = c < g.in_channels ? g.out_channels - first : 0;
    const int8_t* from = codes + first * step + tap * g.in_channels + c;
    int8_t code[16];  // all loads before the first conversion
    FTT_UNROLL
    for (int k = 0; k < 16; ++k) code[k] = k < count ? from[k * step] : int8_t{0};
    float v[16];
    FTT_UNROLL
    for (int k = 0; k < 16; ++k) v[k] = code[k];
    auto* to = reinterpret_cast<uint4*>(packed + (c * taps + tap) * depth + first);
    FTT_UNROLL
    for (int k = 0; k < 16; k += 8) {
      to[k / 8] = make_uint4(PackBf16(v[k], v[k + 1]), PackBf16(v[k + 2], v[k + 3]),
                             PackBf16(v[k + 4], v[k + 5]), PackBf16(v[k + 6], v[k + 7]));
    }
  }
}

// An item is a word.
__device__ inline void PackDepthwise(const PackJob& job, const PackRange& range) {
  const WindowGeometry& g = job.geometry;
  const int stride = PaddedChannels(g.in_channels), row_words = DepthwiseRowWords(g.kernel);
  const int8_t* codes = job.codes + int64_t{range.copy} * g.in_channels * g.kernel * g.kernel;
  auto* packed = static_cast<uint32_t*>(job.packed) + int64_t{range.copy} * PackedDepthwiseWords(g);
  const int last_byte = 4 - SequenceStride(g.stride, g.dilation);
  for (int i = range.first + static_cast<int>(threadIdx.x); i < range.end; i += kPackThreads) {
    const int row = i / stride, channel = i - row * stride;
    const int ky = row / row_words, second = row - ky * row_words;
    const int8_t* from = codes + (channel * g.kernel + ky) * g.kernel;
    uint32_t word = 0;
    FTT_UNROLL
    for (int byte = 0; byte < 4; ++byte) {
      const int tap = second == 0 ? byte : byte == last_byte ? 4 : g.kernel;
      if (channel < g.in_channels && tap < g.kernel)
        word |= (static_cast<uint32_t>(from[tap]) & 0xFF) << 8 * byte;
    }
    packed[i] = word;
  }
}

// The chunk from item `first` on, of the copy that the block stands for.
__device__ inline void PackChunkOf(const PackJob& job, int first) {
  const int items = PackItems(job.layout, job.geometry), left = items - first;
  const PackRange range{static_cast<int>(blockIdx.y), first,
                        first + (left < kPackChunk ? left : kPackChunk)};
  switch (job.layout) {
    case PackLayout::kConv:
      return PackConv(job, range);
    case PackLayout::kConvGrad:
      return PackConvGrad(job, range);
    case PackLayout::kDepthwise:
      return PackDepthwise(job, range);
  }
}

__global__ void __launch_bounds__(kPackThreads) PackWeightsKernel(PackArguments a) {
  StartKernel();
  const JobChunk chunk = a.chunks[blockIdx.x];
  const PackJob job = a.jobs[chunk.job];
  if (static_cast<int>(blockIdx.y) < job.copies) PackChunkOf(job, chunk.first);
}

__global__ void __launch_bounds__(kPackThreads) PackTensorKernel(PackJob job) {
  StartKernel();
  PackChunkOf(job, static_cast<int>(blockIdx.x) * kPackChunk);
}

}  // namespace ftt::cuda
