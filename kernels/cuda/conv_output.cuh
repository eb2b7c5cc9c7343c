// Where the accumulators of an implicit GEMM go. They pass through shared memory, so that
// statistics are column sums and all stores are whole vectors.
#pragma once

#include "kernels/cuda/conv_step.cuh"
#include "kernels/cuda/moments.cuh"
#include "kernels/cuda/stage.cuh"

namespace ftt::cuda {

// kRows rows and kColumns output channels; a warp takes 16 * kM16 rows and kWarpN channels.
template <int kWarpN, int kWarpsN, int kM16 = 2>
struct ConvTile {
  static constexpr int kRows = 64 * kM16;
  static constexpr int kColumns = kWarpN * kWarpsN;
  static constexpr int kThreads = 128 * kWarpsN;
  // Accumulators: 8 more columns keep rows on different banks.
  static constexpr int kAccStride = kColumns + 8;
  static constexpr int kAccBytes = kRows * kAccStride * 4;
  // Groups of eight columns, and rows that threads have under way at once.
  static constexpr int kGroups = kColumns / 8, kRowStep = kThreads / kGroups;
  // Statistics: a thread takes kWidth columns of every kParts-th row. Few columns and many rows:
  // what is left to merge then is little.
  static constexpr int kWidth = kColumns <= 32 ? 1 : 2;
  static constexpr int kUnits = kColumns / kWidth, kParts = kThreads / kUnits;
  // Moments take the accumulators' place.
  static_assert(kParts * kColumns * static_cast<int>(sizeof(ChannelMoments)) <= kAccBytes);

