// Kernels of conv.h.
//
// Rows of the GEMM are the output pixels of a lane, its depth runs over (tap, channel) in segments
// of 16 codes, the unit of an asynchronous copy: padding, image borders and the depth beyond the
// last tap are zero-filled copies. 128 rows and kWarpN * kWarpsN output channels a block; a warp
// takes 32 rows. The accumulators go through shared memory, so that statistics are column sums and
// all stores are whole vectors.
#pragma once

#include "kernels/cuda/conv.h"
#include "kernels/cuda/moments.cuh"
#include "kernels/cuda/stage.cuh"

namespace ftt::cuda {

inline constexpr int kConvRows = 128;
inline constexpr int kConvStages = 4;
inline constexpr int kConvSegments = kConvDepth / 16;

template <int kWarpN, int kWarpsN>
struct ConvTile {
  static constexpr int kColumns = kWarpN * kWarpsN;
  static constexpr int kThreads = 128 * kWarpsN;
  static constexpr int kStageBytes = (kConvRows + kColumns) * kConvDepth;
  // Accumulators: 8 more columns keep rows on different banks.
  static constexpr int kAccStride = kColumns + 8;
  static constexpr int kAccBytes = kConvRows * kAccStride * 4;
  static constexpr int kParts = kThreads / kColumns;  // threads that share a column's statistics
  static constexpr int kMomentBytes = kParts * kColumns * static_cast<int>(sizeof(IntegerMoments));
  static constexpr int kPipelineBytes = kConvStages * kStageBytes;

  static int SharedBytes(bool deploy, bool collects) {
    const int stage = LayoutOfStage(kConvRows, kColumns, false, collects, kThreads).Bytes();
    const int epilogue = kAccBytes + (deploy ? stage : kMomentBytes);
    return epilogue > kPipelineBytes ? epilogue : kPipelineBytes;
  }
};

// Offset of a segment of 16 codes: the four of a row are permuted so that the eight rows of a
// matrix load lie on different banks.
__device__ __forceinline__ int SegmentOffset(int row, int segment) {
  return row * kConvDepth + ((segment ^ (row >> 1 & 3)) << 4);
}

// Copies one thread's share of the input rows. A thread always copies the same segment of the same
// rows, so it walks over taps and channels by counting.
template <int kThreads>
class ConvRows {
 public:
  __device__ ConvRows(const WindowGeometry& g, const int8_t* x, int first_row)
      : g_(g), x_(x), stride_(PaddedChannels(g.in_channels)), channel_(16 * Segment()) {
    const int pixels = g.out_h * g.out_w, rows = g.images * pixels;
    for (int i = 0; i < kPerThread; ++i) {
      const int m = first_row + Row(i);
      const int image = m / pixels, at = m - image * pixels;
      const int oy = at / g.out_w, ox = at - oy * g.out_w;
      // A row beyond the last pixel reads outside any map.
      y_[i] = m < rows ? oy * g.stride + g.origin : -(1 << 28);
      x0_[i] = ox * g.stride + g.origin;
      image_[i] = image * g.in_h;
    }
    Wrap();
  }

  __device__ __forceinline__ void CopyNext(uint8_t* rows) {
    const int dy = ky_ * g_.dilation, dx = kx_ * g_.dilation;
    for (int i = 0; i < kPerThread; ++i) {
      const int iy = y_[i] + dy, ix = x0_[i] + dx;
      const bool inside = ky_ < g_.kernel &&
                          static_cast<unsigned>(iy) < static_cast<unsigned>(g_.in_h) &&
                          static_cast<unsigned>(ix) < static_cast<unsigned>(g_.in_w);
      const int8_t* from =
          inside ? x_ + (int64_t{image_[i] + iy} * g_.in_w + ix) * stride_ + channel_ : x_;
      AsyncCopy16(rows + SegmentOffset(Row(i), Segment()), from, inside ? 16 : 0);
    }
    channel_ += kConvDepth;
    Wrap();
  }

 private:
  static constexpr int kRowStep = kThreads / kConvSegments;
  static constexpr int kPerThread = kConvRows / kRowStep;

