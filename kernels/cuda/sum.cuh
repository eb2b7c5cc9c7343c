// Kernels of sum.h. Threads take packs of eight codes, two at a time.
#pragma once

#include "kernels/cuda/divider.h"
#include "kernels/cuda/relu.cuh"
#include "kernels/cuda/row_walk.cuh"
#include "kernels/cuda/stage.cuh"
#include "kernels/cuda/sum.h"

namespace ftt::cuda {

inline constexpr int kSumThreads = 256;
inline constexpr int kSumPacks = 2;         // that a thread adds up at once
inline constexpr int kMostSumBlocks = 528;  // of LargestSumKernel

// RoundShift by one distance, in 32 bits. |v| <= 2^30, and what is shifted left stays below 2^31.
// Left shifts beyond 20 are cut: codes are never shifted further to be added up, and a sum that is
// not 0 saturates already.
struct Rounding {
  int32_t factor = 1, half = 0, odd = 0;
  int right = 0;

  __device__ explicit Rounding(int shift) {
    if (shift > 30) {
      factor = 0;
    } else if (shift > 0) {
      right = shift;
      half = (int32_t{1} << (shift - 1)) - 1;
      odd = 1;
    } else {
      factor = int32_t{1} << (shift < -kMaxAlignShift ? kMaxAlignShift : -shift);
    }
  }
  __device__ __forceinline__ int32_t operator()(int32_t v) const {
    v *= factor;
    return (v + half + (v >> right & odd)) >> right;
  }
};

// The exponent to which one lane's inputs are aligned; 0 for a sum of nothing. `factors`: the sum
// of what they are multiplied by, where that is small enough for PackedSums; else 0.
struct Alignment {
  int exponent, factors = 0;
};
inline constexpr int kMostFactors = 126;
inline constexpr int kHalfBias = 16384;  // |sum| is less

__device__ __forceinline__ Alignment AlignmentOf(const SumArguments& a, int lane) {
  int exponent[kMaxSumInputs];
  FTT_UNROLL
  for (int k = 0; k < kMaxSumInputs; ++k)
    exponent[k] = k < a.count ? a.inputs[k].exponent[lane] : 0;
  int smallest = exponent[0], largest = smallest;
  FTT_UNROLL
  for (int k = 1; k < kMaxSumInputs; ++k) {
    if (k >= a.count) break;
    smallest = exponent[k] < smallest ? exponent[k] : smallest;
    largest = exponent[k] > largest ? exponent[k] : largest;
  }
  Alignment aligned{AlignedExponent(smallest, largest)};
  if (largest - smallest > 6) return aligned;
  int factors = 0;
  FTT_UNROLL
  for (int k = 0; k < kMaxSumInputs; ++k) {
    if (k < a.count) factors += 1 << (exponent[k] - aligned.exponent);
  }
  if (factors <= kMostFactors) aligned.factors = factors;
  return aligned;
}

// Byte i of a pack as a code, at least `floor`.
__device__ __forceinline__ int32_t CodeOf(uint2 pack, int i, int32_t floor) {
  // The byte and, three times, its sign.
  const auto select = static_cast<uint32_t>(i % 4);
  const auto code = static_cast<int32_t>(
      BytePermute(i < 4 ? pack.x : pack.y, 0, select | (select | 8) * 0x1110u));
  return code > floor ? code : floor;
}

// sum += one input's eight codes, in units of 2^aligned. Eight codes stay within 2^30.
__device__ __forceinline__ void AddPack(uint2 pack, int32_t floor, const Rounding& rounding,
                                        int32_t (&sum)[8]) {
  // Rare: inputs are aligned to the smallest exponent.
  if (rounding.right != 0) {
    FTT_UNROLL
    for (int i = 0; i < 8; ++i) sum[i] += rounding(CodeOf(pack, i, floor));
    return;
  }
  FTT_UNROLL
  for (int i = 0; i < 8; ++i) sum[i] += CodeOf(pack, i, floor) * rounding.factor;
}

// Packs of two inputs that are under way at once; `packs` of each, `step` elements apart.
template <int kPacks>
struct PackPair {
  uint2 pack[2][kPacks];