  // Accumulators and what the epilogue wants behind them.
  static int OutputBytes(bool staged, bool collects) {
    const int stage = LayoutOfStage(kRows, kColumns, false, collects, kThreads).Bytes();
    return kAccBytes + (staged ? stage : 0);
  }
};

// Blocks have as many rows as leave this many of them to each multiprocessor, if they can.
inline constexpr int kTallBlocks = 3;

// What the epilogues know of their block.
struct ConvBlock {
  int lane, first, count;  // rows: pixels of the lane
  int image;               // of the first one
  int channel, width;      // output channels, padded
  unsigned number;         // of the lane's blocks
};

// A warp's accumulators (see ConvStep) into the block's [kRows][kAccStride].
template <typename Tile, typename Sum, int kM16, int kNt>
__device__ __forceinline__ void StoreAccumulators(const Sum (&acc)[kM16][kNt][4], int warp_row,
                                                  int warp_column, Sum* tile) {
  struct alignas(8) Pair {
    Sum low, high;
  };
  const int thread = static_cast<int>(threadIdx.x) % kWarpSize;
  FTT_UNROLL
  for (int mt = 0; mt < kM16; ++mt) {
    FTT_UNROLL
    for (int nt = 0; nt < kNt; ++nt) {
      Sum* to = tile + (warp_row + 16 * mt + thread / 4) * Tile::kAccStride + warp_column + 8 * nt +
                thread % 4 * 2;
      *reinterpret_cast<Pair*>(to) = {acc[mt][nt][0], acc[mt][nt][1]};
      *reinterpret_cast<Pair*>(to + 8 * Tile::kAccStride) = {acc[mt][nt][2], acc[mt][nt][3]};
    }
  }
}

template <typename Tile>
__device__ void StoreRaw(const WindowOutput& out, const MapShape& s, const ConvBlock& b,
                         const int32_t* acc) {
  const int stride = s.Stride(), group = static_cast<int>(threadIdx.x) % Tile::kGroups;
  const float factor = PowerOfTwo(-out.raw_shift);
  const int64_t first = b.lane * s.LaneElements() + int64_t{b.first} * stride + b.channel;
  int row = static_cast<int>(threadIdx.x) / Tile::kGroups;
  const bool works = row < Tile::kRowStep && 8 * group < b.width;
  for (row = works ? row : b.count; row < b.count; row += Tile::kRowStep) {
    const int32_t* from = acc + row * Tile::kAccStride + 8 * group;
    const int64_t at = first + row * stride + 8 * group;
    if (out.raw_type == RawType::kInt32) {
      int4* to = reinterpret_cast<int4*>(static_cast<int32_t*>(out.raw) + at);
      to[0] = *reinterpret_cast<const int4*>(from);
      to[1] = *reinterpret_cast<const int4*>(from + 4);
    } else {
      float v[8];
      FTT_UNROLL
      for (int k = 0; k < 8; ++k) v[k] = static_cast<float>(from[k]) * factor;
      *reinterpret_cast<uint4*>(static_cast<Half*>(out.raw) + at) = make_uint4(
          PackHalf(v[0], v[1]), PackHalf(v[2], v[3]), PackHalf(v[4], v[5]), PackHalf(v[6], v[7]));
    }
  }
}

// Statistics of the columns; moments take the place of the accumulators. All threads.
template <typename Tile>
FTT_NOINLINE __device__ void AddMoments(const WindowOutput& out, const MapShape& s,
                                        const ConvBlock& b, uint8_t* shared) {
  const auto* acc = reinterpret_cast<const int32_t*>(shared);
  auto* moments = reinterpret_cast<ChannelMoments*>(shared);
  const int thread = static_cast<int>(threadIdx.x);
  constexpr int kWidth = Tile::kWidth;
  const int column = thread % Tile::kUnits * kWidth, part = thread / Tile::kUnits;
  // Two rows of 16 columns that a warp reads at once are on different banks if they are two apart.
  const int first = Tile::kColumns == 16 ? (part & ~3) + (part & 1) * 2 + (part >> 1 & 1) : part;
  ChannelMoments m[kWidth];
  for (int row = part < Tile::kParts ? first : b.count; row < b.count; row += Tile::kParts) {
    const int32_t* from = acc + row * Tile::kAccStride + column;
    if constexpr (kWidth == 1) {
      AddValue(m[0], *from);
    } else {
      const int2 v = *reinterpret_cast<const int2*>(from);
      AddValue(m[0], v.x);
      AddValue(m[1], v.y);
    }
  }
  SyncThreads();  // the accumulators have been read, as raw values too
  if (part < Tile::kParts) {
    FTT_UNROLL
    for (int c = 0; c < kWidth; ++c) moments[part * Tile::kColumns + column + c] = m[c];
  }
  SyncThreads();
  if (thread >= b.width) return;
  ChannelMoments total = moments[thread];
  FTT_UNROLL
  for (int p = 1; p < Tile::kParts; ++p) MergeMoments(total, moments[p * Tile::kColumns + thread]);
  AddToLane(out.moments, b.lane, b.number, s.Stride(), b.channel + thread, total);
}

// A call: its registers stay out of the main loop.
template <typename Tile>
FTT_NOINLINE __device__ void StoreCodes(const WindowOutput& out, const MapShape& s,
                                        const ConvBlock& b, const int32_t* acc, uint8_t* shared) {
  const CodeTile tile{nullptr,       nullptr, b.width,    b.first,   b.count,
                      s.MapPixels(), b.image, s.channels, b.channel, b.width};
  const StageLayout layout =
      LayoutOfStage(Tile::kRows, Tile::kColumns, false, out.faults.collects, Tile::kThreads);
  Stage stage(shared, layout, out.faults, b.lane, tile, out.codes + b.lane * s.LaneElements(),
              nullptr);
  const StrikeWords strikes = stage.Strikes();
  const int group = static_cast<int>(threadIdx.x) % Tile::kGroups;
  const int row = static_cast<int>(threadIdx.x) / Tile::kGroups;
  if (row < Tile::kRowStep && 8 * group < b.width) {
    const int channel = b.channel + 8 * group;
    PackNorm norm;
    norm.Load(out.scale, out.shift, (out.one_norm ? 0 : int64_t{b.lane} * s.Stride()) + channel);
    for (int p = row; p < b.count; p += Tile::kRowStep) {
      const auto* from = reinterpret_cast<const int4*>(acc + p * Tile::kAccStride + 8 * group);
      const int4 low = from[0], high = from[1];
      float v[8] = {static_cast<float>(low.x),  static_cast<float>(low.y),
                    static_cast<float>(low.z),  static_cast<float>(low.w),
                    static_cast<float>(high.x), static_cast<float>(high.y),
                    static_cast<float>(high.z), static_cast<float>(high.w)};
      stage.Put(p, group, norm.Codes(v, out.bits));
    }
  }
  stage.Finish(strikes);
}

// Everything behind the accumulators in `shared`, which has room for Tile::OutputBytes. All
// threads, after a barrier behind StoreAccumulators.
template <typename Tile>
__device__ __forceinline__ void StoreOutput(const WindowOutput& out, const MapShape& s,
                                            const ConvBlock& b, uint8_t* shared) {
  const auto* acc = reinterpret_cast<const int32_t*>(shared);
  if (out.codes != nullptr) {
    StoreCodes<Tile>(out, s, b, acc, shared + Tile::kAccBytes);
    return;
  }
  StoreRaw<Tile>(out, s, b, acc);
  if (out.moments != nullptr) AddMoments<Tile>(out, s, b, shared);
}

}  // namespace ftt::cuda
