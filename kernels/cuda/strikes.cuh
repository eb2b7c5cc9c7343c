// Kernel of strikes.h: the sparse sampler of faults/inject.cc, several tiles a warp.
//
// 2^share_log2 threads share a tile; each computes a Philox block and holds its four payloads. The
// earliest arrival at an element wins. Arrivals claim their element's bit in shared memory; where
// that was set before this round of blocks they have lost. Elements that two arrivals of a round
// claim are settled one by one: threads and words are in order of arrival.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/strikes.h"

namespace ftt::cuda {

inline constexpr int kStrikeWarps = 8;  // of a block; each takes chunks of its own
inline constexpr int kStrikeTurns = 4;  // groups of tiles of a chunk
inline constexpr int kStrikeKinds = 16;
// Per warp: a bit per element of up to 32 tiles, and a histogram.
// A bit for each of a tile's elements; one more word keeps the groups' on different banks.
inline constexpr int kClaimWords = kTileElements / 32, kClaimPitch = kClaimWords + 1;
inline constexpr int kStrikeWarpWords = kWarpSize * kClaimPitch + kStrikeKinds;

// A thread's part of drawing one image's lists.
class StrikeDraw {
 public:
  __device__ StrikeDraw(const StrikeJob& job, const FaultStep& step, uint32_t word1, uint32_t word2,
                        uint32_t* lists, uint32_t* scratch)
      : job_(job),
        step_(step),
        word1_(word1),
        word2_(word2),
        lists_(lists),
        histogram_(scratch),
        thread_(static_cast<int>(threadIdx.x) % kWarpSize),
        share_(1 << job.share_log2),
        member_(thread_ & (share_ - 1)),
        group_(thread_ >> job.share_log2),
        claimed_(scratch + kStrikeKinds + group_ * kClaimPitch) {}

  // The tiles from first_tile on, one of each group of threads.
  __device__ void DrawTiles(int first_tile) {
    const int tile = first_tile + group_;
    tile_ = static_cast<uint32_t>(tile);
    const bool here = tile < job_.tiles;
    first_pixel_ = (tile_ << kTileLog2) / job_.channels;
    first_channel_ = (tile_ << kTileLog2) - first_pixel_ * job_.channels;
    list_ = lists_ + int64_t{tile} * job_.slots;
    written_ = 0;
    for (int i = member_; i < kClaimWords; i += share_) claimed_[i] = 0;
    SyncWarp();
    uint32_t arrivals = 0;
    for (int block = 0;; block += share_) {
      const PhiloxCounter v = Philox({{SparseWord0(tile_, static_cast<uint32_t>(block + member_)),
                                       word1_, word2_, step_.word3}},
                                     step_.key0, step_.key1);
      if (block == 0) {
        const uint32_t draw = Shuffle(v.v[0], group_ << job_.share_log2);
        arrivals = here ? ArrivalCount(step_, draw) : 0;
      }
      DrawRound(v, 4 * (block + member_) - 1, static_cast<int>(arrivals));
      const int covered = 4 * (block + share_) - 1;
      if (Ballot(covered < static_cast<int>(arrivals)) == 0) break;
    }
    if (!here) return;
    for (int i = written_ + member_; i < job_.slots; i += share_) list_[i] = kNoStrike;
  }

 private:
  // The round's blocks; `first` is the arrival of the thread's word 0, -1: none.
  __device__ void DrawRound(const PhiloxCounter& v, int first, int arrivals) {
    uint32_t live = 0, contested = 0;  // bits by word
    FTT_UNROLL
    for (int w = 0; w < 4; ++w) {
      const uint32_t position = PayloadPosition(v.v[w]);
      const bool active = first + w >= 0 && first + w < arrivals &&
                          (step_.valid_cells >> PayloadCell(step_, v.v[w]) & 1) != 0 &&
                          (tile_ << kTileLog2) + position < job_.elements;
      if (active && (claimed_[position / 32] >> (position % 32) & 1) == 0) live |= 1u << w;
    }
    SyncWarp();
    FTT_UNROLL
    for (int w = 0; w < 4; ++w) {
      if ((live >> w & 1) == 0) continue;
      const uint32_t position = PayloadPosition(v.v[w]), bit = 1u << position % 32;
      if ((AtomicOr(&claimed_[position / 32], bit) & bit) != 0) contested |= 1u << w;
    }
    Settle(v, contested, &live);
    FTT_UNROLL
    for (int w = 0; w < 4; ++w) {
      const bool wins = (live >> w & 1) != 0;
      const uint32_t votes = Ballot(wins) >> (group_ << job_.share_log2) &
                             (share_ == kWarpSize ? ~0u : (1u << share_) - 1);
      if (wins) Write(v.v[w], written_ + PopCount(votes & ((1u << member_) - 1)));
      written_ += PopCount(votes);
    }
    SyncWarp();
  }