  // Of inputs k and k + 1, from element `at` on; what is beyond is 0. Waits for no exponent.
  __device__ __forceinline__ void Load(const SumArguments& a, int k, int64_t at, int step,
                                       int packs) {
    FTT_UNROLL
    for (int j = 0; j < 2; ++j) {
      FTT_UNROLL
      for (int p = 0; p < kPacks; ++p) {
        pack[j][p] = make_uint2(0, 0);
        if (k + j < a.count && p < packs)
          pack[j][p] = *reinterpret_cast<const uint2*>(a.inputs[k + j].codes + at + p * step);
      }
    }
  }
};

// The sums of kPacks packs, `step` elements apart, from element `at` on; those beyond the first
// `packs` are 0. pair: of the first two inputs.
template <int kPacks>
__device__ __forceinline__ void SumPacks(const SumArguments& a, int lane, int aligned, int64_t at,
                                         int step, int packs, PackPair<kPacks>& pair,
                                         int32_t (&sum)[kPacks][8]) {
  FTT_UNROLL
  for (int p = 0; p < kPacks; ++p) {
    FTT_UNROLL
    for (int i = 0; i < 8; ++i) sum[p][i] = 0;
  }
  for (int k = 0; k < a.count; k += 2) {
    if (k > 0) pair.Load(a, k, at, step, packs);
    int exponent[2];
    FTT_UNROLL
    for (int j = 0; j < 2; ++j) exponent[j] = k + j < a.count ? a.inputs[k + j].exponent[lane] : 0;
    FTT_UNROLL
    for (int j = 0; j < 2; ++j) {
      if (k + j >= a.count) break;
      const int32_t floor = a.inputs[k + j].relu ? 0 : INT32_MIN;
      const Rounding rounding(aligned - exponent[j]);
      FTT_UNROLL
      for (int p = 0; p < kPacks; ++p) AddPack(pair.pack[j][p], floor, rounding, sum[p]);
    }
  }
}

// As SumPacks where all factors are small. Halves hold sum + kHalfBias: of a pack's channels 0 and
// 2, 1 and 3, 4 and 6, 5 and 7.
template <int kPacks>
__device__ __forceinline__ void PackedSums(const SumArguments& a, int lane,
                                           const Alignment& aligned, int64_t at, int step,
                                           int packs, PackPair<kPacks>& pair,
                                           uint32_t (&sum)[kPacks][4]) {
  // Codes are added up as code + 128.
  const uint32_t start = static_cast<uint32_t>(kHalfBias - 128 * aligned.factors) * 0x00010001u;
  FTT_UNROLL
  for (int p = 0; p < kPacks; ++p) {
    FTT_UNROLL
    for (int i = 0; i < 4; ++i) sum[p][i] = start;
  }
  for (int k = 0; k < a.count; k += 2) {
    if (k > 0) pair.Load(a, k, at, step, packs);
    int exponent[2];
    FTT_UNROLL
    for (int j = 0; j < 2; ++j) exponent[j] = k + j < a.count ? a.inputs[k + j].exponent[lane] : 0;
    FTT_UNROLL
    for (int j = 0; j < 2; ++j) {
      if (k + j >= a.count) break;
      const uint32_t factor = 1u << (exponent[j] - aligned.exponent);
      const Relu relu(a.inputs[k + j].relu);
      FTT_UNROLL
      for (int p = 0; p < kPacks; ++p) {
        FTT_UNROLL
        for (int w = 0; w < 2; ++w) {
          uint32_t word = w == 0 ? pair.pack[j][p].x : pair.pack[j][p].y;
          word = relu(word) ^ 0x80808080;
          sum[p][2 * w] += BytePermute(word, 0, 0x4240) * factor;
          sum[p][2 * w + 1] += BytePermute(word, 0, 0x4341) * factor;
        }
      }
    }
  }
}

// RoundShift of such sums, saturated.
struct PackedRounding {
  int shift;
  uint32_t half, odd, inside, low, high, bias;

