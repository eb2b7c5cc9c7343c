// Kernel of separable.h.
//
// A block computes a band of output rows of one image. First the depthwise convolution as in
// depthwise_band.cuh, its codes quantized, struck and kept in shared memory; then these are the
// rows of an implicit GEMM as in conv.cuh, 128 pixels and kWarpN output channels at a time. The
// first weights of the GEMM are under way while the depthwise convolution runs.
#pragma once

#include "kernels/cuda/band.cuh"
#include "kernels/cuda/conv_output.cuh"
#include "kernels/cuda/depthwise_band.cuh"
#include "kernels/cuda/separable.h"

namespace ftt::cuda {

inline constexpr int kSeparableThreads = 128;

// Codes between the convolutions in shared memory: [pixels][stride]. Neighbouring pixels are an odd
// number of 16 bytes apart, so that the eight rows of a matrix load lie on different banks. Such
// loads take 32 pixels and read to the end of a step of the depth; what they find beyond the codes
// meets weights that are 0, or rows that are not stored.
struct MiddleLayout {
  int stride, bytes;

  FTT_HD MiddleLayout(const MapShape& s, int rows)
      : stride(s.Stride() / 16 % 2 == 1 ? s.Stride() : s.Stride() + 16),
        bytes(RoundUp(rows * s.w, 32) * stride + kConvDepth) {}
};

// Shared memory behind the codes: weights and the depthwise faults' scratch, then accumulators.
template <int kWarpN>
int SeparableWorkBytes(const SiteFaultsView& middle, const SiteFaultsView& last) {
  const int weights = kConvStages * kWarpN * kConvDepth;
  const int first =
      weights + (middle.Staged() ? FaultScratchBytes(middle.collects, kSeparableThreads) : 0);
  const int output = ConvTile<kWarpN, 1>::OutputBytes(last.Staged(), last.collects);
  return first > output ? first : output;
}

// Where a thread's accumulators go: codes in shared memory.
struct MiddleOutput {
  uint8_t* to;  // the thread's word of the band's first pixel
  int stride;
  const WordNorm& norm;
  int bits;