  // Of the arrivals at an element that someone contests, only the first stays live.
  __device__ void Settle(const PhiloxCounter& v, uint32_t contested, uint32_t* live) {
    for (uint32_t left = Ballot(contested != 0); left != 0; left = Ballot(contested != 0)) {
      const int w0 = FindFirstSet(contested) - 1;
      const uint32_t word = w0 <= 1 ? (w0 == 1 ? v.v[1] : v.v[0]) : (w0 == 2 ? v.v[2] : v.v[3]);
      const uint32_t key = Shuffle(Key(word), FindFirstSet(left) - 1);
      uint32_t same = 0;
      FTT_UNROLL
      for (int w = 0; w < 4; ++w) {
        if ((*live >> w & 1) != 0 && Key(v.v[w]) == key) same |= 1u << w;
      }
      const int winner = FindFirstSet(Ballot(same != 0)) - 1;
      *live &= ~(thread_ == winner ? same & (same - 1) : same);
      contested &= ~same;
    }
  }
  __device__ uint32_t Key(uint32_t payload) const {
    return static_cast<uint32_t>(group_) << kTileLog2 | PayloadPosition(payload);
  }

  __device__ void Write(uint32_t payload, int slot) {
    const uint32_t at = first_channel_ + PayloadPosition(payload);
    // The quotient by channels, exact for so small a dividend.
    const auto high = static_cast<uint32_t>(uint64_t{at} * job_.inverse_channels >> 32);
    const uint32_t row = job_.channels == 1 ? at : high;
    const uint32_t cell = PayloadCell(step_, payload);
    const uint32_t one = PayloadType(payload) < step_.one_threshold ? 1 : 0;
    list_[slot] = StruckCode{first_pixel_ + row, at - row * job_.channels, cell, one}.Word();
    AtomicAdd(&histogram_[cell + 8 * one], 1u);
  }

  const StrikeJob& job_;
  const FaultStep& step_;
  const uint32_t word1_, word2_;
  uint32_t* const lists_;
  uint32_t* const histogram_;
  const int thread_, share_, member_, group_;
  uint32_t* const claimed_;  // of the group's tile
  uint32_t tile_ = 0, first_pixel_ = 0, first_channel_ = 0;
  uint32_t* list_ = nullptr;
  int written_ = 0;
};

// Grid: (chunks / kStrikeWarps, images, lanes). Warps have nothing to do with each other.
__global__ void __launch_bounds__(kStrikeWarps* kWarpSize)
    DrawStrikesKernel(FTT_IN_PLACE StrikeArguments a) {
  StartKernel();
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int thread = static_cast<int>(threadIdx.x) % kWarpSize;
  const int number = static_cast<int>(blockIdx.x) * kStrikeWarps + warp;
  if (number >= a.chunk_count) return;
  const JobChunk chunk = a.chunks[number];
  const StrikeJob job = a.jobs[chunk.job];
  const int lane = static_cast<int>(blockIdx.z), image = static_cast<int>(blockIdx.y);
  const LaneFaultSteps faults = job.lanes[lane];
  if (faults.count == 0) return;
  const FaultStep step = faults.steps[0];
  uint32_t* scratch = reinterpret_cast<uint32_t*>(SharedMemory()) + warp * kStrikeWarpWords;
  if (thread < kStrikeKinds) scratch[thread] = 0;
  const int64_t map_words = int64_t{job.tiles} * job.slots;
  StrikeDraw draw(job, step, FaultWord1(step, a.image_ids[image], faults.moment.training),
                  faults.moment.trial,
                  a.words + int64_t{a.lanes} * a.images * job.words_before +
                      (int64_t{lane} * a.images + image) * map_words,
                  scratch);
  const int tiles = kWarpSize >> job.share_log2;
  const int end =
      chunk.first + job.chunk_tiles < job.tiles ? chunk.first + job.chunk_tiles : job.tiles;
  for (int tile = chunk.first; tile < end; tile += tiles) draw.DrawTiles(tile);
  SyncWarp();
  if (faults.hits == nullptr || thread >= kStrikeKinds || scratch[thread] == 0) return;
  AtomicAdd(&faults.hits[step.term].kind[thread], uint64_t{scratch[thread]});
}

}  // namespace ftt::cuda
