// The samplers on the device, equal to faults/inject.cc bit for bit: a block strikes the codes that
// it has just computed, before they leave shared memory.
//
// Sparse: a warp samples a tile of 1024 logical elements. Lane b computes Philox block b, so one
// call per lane covers 127 arrivals. The first arrival at a cell wins: within 32 arrivals the
// lowest lane among equals, across them what the warp's scratch remembers. A tile that lies in two
// blocks is sampled by both, each keeping the hits on its own codes. Dense: a thread per draw.
#pragma once

#include "faults/model_list.h"
#include "faults/step.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

// Consecutive pixels of one lane and a range of their channels, staged in shared memory.
struct CodeTile {
  int8_t* codes;       // [count][stride]
  uint32_t* pass;      // bit i of the words belongs to codes[i]; null: not wanted
  int stride;          // multiple of 16
  int first, count;    // pixels of the lane, all images one after another
  int map_pixels;      // of one image
  int image;           // that the first pixel belongs to: callers know it without a division
  int channels;        // of the whole map
  int channel, width;  // channels [channel, channel + width) are staged
};

// Scratch in shared memory. Per warp: steps that can hit several cells of a code collect hits per
// element, the others only remember which elements were hit; all zero between tiles. Per block: two
// histograms of hits, used by steps in turn.
inline constexpr int kHitKinds = 16;
FTT_HD constexpr int FaultWarpWords(bool collects) {
  return collects ? kTileElements : kTileElements / 32;
}
FTT_HD constexpr int FaultScratchBytes(bool collects, int threads) {
  return (threads / 32 * FaultWarpWords(collects) + 2 * kHitKinds) * 4;
}

// One step's hits on one image's part of a tile of codes. Code for models of that use only.
template <FaultUse kUse>
struct Strike {
  const FaultStep& step;
  const CodeTile& tile;
  uint32_t word1, word2;
  uint32_t begin, end;  // elements of the image that are staged (all channels)
  int first_pixel;      // of the image within its map, at codes[base]
  int base;             // offset in codes
  uint32_t* histogram;  // [kHitKinds] in shared memory

  // Offset of an element in codes; negative where it is not staged.
  __device__ int Offset(uint32_t element) const {
    if (element < begin || element >= end) return -1;
    const uint32_t pixel = element / static_cast<uint32_t>(tile.channels);
    const int c = static_cast<int>(element - pixel * static_cast<uint32_t>(tile.channels));
    const int staged = c - tile.channel;
    if (staged < 0 || staged >= tile.width) return -1;
    return base + (static_cast<int>(pixel) - first_pixel) * tile.stride + staged;
  }
  __device__ void Apply(int offset, FaultHit hit) const {
    const FaultEffect effect = ApplyFaultOf<kUse>(step, tile.codes[offset], hit);
    tile.codes[offset] = static_cast<int8_t>(effect.code);
    if (effect.saturated && tile.pass != nullptr)
      AtomicAnd(&tile.pass[offset >> 5], ~(1u << (offset & 31)));
  }
  __device__ void Count(uint32_t cell, bool one) const {
    AtomicAdd(&histogram[(cell & 7) + (one ? 8 : 0)], 1u);
  }
};

// Up to 32 consecutive arrivals of one tile, one per lane. recall: others came before; remember:
// others follow.
template <FaultUse kUse>
__device__ inline void TakeArrivals(const Strike<kUse>& s, uint32_t tile, uint32_t payload,
                                    bool active, bool recall, bool remember, uint32_t* scratch) {
  const FaultStep& step = s.step;
  const int lane = static_cast<int>(threadIdx.x % kWarpSize);
  const uint32_t position = PayloadPosition(payload), cell = PayloadCell(step, payload);
  int offset = -1;
  if (active && (step.valid_cells >> cell & 1) != 0)
    offset = s.Offset((tile << kTileLog2) + position);
  // Keys of arrivals that do not count differ from all others.
  const uint32_t key = offset < 0 ? 0x80000000u | static_cast<uint32_t>(lane)
                                  : position << 4 | (step.one_fault ? 0 : cell);
  const uint32_t equals = MatchAny(key);
  bool wins = offset >= 0 && (equals & ((1u << lane) - 1)) == 0;
  const bool one = PayloadType(payload) < step.one_threshold;
  if (step.one_fault) {
    const uint32_t bit = 1u << (position & 31);
    if (wins && recall) wins = (scratch[position >> 5] & bit) == 0;
    SyncWarp();
    if (wins && remember) AtomicOr(&scratch[position >> 5], bit);
    if (wins) s.Apply(offset, {1u << cell, (one ? 1u : 0u) << cell});
  } else {
    if (wins) wins = (scratch[position] >> cell & 1) == 0;
    SyncWarp();
    if (wins) AtomicOr(&scratch[position], 1u << cell | (one ? 0x10000u : 0u) << cell);
  }
  if (wins) s.Count(cell, one);
  SyncWarp();
}