  __device__ PackedRounding(int shift, int bits) : shift(shift) {
    const int steps = kHalfBias >> shift;
    half = shift > 0 ? ((1u << (shift - 1)) - 1) * 0x00010001u : 0;
    odd = shift > 0 ? 0x00010001u : 0;
    inside = (0xFFFFu >> shift) * 0x00010001u;
    low = static_cast<uint32_t>(steps + CodeMin(bits)) * 0x00010001u;
    high = static_cast<uint32_t>(steps + CodeMax(bits)) * 0x00010001u;
    bias = (256u - (static_cast<uint32_t>(steps) & 0xFF)) * 0x00010001u;
  }
  // kHalfBias is an even number of steps then.
  static __device__ __forceinline__ bool Takes(int shift) { return shift >= 0 && shift <= 8; }

  __device__ __forceinline__ CodePack operator()(const uint32_t (&sum)[4]) const {
    uint32_t codes[4], moved[4];
    FTT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const uint32_t rounded = (sum[i] + half + (sum[i] >> shift & odd)) >> shift & inside;
      const uint32_t code = MinHalves(MaxHalves(rounded, low), high);
      moved[i] = code ^ rounded;
      codes[i] = code + bias;  // in the lowest byte
    }
    CodePack pack;
    pack.low = BytePermute(codes[0], codes[1], 0x6240);
    pack.high = BytePermute(codes[2], codes[3], 0x6240);
    pack.mask = 0xFF;
    if ((moved[0] | moved[1] | moved[2] | moved[3]) == 0) return pack;
    FTT_UNROLL
    for (int i = 0; i < 8; ++i) {
      const uint32_t upper = i % 4 / 2 == 0 ? 0x0000FFFFu : 0xFFFF0000u;
      if ((moved[i / 4 * 2 + i % 2] & upper) != 0) pack.mask &= ~(1u << i);
    }
    return pack;
  }
};

// The largest value of all threads of a block, for all threads. Ends with a barrier.
__device__ inline int32_t BlockLargestSum(int32_t largest) {
  using WarpLargest = int32_t[kSumThreads / kWarpSize];
  FTT_SHARED(WarpLargest, warp_largest);
  for (int step = kWarpSize / 2; step > 0; step /= 2) {
    const int32_t other = ShuffleXor(largest, step);
    largest = other > largest ? other : largest;
  }
  if (threadIdx.x % kWarpSize == 0) warp_largest[threadIdx.x / kWarpSize] = largest;
  SyncThreads();
  FTT_UNROLL
  for (int w = 0; w < kSumThreads / kWarpSize; ++w)
    largest = warp_largest[w] > largest ? warp_largest[w] : largest;
  return largest;
}

// largest[lane][block] = largest |sum| of the block's part.
__global__ void __launch_bounds__(kSumThreads, 4) LargestSumKernel(FTT_IN_PLACE SumArguments a) {
  const int lane = static_cast<int>(blockIdx.y);
  const int64_t lane_elements = a.shape.LaneElements(), packs = lane_elements / 8;
  const int64_t step = int64_t{gridDim.x} * kSumPacks * kSumThreads;
  const int64_t first = int64_t{blockIdx.x} * kSumPacks * kSumThreads + threadIdx.x;
  StartKernel(static_cast<int>(first >> 1));
  PackPair<kSumPacks> pair;
  const auto load = [&](int64_t i) {
    if (i >= packs) return;
    pair.Load(a, 0, lane * lane_elements + 8 * i, 8 * kSumThreads,
              packs - i <= kSumThreads ? 1 : kSumPacks);
  };
  load(first);  // does not wait for the exponents
  const Alignment aligned = AlignmentOf(a, lane);
  int32_t largest = 0;
  uint32_t halves = 0, negative = 0;  // the largest sums, and the largest of 0x7FFF - sum

  for (int64_t i = first; i < packs; i += step) {
    if (i != first) load(i);
    const int64_t left = packs - i, at = lane * lane_elements + 8 * i;
    const int here = left <= kSumThreads ? 1 : kSumPacks;
    if (aligned.factors > 0) {
      uint32_t sum[kSumPacks][4];
      PackedSums(a, lane, aligned, at, 8 * kSumThreads, here, pair, sum);
      FTT_UNROLL
      for (int p = 0; p < kSumPacks; ++p) {
        FTT_UNROLL
        for (int k = 0; k < 4; ++k) {
          halves = MaxHalves(halves, sum[p][k]);
          negative = MaxHalves(negative, 0x7FFF7FFFu - sum[p][k]);
        }
      }
      continue;
    }
    int32_t sum[kSumPacks][8];
    SumPacks(a, lane, aligned.exponent, at, 8 * kSumThreads, here, pair, sum);
    FTT_UNROLL
    for (int p = 0; p < kSumPacks; ++p) {
      FTT_UNROLL
      for (int k = 0; k < 8; ++k) {
        const int32_t magnitude = sum[p][k] < 0 ? -sum[p][k] : sum[p][k];
        largest = magnitude > largest ? magnitude : largest;
      }
    }
  }
  if (aligned.factors > 0) {
    FTT_UNROLL
    for (int upper = 0; upper < 32; upper += 16) {
      const auto high = static_cast<int32_t>(halves >> upper & 0xFFFF) - kHalfBias;
      const int32_t low = static_cast<int32_t>(negative >> upper & 0xFFFF) - (0x7FFF - kHalfBias);
      largest = high > largest ? high : largest;
      largest = low > largest ? low : largest;
    }
  }
  largest = BlockLargestSum(largest);
  if (threadIdx.x == 0) a.largest[lane * gridDim.x + blockIdx.x] = largest;
}