  __device__ __forceinline__ void operator()(int pixel, const int32_t (&acc)[4]) const {
    *reinterpret_cast<uint32_t*>(to + pixel * stride) = norm.Codes(acc, bits);
  }
  template <int kPixels>
  __device__ __forceinline__ void operator()(int pixel, const int32_t (&acc)[kPixels][4]) const {
    uint32_t codes[kPixels];
    norm.Codes(acc, bits, codes);
    FTT_UNROLL
    for (int i = 0; i < kPixels; ++i)
      *reinterpret_cast<uint32_t*>(to + (pixel + i) * stride) = codes[i];
  }
};

// The codes of a band before faults. A call: its registers are not the GEMM's. The plan by value:
// an address would take more of them.
template <int kKernel, int kAdvance>
FTT_NOINLINE __device__ void ComputeMiddle(const DepthwiseArguments& a, const BandPlan& plan,
                                           uint8_t* codes) {
  const MapShape s = a.geometry.Out();
  const int stride = MiddleLayout(s, plan.rows).stride;
  for (int first = 0; first < s.Stride() / 4; first += plan.words) {
    const Band band(s, plan, first);
    if (!band.Works()) continue;
    WordNorm norm;
    norm.Load(a.out, s, band.lane, band.word);
    const MiddleOutput put{codes + 4 * band.word, stride, norm, a.out.bits};
    ComputeBand<kKernel, kAdvance>(a, plan, band, put);
  }
}

// The band's codes with faults. Without a barrier behind it.
__device__ __forceinline__ void MakeMiddle(const SeparableArguments& a, const Band& band,
                                           const BandPlan& plan, uint8_t* shared,
                                           uint32_t* scratch) {
  const DepthwiseArguments& d = a.depthwise;
  const WindowGeometry& g = d.geometry;
  const MapShape s = g.Out();
  const SiteFaultsView& faults = d.out.faults;
  const bool drawn_here = faults.Staged() && faults.lanes[band.lane].count > 0;
  if (drawn_here) ClearFaultScratch(scratch, faults.collects);
  const bool skips = SequenceStride(g.stride, g.dilation) == 2;
  if (g.kernel == 3) {
    skips ? ComputeMiddle<3, 2>(d, plan, shared) : ComputeMiddle<3, 1>(d, plan, shared);
  } else {
    skips ? ComputeMiddle<5, 2>(d, plan, shared) : ComputeMiddle<5, 1>(d, plan, shared);
  }
  CodeTile tile = band.Tile(s);
  tile.codes = reinterpret_cast<int8_t*>(shared);
  tile.stride = MiddleLayout(s, plan.rows).stride;
  if (drawn_here) {
    SyncThreads();
    InjectTile<FaultUse::kFeatures>(faults.lanes[band.lane], faults.image_ids, tile, scratch,
                                    faults.collects);
  } else if (faults.list.Strikes(band.lane)) {
    SyncThreads();
    const StruckTile struck{tile.codes,      nullptr,    tile.stride,   tile.first,   tile.count,
                            tile.map_pixels, tile.image, tile.channels, tile.channel, tile.width};
    ApplyStrikes(faults.list, band.lane, struck, FirstStrikes(faults.list, band.lane, struck));
  }
}

template <int kWarpN>
__global__ void __launch_bounds__(kSeparableThreads, 3)
    SeparableKernel(FTT_IN_PLACE SeparableArguments a, FTT_IN_PLACE BandPlan plan) {
  StartKernel();
  using Tile = ConvTile<kWarpN, 1>;
  constexpr int kStageBytes = kWarpN * kConvDepth;
  const ConvArguments& p = a.pointwise;
  const MapShape middle = a.depthwise.geometry.Out(), s = p.geometry.Out();
  const Band band(middle, plan, 0);
  const MiddleLayout layout(middle, plan.rows);
  const int pixels = band.rows * s.w;
  int steps = PackedConvDepth(p.geometry) / kConvDepth;
  const int8_t* weights = p.weights + (p.one_weight ? 0 : band.lane * PackedConvBytes(p.geometry));
  const uint8_t* codes = SharedMemory();
  uint8_t* work = SharedMemory() + layout.bytes;
  int channel = 0;
  const auto width = [&] { return s.Stride() - channel < kWarpN ? s.Stride() - channel : kWarpN; };
  const auto copy = [&](int step) {
    const int depth = steps * kConvDepth;
    ConvWeights<kSeparableThreads, kWarpN>(weights + int64_t{channel} * depth, depth, width())
        .Copy(step, work + step % kConvStages * kStageBytes);
  };
  StartSteps(steps, copy);
  MakeMiddle(a, band, plan, SharedMemory(),
             reinterpret_cast<uint32_t*>(work + kConvStages * kStageBytes));
  steps = Anew(steps);

  const int warp_row = static_cast<int>(threadIdx.x) / kWarpSize * 32;
  const Relu relu(p.geometry.relu);
  const int thread = static_cast<int>(threadIdx.x) % kWarpSize;
  const int matrix_row = (warp_row + thread % 16) * layout.stride + 16 * (thread / 16);
  const int matrix_column = MatrixColumn(0);
  for (; channel < s.Stride(); channel += kWarpN) {
    for (int first = 0; first < pixels; first += kConvRows) {
      if (first + channel > 0) {
        SyncThreads();  // the tile before has left the shared memory
        StartSteps(steps, copy);
      }
      int32_t acc[2][kWarpN / 8][4] = {};
      RunSteps(steps, copy, [&](int step) {
        if (first + warp_row >= pixels) return;
        const uint8_t* from = codes + first * layout.stride + matrix_row + step * kConvDepth;
        const auto row = [&](int mt, int k) { return from + mt * 16 * layout.stride + 32 * k; };
        ConvStep<kWarpN>(row, work + step % kConvStages * kStageBytes, matrix_column, relu, acc);
      });
      auto* const sums = reinterpret_cast<int32_t*>(work);
      StoreAccumulators<Tile>(acc, warp_row, 0, sums);
      SyncThreads();
      const int left = pixels - first;
      const ConvBlock block{band.lane,
                            band.FirstPixel(s) + first,
                            left < kConvRows ? left : kConvRows,
                            band.image,
                            channel,
                            width(),
                            blockIdx.y * gridDim.x + blockIdx.x};
      StoreCodes<Tile>(p.out, s, block, sums, work + Tile::kAccBytes);
    }
  }
}

}  // namespace ftt::cuda