// One warp samples one tile of an image.
template <FaultUse kUse>
__device__ inline void StrikeSparseTile(const Strike<kUse>& s, uint32_t tile, uint32_t* scratch) {
  const FaultStep& step = s.step;
  const auto lane = static_cast<uint32_t>(threadIdx.x % kWarpSize);
  uint32_t arrivals = 0, taken = 0;
  for (uint32_t block = 0; block == 0 || taken < arrivals; block += kWarpSize) {
    const PhiloxCounter v = Philox(
        {{SparseWord0(tile, block + lane), s.word1, s.word2, step.word3}}, step.key0, step.key1);
    if (block == 0) arrivals = ArrivalCount(step, Shuffle(v.v[0], 0));
    // Word w of block b describes arrival 4 * b + w - 1.
    const uint32_t covered = 4 * (block + kWarpSize) - 1;
    const uint32_t end = arrivals < covered ? arrivals : covered;
    for (; taken < end; taken += kWarpSize) {
      const uint32_t a = taken + lane;
      const auto source = static_cast<int>((a + 1) / 4 - block);
      const uint32_t p0 = Shuffle(v.v[0], source), p1 = Shuffle(v.v[1], source);
      const uint32_t p2 = Shuffle(v.v[2], source), p3 = Shuffle(v.v[3], source);
      const uint32_t word = (a + 1) & 3;
      const uint32_t payload = word < 2 ? (word == 0 ? p0 : p1) : (word == 2 ? p2 : p3);
      const uint32_t next = taken + kWarpSize < end ? taken + kWarpSize : end;
      TakeArrivals(s, tile, payload, a < end, taken != 0, next < arrivals, scratch);
    }
    if (taken > end) taken = end;
  }
  if (arrivals == 0) return;
  if (step.one_fault) {
    if (arrivals > kWarpSize) scratch[lane] = 0;
  } else {
    for (uint32_t position = lane; position < kTileElements; position += kWarpSize) {
      const uint32_t hit = scratch[position];
      if (hit == 0) continue;
      scratch[position] = 0;
      s.Apply(s.Offset((tile << kTileLog2) + position), {hit & 0xFFFF, hit >> 16});
    }
  }
  SyncWarp();
}

// Threads share the draws of the staged elements; thread `rank` of `threads`.
template <FaultUse kUse>
__device__ inline void StrikeDense(const Strike<kUse>& s, uint32_t rank, uint32_t threads) {
  const FaultStep& step = s.step;
  const int cells_log2 = step.one_fault ? 0 : step.cells_log2;
  const int units_log2 = step.dense_pairs ? 1 : 2;  // units of one Philox block
  const int group_log2 = units_log2 > cells_log2 ? units_log2 - cells_log2 : 0;
  const uint32_t units = 1u << (group_log2 + cells_log2);
  const uint32_t cell_mask = (1u << cells_log2) - 1;
  for (uint32_t g = (s.begin >> group_log2) + rank; g << group_log2 < s.end; g += threads) {
    FaultHit hit;
    PhiloxCounter v{};
    for (uint32_t u = 0; u < units; ++u) {
      const uint32_t unit = (g << (group_log2 + cells_log2)) + u;
      const uint32_t word = u & ((1u << units_log2) - 1);
      if (word == 0) {
        v = Philox({{unit >> units_log2, s.word1, s.word2, step.word3}}, step.key0, step.key1);
      }
      const uint32_t draw = step.dense_pairs ? (word == 0 ? v.v[0] : v.v[2])
                                             : (word < 2 ? (word == 0 ? v.v[0] : v.v[1])
                                                         : (word == 2 ? v.v[2] : v.v[3]));
      const uint32_t element = unit >> cells_log2;
      if (draw <= step.dense_last) {
        const uint32_t extra = step.dense_pairs ? (word == 0 ? v.v[1] : v.v[3]) : 0;
        const uint32_t payload = DensePayload(step, 0, unit & cell_mask, draw, extra);
        const uint32_t cell = PayloadCell(step, payload);
        if ((step.valid_cells >> cell & 1) != 0 && s.Offset(element) >= 0) {
          const bool one = PayloadType(payload) < step.one_threshold;
          hit.cells |= 1u << cell;
          hit.ones |= (one ? 1u : 0u) << cell;
          s.Count(cell, one);
        }
      }
      if ((unit & cell_mask) == cell_mask && hit.cells != 0) {
        s.Apply(s.Offset(element), hit);
        hit = {};
      }
    }
  }
}

template <FaultUse kUse>
__device__ inline uint32_t UnitDraw(const Strike<kUse>& s, uint32_t unit) {
  const PhiloxCounter v =
      Philox({{unit / 4, s.word1, s.word2, s.step.word3}}, s.step.key0, s.step.key1);
  const uint32_t word = unit & 3;
  return word < 2 ? (word == 0 ? v.v[0] : v.v[1]) : (word == 2 ? v.v[2] : v.v[3]);
}