// The largest of a thread's share of what LargestSumKernel left; 0 without. `blocks`: at most
// kMostSumBlocks.
__device__ __forceinline__ int32_t ThreadLargestSum(const SumArguments& a, int lane, int blocks) {
  int32_t largest = 0;
  FTT_UNROLL
  for (int b = static_cast<int>(threadIdx.x), i = 0; i < DivideUp(kMostSumBlocks, kSumThreads);
       ++i, b += kSumThreads) {
    const int32_t other = a.largest != nullptr && b < blocks ? a.largest[lane * blocks + b] : 0;
    largest = other > largest ? other : largest;
  }
  return largest;
}

// The exponent of the lane's output, for all threads.
__device__ __forceinline__ int SumExponent(const SumArguments& a, int lane, int aligned,
                                           int32_t largest) {
  if (a.largest == nullptr) return a.exponent[lane];
  largest = BlockLargestSum(largest);
  const int exponent = ExponentFor(static_cast<float>(largest) * PowerOfTwo(aligned), a.bits);
  if (blockIdx.x == 0 && threadIdx.x == 0) a.exponent[lane] = exponent;
  return exponent;
}

struct SumPlan {
  int tile_pixels = 1;  // of a block
  Divider map;          // by the pixels of an image
};

// Pads hold 0 in every input, so sums of pads are 0.
__global__ void __launch_bounds__(kSumThreads, 4)
    AddKernel(FTT_IN_PLACE SumArguments a, FTT_IN_PLACE SumPlan plan, int largest_blocks) {
  const MapShape& s = a.shape;
  const int lane = static_cast<int>(blockIdx.y), stride = s.Stride();
  const int first = static_cast<int>(blockIdx.x) * plan.tile_pixels;
  const int left = s.Pixels() - first, count = left < plan.tile_pixels ? left : plan.tile_pixels;
  const int packs = count * (stride / 8), thread = static_cast<int>(threadIdx.x);
  const int64_t base = lane * s.LaneElements() + int64_t{first} * stride;
  StartKernel(packs + thread);
  PackPair<kSumPacks> pair;
  const auto load = [&](int i) {
    if (i >= packs) return;
    pair.Load(a, 0, base + 8 * i, 8 * kSumThreads, packs - i <= kSumThreads ? 1 : kSumPacks);
  };
  load(thread);  // does not wait for the exponents
  const int32_t largest = ThreadLargestSum(a, lane, largest_blocks);
  const Alignment aligned = AlignmentOf(a, lane);
  const StageLayout layout =
      LayoutOfStage(plan.tile_pixels, stride, a.mask != nullptr, a.faults.collects, kSumThreads);
  const CodeTile tile{nullptr,       nullptr,         stride,     first, count,
                      s.MapPixels(), plan.map(first), s.channels, 0,     stride};
  Stage stage(SharedMemory(), layout, a.faults, lane, tile, a.codes + lane * s.LaneElements(),
              a.mask == nullptr ? nullptr : a.mask + lane * s.LaneElements() / 8);
  const StrikeWords strikes = stage.Strikes();
  const int exponent = SumExponent(a, lane, aligned.exponent, largest);
  const int shift = exponent - aligned.exponent;
  if (aligned.factors > 0 && PackedRounding::Takes(shift)) {
    const PackedRounding rounding(shift, a.bits);
    for (int i = thread; i < packs; i += kSumPacks * kSumThreads) {
      if (i != thread) load(i);
      uint32_t sum[kSumPacks][4];
      const int here = packs - i <= kSumThreads ? 1 : kSumPacks;
      PackedSums(a, lane, aligned, base + 8 * i, 8 * kSumThreads, here, pair, sum);
      FTT_UNROLL
      for (int p = 0; p < kSumPacks; ++p) {
        if (p < here) stage.PutAt(8 * (i + p * kSumThreads), rounding(sum[p]));
      }
    }
  } else {
    const Rounding rounding(shift);
    // A sum beyond this saturates and, shifted left by no more than 20, keeps to 32 bits.
    constexpr int32_t kBeyond = 1 << 10;
    const bool shifts_left = shift < 0;
    const int low = CodeMin(a.bits), high = CodeMax(a.bits);
    for (int i = thread; i < packs; i += kSumPacks * kSumThreads) {
      if (i != thread) load(i);
      int32_t sum[kSumPacks][8];
      const int here = packs - i <= kSumThreads ? 1 : kSumPacks;
      SumPacks(a, lane, aligned.exponent, base + 8 * i, 8 * kSumThreads, here, pair, sum);
      FTT_UNROLL
      for (int p = 0; p < kSumPacks; ++p) {
        if (p >= here) break;
        CodePack pack;
        FTT_UNROLL
        for (int k = 0; k < 8; ++k) {
          int32_t v = sum[p][k];
          if (shifts_left) v = v > kBeyond ? kBeyond : v < -kBeyond ? -kBeyond : v;
          v = rounding(v);
          const int code = v > high ? high : v < low ? low : v;
          pack.Set(k, code, code == v);
        }
        stage.PutAt(8 * (i + p * kSumThreads), pack);
      }
    }
  }
  stage.Finish(strikes);
}