  __device__ static int Segment() { return static_cast<int>(threadIdx.x) % kConvSegments; }
  __device__ static int Row(int i) {
    return static_cast<int>(threadIdx.x) / kConvSegments + i * kRowStep;
  }
  __device__ __forceinline__ void Wrap() {
    while (channel_ >= stride_) {
      channel_ -= stride_;
      if (++kx_ == g_.kernel) {
        kx_ = 0;
        ++ky_;
      }
    }
  }

  const WindowGeometry& g_;
  const int8_t* x_;
  int stride_, channel_, ky_ = 0, kx_ = 0;
  int y_[kPerThread], x0_[kPerThread], image_[kPerThread];
};

template <int kThreads, int kColumns>
__device__ __forceinline__ void CopyWeights(const int8_t* weights, int depth, int rows, int step,
                                            uint8_t* to) {
  for (int i = static_cast<int>(threadIdx.x); i < kColumns * kConvSegments; i += kThreads) {
    const int row = i / kConvSegments, segment = i % kConvSegments;
    const int8_t* from = weights + int64_t{row} * depth + step * kConvDepth + 16 * segment;
    AsyncCopy16(to + SegmentOffset(row, segment), row < rows ? from : weights, row < rows ? 16 : 0);
  }
}

// max(code, 0) for four codes where the flag is all ones.
__device__ __forceinline__ uint32_t ReluCodes(uint32_t codes, uint32_t flag) {
  return codes & ~(BytePermute(codes, 0, 0xBA98) & flag);
}

// One step of the depth: acc[mt][nt] covers rows 16 * mt and columns 8 * nt of the warp's tile.
template <int kWarpN>
__device__ __forceinline__ void ConvStep(const uint8_t* rows, const uint8_t* columns, int warp_row,
                                         int warp_column, uint32_t relu,
                                         int32_t (&acc)[2][kWarpN / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  FTT_UNROLL
  for (int k = 0; k < kConvDepth / 32; ++k) {
    uint32_t a[2][4];
    FTT_UNROLL
    for (int mt = 0; mt < 2; ++mt) {
      const int row = warp_row + 16 * mt + lane % 16;
      LoadMatrix4(rows + SegmentOffset(row, 2 * k + lane / 16), a[mt]);
      FTT_UNROLL
      for (int i = 0; i < 4; ++i) a[mt][i] = ReluCodes(a[mt][i], relu);
    }
    FTT_UNROLL
    for (int pair = 0; pair < kWarpN / 16; ++pair) {
      uint32_t b[4];
      const int column = warp_column + 16 * pair + lane / 16 * 8 + lane % 8;
      LoadMatrix4(columns + SegmentOffset(column, 2 * k + lane / 8 % 2), b);
      FTT_UNROLL
      for (int mt = 0; mt < 2; ++mt) {
        const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
        MultiplyAccumulate(acc[mt][2 * pair], a[mt], low);
        MultiplyAccumulate(acc[mt][2 * pair + 1], a[mt], high);
      }
    }
  }
}

// What the epilogues know of their block.
struct ConvBlock {
  int lane, first, count;  // rows: pixels of the lane
  int channel, width;      // output channels, padded
};

template <typename Tile>
__device__ void StoreRaw(const WindowOutput& out, const MapShape& s, const ConvBlock& b,
                         const int32_t* acc) {
  const int groups = b.width / 8, stride = s.Stride();
  const float factor = PowerOfTwo(-out.raw_shift);
  for (int i = static_cast<int>(threadIdx.x); i < b.count * groups; i += Tile::kThreads) {
    const int row = i / groups, group = i - row * groups;
    const int32_t* from = acc + row * Tile::kAccStride + 8 * group;
    const int64_t at =
        b.lane * s.LaneElements() + int64_t{b.first + row} * stride + b.channel + 8 * group;
    if (out.raw_type == RawType::kInt32) {
      int4* to = reinterpret_cast<int4*>(static_cast<int32_t*>(out.raw) + at);
      to[0] = *reinterpret_cast<const int4*>(from);
      to[1] = *reinterpret_cast<const int4*>(from + 4);
    } else {
      Half v[8];
      for (int k = 0; k < 8; ++k) v[k] = FloatToHalf(static_cast<float>(from[k]) * factor);
      uint4 packed;
      memcpy(&packed, v, sizeof packed);
      *reinterpret_cast<uint4*>(static_cast<Half*>(out.raw) + at) = packed;
    }
  }
}

// Column sums; ends with a barrier in between, so all threads call it.
template <typename Tile>
FTT_NOINLINE __device__ void StorePartials(const WindowOutput& out, const MapShape& s,
                                           const ConvBlock& b, const int32_t* acc,
                                           IntegerMoments* moments) {
  const int column = static_cast<int>(threadIdx.x) % Tile::kColumns;
  const int part = static_cast<int>(threadIdx.x) / Tile::kColumns;
  if (part < Tile::kParts) {
    IntegerMoments m;
    for (int row = part; row < b.count; row += Tile::kParts)
      m.Add(acc[row * Tile::kAccStride + column]);
    moments[part * Tile::kColumns + column] = m;
  }
  SyncThreads();
  if (part != 0 || column >= b.width) return;
  IntegerMoments m = moments[column];
  for (int p = 1; p < Tile::kParts; ++p) m.Merge(moments[p * Tile::kColumns + column]);
  const int64_t row = int64_t{b.lane} * gridDim.x + blockIdx.x;
  out.partials[row * s.Stride() + b.channel + column] = m.Finish();
}

// A call: its registers stay out of the main loop.
template <typename Tile>
FTT_NOINLINE __device__ void StoreCodes(const WindowOutput& out, const MapShape& s,
                                        const ConvBlock& b, const int32_t* acc, uint8_t* shared) {
  const CodeTile tile{nullptr,       nullptr,    b.width,   b.first, b.count,
                      s.MapPixels(), s.channels, b.channel, b.width};
  const StageLayout layout =
      LayoutOfStage(kConvRows, Tile::kColumns, false, out.faults.collects, Tile::kThreads);
  Stage stage(shared, layout, out.faults, b.lane, tile, out.codes + b.lane * s.LaneElements(),
              nullptr);
  const int groups = b.width / 8, rows = Tile::kThreads / groups;
  const int group = static_cast<int>(threadIdx.x) % groups;
  const int row = static_cast<int>(threadIdx.x) / groups;
  if (row < rows) {
    const int64_t norm = (out.one_norm ? 0 : int64_t{b.lane} * s.Stride()) + b.channel + 8 * group;
    float scale[8], shift[8];
    for (int i = 0; i < 8; ++i) {
      scale[i] = out.scale[norm + i];
      shift[i] = out.shift[norm + i];
    }
    for (int p = row; p < b.count; p += rows) {
      const int32_t* from = acc + p * Tile::kAccStride + 8 * group;
      CodePack pack;
      for (int i = 0; i < 8; ++i) {
        bool inside;
        const float y = rintf(fmaf(static_cast<float>(from[i]), scale[i], shift[i]));
        const int code = ToCode(y, out.bits, &inside);
        pack.Set(i, b.channel + 8 * group + i < s.channels ? code : 0, inside);
      }
      stage.Put(p, group, pack);
    }
  }
  stage.Finish();
}

// Blocks per multiprocessor that the registers must leave room for: what does not spill.
template <int kWarpN, int kWarpsN>
inline constexpr int kConvBlocks = kWarpsN == 2 ? 2 : (kWarpN == 64 ? 3 : 4);

template <int kWarpN, int kWarpsN>
__global__ void __launch_bounds__(128 * kWarpsN, kConvBlocks<kWarpN, kWarpsN>)
    ConvKernel(FTT_IN_PLACE ConvArguments a) {
  using Tile = ConvTile<kWarpN, kWarpsN>;
  const WindowGeometry& g = a.geometry;
  const MapShape s = g.Out();
  const int lane = static_cast<int>(blockIdx.z);
  const int first = static_cast<int>(blockIdx.x) * kConvRows;
  const int channel = static_cast<int>(blockIdx.y) * Tile::kColumns;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int warp_row = warp % 4 * 32, warp_column = warp / 4 * kWarpN;
  const int columns_left = s.Stride() - channel;
  const int width = columns_left < Tile::kColumns ? columns_left : Tile::kColumns;
  const int depth = PackedConvDepth(g), steps = depth / kConvDepth;
  const int8_t* weights =
      a.weights + (a.one_weight ? 0 : lane * PackedConvBytes(g)) + int64_t{channel} * depth;
  uint8_t* shared = SharedMemory();
  ConvRows<Tile::kThreads> rows(g, a.x + lane * g.In().LaneElements(), first);
  const auto copy = [&](int step) {
    uint8_t* to = shared + step % kConvStages * Tile::kStageBytes;
    rows.CopyNext(to);
    CopyWeights<Tile::kThreads, Tile::kColumns>(weights, depth, width, step,
                                                to + kConvRows * kConvDepth);
  };

  int32_t acc[2][kWarpN / 8][4] = {};
  for (int step = 0; step < kConvStages - 1; ++step) {
    if (step < steps) copy(step);
    AsyncCommit();
  }
  const uint32_t relu = g.relu ? 0xFFFFFFFFu : 0u;
  for (int step = 0; step < steps; ++step) {
    AsyncWait<kConvStages - 2>();
    // The copies of this step are there, and the step before no longer reads its buffer.
    SyncThreads();
    if (step + kConvStages - 1 < steps) copy(step + kConvStages - 1);
    AsyncCommit();
    const uint8_t* from = shared + step % kConvStages * Tile::kStageBytes;
    ConvStep<kWarpN>(from, from + kConvRows * kConvDepth, warp_row, warp_column, relu, acc);
  }
  AsyncWait<0>();
  SyncThreads();

  auto* tile = reinterpret_cast<int32_t*>(shared);
  const int thread = static_cast<int>(threadIdx.x) % kWarpSize;
  FTT_UNROLL
  for (int mt = 0; mt < 2; ++mt) {
    FTT_UNROLL
    for (int nt = 0; nt < kWarpN / 8; ++nt) {
      int32_t* to = tile + (warp_row + 16 * mt + thread / 4) * Tile::kAccStride + warp_column +
                    8 * nt + thread % 4 * 2;
      *reinterpret_cast<int2*>(to) = make_int2(acc[mt][nt][0], acc[mt][nt][1]);
      *reinterpret_cast<int2*>(to + 8 * Tile::kAccStride) =
          make_int2(acc[mt][nt][2], acc[mt][nt][3]);
    }
  }
  SyncThreads();
  const int left = s.Pixels() - first;
  const ConvBlock block{lane, first, left < kConvRows ? left : kConvRows, channel, width};
  if (a.out.codes != nullptr) {
    StoreCodes<Tile>(a.out, s, block, tile, shared + Tile::kAccBytes);
    return;
  }
  StoreRaw<Tile>(a.out, s, block, tile);
  if (a.out.partials != nullptr) {
    StorePartials<Tile>(a.out, s, block, tile,
                        reinterpret_cast<IntegerMoments*>(shared + Tile::kAccBytes));
  }
}

// One thread packs one segment of 16 codes.
__global__ void __launch_bounds__(128)
    PackConvKernel(WindowGeometry g, const int8_t* codes, int8_t* packed) {
  const int depth = PackedConvDepth(g), stride = PaddedChannels(g.in_channels);
  const int64_t segments = PackedConvBytes(g) / 16;
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= segments) return;
  const int row = static_cast<int>(i * 16 / depth), at = static_cast<int>(i * 16 % depth);
  const int tap = at / stride, channel = at % stride, taps = g.kernel * g.kernel;
  int8_t values[16] = {};
  if (row < g.out_channels && tap < taps) {
    const int8_t* from = codes + int64_t{blockIdx.y} * g.out_channels * taps * g.in_channels +
                         (int64_t{row} * taps + tap) * g.in_channels;
    for (int k = 0; k < 16; ++k) {
      if (channel + k < g.in_channels) values[k] = from[channel + k];
    }
  }
  uint4 vector;
  memcpy(&vector, values, sizeof vector);
  *reinterpret_cast<uint4*>(packed + blockIdx.y * PackedConvBytes(g) + i * 16) = vector;
}

}  // namespace ftt::cuda