// Every code is perturbed by a normal variable. A call: it is rare and would take registers from
// the others.
template <FaultUse kUse>
FTT_NOINLINE __device__ inline void StrikeEvery(const Strike<kUse>& s, uint32_t rank,
                                                uint32_t threads) {
  for (uint32_t e = s.begin + rank; e < s.end; e += threads) {
    const int offset = s.Offset(e);
    if (offset < 0) continue;
    const auto normal = static_cast<uint32_t>(NormalFromDraw(s.step, UnitDraw(s, e)));
    const int before = s.tile.codes[offset];
    const FaultEffect effect = ApplyFaultOf<kUse>(s.step, before, {1, normal});
    if (effect.code == before) continue;
    s.tile.codes[offset] = static_cast<int8_t>(effect.code);
    s.Count(0, effect.code > before);
  }
}

// All codes of some channels: those that a stuck column of the array computes. Counted once per
// image, where its first pixel is staged. A call for the same reason.
template <FaultUse kUse>
FTT_NOINLINE __device__ inline void StrikeColumns(const Strike<kUse>& s, uint32_t rank,
                                                  uint32_t threads) {
  const FaultStep& step = s.step;
  const auto channels = static_cast<uint32_t>(s.tile.channels);
  const uint32_t staged_end = static_cast<uint32_t>(s.tile.channel + s.tile.width);
  for (uint32_t c = static_cast<uint32_t>(s.tile.channel) + rank; c < staged_end && c < channels;
       c += threads) {
    const uint32_t column = c % step.columns;
    const uint32_t draw = UnitDraw(s, column);
    if (draw > step.dense_last) continue;
    const bool one = (draw & 1) < step.one_threshold;
    if (c == column && s.begin == 0) s.Count(step.column_bit, one);
    for (uint32_t e = s.begin + c; e < s.end; e += channels)
      s.Apply(s.Offset(e), {1, one ? 1u : 0u});
  }
}

// Before InjectTile; a barrier must follow.
__device__ inline void ClearFaultScratch(uint32_t* scratch, bool collects) {
  const auto words = static_cast<uint32_t>(FaultScratchBytes(collects, blockDim.x) / 4);
  for (uint32_t i = threadIdx.x; i < words; i += blockDim.x) scratch[i] = 0;
}

template <FaultUse kUse>
__device__ inline void StrikeTile(const Strike<kUse>& strike, uint32_t* scratch, int warp_words,
                                  uint32_t* job) {
  const uint32_t threads = blockDim.x, rank = threadIdx.x;
  if constexpr (kStyleIsUsed<kUse, FaultStyle::kEvery>)
    if (strike.step.style == FaultStyle::kEvery) return StrikeEvery(strike, rank, threads);
  if constexpr (kStyleIsUsed<kUse, FaultStyle::kColumns>)
    if (strike.step.style == FaultStyle::kColumns) return StrikeColumns(strike, rank, threads);
  if (strike.step.sampler == Sampler::kDense) {
    StrikeDense(strike, rank, threads);
  } else {
    const uint32_t warps = threads / kWarpSize, warp = rank / kWarpSize;
    for (uint32_t t = strike.begin >> kTileLog2; t << kTileLog2 < strike.end; ++t, ++*job) {
      if (*job % warps == warp) StrikeSparseTile(strike, t, scratch + warp * warp_words);
    }
  }
}

// Strikes a block's codes with all steps of a lane, in order. All threads of the block call it,
// after a barrier behind the writing of the codes; it ends with a barrier.
template <FaultUse kUse>
FTT_NOINLINE __device__ inline void InjectTile(const LaneFaultSteps& faults,
                                               const uint32_t* image_ids, const CodeTile& tile,
                                               uint32_t* scratch, bool collects) {
  const auto channels = static_cast<uint32_t>(tile.channels);
  const int warp_words = FaultWarpWords(collects);
  uint32_t* histograms = scratch + blockDim.x / kWarpSize * warp_words;
  const int after = (tile.image + 1) * tile.map_pixels;  // the first image
  const int last = tile.first + tile.count - 1;
  const int last_image = last < after ? tile.image : last / tile.map_pixels;
  for (int i = 0; i < faults.count; ++i) {
    // A copy: what lies in memory would be read again after every store.
    const FaultStep step = faults.steps[i];
    uint32_t* histogram = histograms + (i & 1) * kHitKinds;
    uint32_t job = 0;
    for (int image = tile.image; image <= last_image; ++image) {
      const int map_first = image * tile.map_pixels, end = tile.first + tile.count;
      const int from = tile.first > map_first ? tile.first - map_first : 0;
      const int to = end - map_first < tile.map_pixels ? end - map_first : tile.map_pixels;
      const Strike<kUse> strike{step,
                                tile,
                                FaultWord1(step, image_ids[image], faults.moment.training),
                                faults.moment.trial,
                                static_cast<uint32_t>(from) * channels,
                                static_cast<uint32_t>(to) * channels,
                                from,
                                (map_first + from - tile.first) * tile.stride,
                                histogram};
      StrikeTile(strike, scratch, warp_words, &job);
    }
    SyncThreads();
    // The next step counts in the other histogram; the one after it starts behind another barrier.
    if (threadIdx.x < kHitKinds && histogram[threadIdx.x] != 0) {
      if (faults.hits != nullptr)
        AtomicAdd(&faults.hits[step.term].kind[threadIdx.x], uint64_t{histogram[threadIdx.x]});
      histogram[threadIdx.x] = 0;
    }
  }
}

}  // namespace ftt::cuda