// What an input of a concatenation needs: where it starts, and its RoundShift to the output's
// exponent for two codes at once, as 16-bit halves that hold code + 128.
struct ConcatInput {
  int first, shift;
  uint32_t half, odd, bias;

  __device__ ConcatInput(int first, int shift) : first(first), shift(shift) {
    const int right = IsSmall() ? shift : 0;
    half = right > 0 ? ((1u << (right - 1)) - 1) * 0x00010001u : 0;
    odd = right > 0 ? 0x00010001u : 0;
    bias = (256u - (128u >> right)) * 0x00010001u;
  }
  // 128 is an even number of steps then, and nothing saturates.
  __device__ __forceinline__ bool IsSmall() const { return shift >= 0 && shift < 7; }
};

// Four codes in the output's exponent. Zeros stay zeros.
__device__ __forceinline__ uint32_t RequantizeWord(const ConcatInput& in, uint32_t word, bool relu,
                                                   int bits) {
  if (relu) word &= ~BytePermute(word, 0, 0xBA98);
  if (in.IsSmall()) {
    word ^= 0x80808080;
    uint32_t even = word & 0x00FF00FF, odd = word >> 8 & 0x00FF00FF;
    even += in.half + (even >> in.shift & in.odd);
    odd += in.half + (odd >> in.shift & in.odd);
    // What a half gets from its upper neighbour lies above its lowest byte.
    even = (even >> in.shift) + in.bias;
    odd = (odd >> in.shift) + in.bias;
    return BytePermute(even, odd, 0x6240);
  }
  const Rounding rounding(in.shift);
  uint32_t codes = 0;
  FTT_UNROLL
  for (int i = 0; i < 4; ++i) {
    const int code = static_cast<int8_t>(word >> 8 * i & 0xFF);
    codes |= (static_cast<uint32_t>(SaturateCode(rounding(code), bits)) & 0xFF) << 8 * i;
  }
  return codes;
}

// Eight codes of a concatenation, from channel c on; pads are 0. Inputs' pads are 0, too, so what
// inputs have of the pack is put together by OR.
__device__ __forceinline__ CodePack ConcatCodes(const SumArguments& a, const ConcatInput* inputs,
                                                int64_t pixel, int c) {
  CodePack codes;
  int k = 0;
  while (k + 1 < a.count && inputs[k + 1].first <= c) ++k;
  for (; k < a.count && inputs[k].first < c + 8; ++k) {
    const SumOperand& operand = a.inputs[k];
    const ConcatInput& in = inputs[k];
    const int words = PaddedChannels(operand.channels) / 4, offset = c - in.first;
    const int8_t* from = operand.codes + pixel * (4 * words);
    // Eight bytes from `offset` on, out of three words.
    const int first = offset >> 2;
    uint32_t word[3];
    FTT_UNROLL
    for (int i = 0; i < 3; ++i) {
      word[i] = 0;
      if (static_cast<unsigned>(first + i) < static_cast<unsigned>(words))
        word[i] = *reinterpret_cast<const uint32_t*>(from + 4 * (first + i));
    }
    const uint32_t select = 0x3210u + 0x1111u * static_cast<uint32_t>(offset & 3);
    codes.low |= RequantizeWord(in, BytePermute(word[0], word[1], select), operand.relu, a.bits);
    codes.high |= RequantizeWord(in, BytePermute(word[1], word[2], select), operand.relu, a.bits);
  }
  return codes;
}

__global__ void __launch_bounds__(kSumThreads, 4)
    ConcatKernel(FTT_IN_PLACE SumArguments a, FTT_IN_PLACE SumPlan plan, bool fixed_exponent) {
  StartKernel();
  const MapShape& s = a.shape;
  const int lane = static_cast<int>(blockIdx.y), stride = s.Stride();
  const int first = static_cast<int>(blockIdx.x) * plan.tile_pixels;
  const int left = s.Pixels() - first, count = left < plan.tile_pixels ? left : plan.tile_pixels;
  const StageLayout layout =
      LayoutOfStage(plan.tile_pixels, stride, false, a.faults.collects, kSumThreads);
  const CodeTile tile{nullptr,       nullptr,         stride,     first, count,
                      s.MapPixels(), plan.map(first), s.channels, 0,     stride};
  Stage stage(SharedMemory(), layout, a.faults, lane, tile, a.codes + lane * s.LaneElements(),
              nullptr);
  using Inputs = int[kMaxSumInputs][sizeof(ConcatInput) / sizeof(int)];
  using Exponents = int[kMaxSumInputs];
  FTT_SHARED(Inputs, shared);
  FTT_SHARED(Exponents, exponents);
  auto* inputs = reinterpret_cast<ConcatInput*>(shared);
  const auto k = static_cast<int>(threadIdx.x);
  if (k < a.count) exponents[k] = a.inputs[k].exponent[lane];
  SyncThreads();
  if (k < a.count) {
    int largest = exponents[0], before = 0;
    for (int j = 0; j < a.count; ++j) {
      largest = exponents[j] > largest ? exponents[j] : largest;
      before += j < k ? a.inputs[j].channels : 0;
    }
    inputs[k] = ConcatInput(before, (fixed_exponent ? a.exponent[lane] : largest) - exponents[k]);
    if (!fixed_exponent && blockIdx.x == 0 && k == 0) a.exponent[lane] = largest;
  }
  SyncThreads();
  const int groups = stride / 8;
  for (RowWalk walk(k, kSumThreads, groups); walk.row < count; walk.Next()) {
    const int64_t pixel = int64_t{lane} * s.Pixels() + first + walk.row;
    stage.Put(walk.row, walk.at, ConcatCodes(a, inputs, pixel, 8 * walk.at));
  }
  stage.Finish();
}

}  // namespace ftt::cuda
