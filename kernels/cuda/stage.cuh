// The last part of every kernel that writes codes. Faults that were drawn ahead strike them where
// they are; for others they are staged in shared memory, struck and written out in whole 16-byte
// vectors.
#pragma once

#include "kernels/cuda/apply_strikes.cuh"
#include "kernels/cuda/faults.cuh"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

// Shared memory of a stage: codes, mask bits, fault scratch. Sizes in bytes, each a multiple of 16.
struct StageLayout {
  int codes = 0, mask = 0, scratch = 0;
  FTT_HD int Bytes() const { return codes + mask + scratch; }
};
FTT_HD inline StageLayout LayoutOfStage(int pixels, int stride, bool masked, bool collects,
                                        int threads) {
  return {pixels * stride, masked ? RoundUp(pixels * stride / 8, 16) : 0,
          FaultScratchBytes(collects, threads)};
}

// y rounded to nearest, ties to even, as a code; `inside` is false where it saturated. NaN becomes
// the smallest code. Whatever is far outside is brought near, then an addition rounds: it leaves no
// bits below the unit. Conversions would have a sixteenth of its rate.
__device__ __forceinline__ int ToCode(float y, int bits, bool* inside) {
  const float sum = fminf(fmaxf(y, -1024.0f), 1024.0f) + 12582912.0f;  // 1.5 * 2^23
  int word;
  memcpy(&word, &sum, sizeof word);
  const int rounded = word - 0x4B400000, low = CodeMin(bits), high = CodeMax(bits);
  const int code = rounded < low ? low : (rounded > high ? high : rounded);
  *inside = code == rounded;
  return code;
}

// The low bytes of four codes, the first one lowest.
__device__ __forceinline__ uint32_t PackCodes(const int* codes) {
  const auto word = [&](int i) { return static_cast<uint32_t>(codes[i]); };
  return BytePermute(BytePermute(word(0), word(1), 0x0040), BytePermute(word(2), word(3), 0x0040),
                     0x5410);
}

// Eight codes and their mask bits.
struct CodePack {
  uint32_t low = 0, high = 0, mask = 0;
  __device__ __forceinline__ void Set(int i, int code, bool inside) {
    (i < 4 ? low : high) |= (static_cast<uint32_t>(code) & 0xFF) << (i % 4 * 8);
    mask |= (inside ? 1u : 0u) << i;
  }
  // Those of eight values.
  __device__ __forceinline__ void Quantize(const float (&y)[8], int bits) {
    int codes[8];
    FTT_UNROLL
    for (int i = 0; i < 8; ++i) {
      bool inside;
      codes[i] = ToCode(y[i], bits, &inside);
      mask |= inside ? 1u << i : 0u;
    }
    low = PackCodes(codes);
    high = PackCodes(codes + 4);
  }
};

// Eight channels of an affine map from `norm` on; channels beyond `channels` give 0.
struct PackNorm {
  float scale[8] = {}, shift[8] = {};
  __device__ __forceinline__ void Load(const float* scales, const float* shifts, int64_t norm,
                                       int channels, float unit) {
    FTT_UNROLL
    for (int i = 0; i < 8; ++i) {
      scale[i] = i < channels ? scales[norm + i] * unit : 0.0f;
      shift[i] = i < channels ? shifts[norm + i] : 0.0f;
    }
  }
  __device__ __forceinline__ CodePack Codes(float (&v)[8], int bits) const {
    FTT_UNROLL
    for (int i = 0; i < 8; ++i) v[i] = fmaf(v[i], scale[i], shift[i]);
    CodePack pack;
    pack.Quantize(v, bits);
    return pack;
  }
};

// Where a block's codes go: through shared memory where it draws their faults, else straight out.
class Stage {
 public:
  // tile: without codes and pass. codes, mask: the lane's; mask may be null. All threads. `shared`
  // is used only if faults.Staged().
  __device__ Stage(uint8_t* shared, const StageLayout& layout, const SiteFaultsView& faults,
                   int lane, const CodeTile& tile, int8_t* codes, uint8_t* mask)
      : faults_(faults), tile_(tile), codes_(codes), mask_(mask), lane_(lane) {
    listed_ = faults.list.Strikes(lane);
    staged_ = faults.Staged() && faults.lanes[lane].count > 0;
    tile_.codes = reinterpret_cast<int8_t*>(shared);
    tile_.pass = mask == nullptr ? nullptr : reinterpret_cast<uint32_t*>(shared + layout.codes);
    scratch_ = reinterpret_cast<uint32_t*>(shared + layout.codes + layout.mask);
    if (staged_) ClearFaultScratch(scratch_, faults.collects);
  }

  // Eight codes of channels [8 * group, 8 * group + 8) at pixel `pixel` of the tile.
  __device__ __forceinline__ void Put(int pixel, int group, const CodePack& pack) {
    const int staged = pixel * tile_.stride + 8 * group;
    const int64_t out = Out(pixel) + 8 * group;
    int8_t* to = staged_ ? tile_.codes + staged : codes_ + out;
    *reinterpret_cast<uint2*>(to) = make_uint2(pack.low, pack.high);
    if (mask_ == nullptr) return;
    uint8_t* bits = staged_ ? reinterpret_cast<uint8_t*>(tile_.pass) + staged / 8 : mask_ + out / 8;
    *bits = static_cast<uint8_t>(pack.mask);
  }

  // Four codes of channels [4 * word, 4 * word + 4); for outputs without a mask.
  __device__ __forceinline__ void PutWord(int pixel, int word, uint32_t codes) {
    int8_t* to = staged_ ? tile_.codes + pixel * tile_.stride : codes_ + Out(pixel);
    *reinterpret_cast<uint32_t*>(to + 4 * word) = codes;
  }

  // Faults, then everything out. All threads.
  __device__ void Finish() {
    if (listed_) return FinishListed();
    if (!staged_) return;
    SyncThreads();
    // A copy: an object whose address a call is given lies in memory as a whole, and everything
    // that it is part of.
    const CodeTile tile = tile_;
    InjectTile(faults_.lanes[lane_], faults_.image_ids, tile, scratch_, faults_.collects);
    const int vectors = tile_.stride / 16, n = tile_.count * vectors;
    for (int i = static_cast<int>(threadIdx.x); i < n; i += static_cast<int>(blockDim.x)) {
      const int pixel = i / vectors, vector = i - pixel * vectors;
      const int64_t out = Out(pixel) + 16 * vector;
      *reinterpret_cast<uint4*>(codes_ + out) =
          *reinterpret_cast<const uint4*>(tile_.codes + 16 * i);
      if (mask_ != nullptr) {
        *reinterpret_cast<uint16_t*>(mask_ + out / 8) =
            *(reinterpret_cast<const uint16_t*>(tile_.pass) + i);
      }
    }
  }

 private:
  __device__ __forceinline__ void FinishListed() const {
    SyncThreads();
    auto* mask = mask_ == nullptr ? nullptr : reinterpret_cast<uint16_t*>(mask_) + Out(0) / 16;
    ApplyStrikes(faults_.list, lane_,
                 {codes_ + Out(0), mask, PaddedChannels(tile_.channels), tile_.first, tile_.count,
                  tile_.map_pixels, tile_.channels, tile_.channel, tile_.width});
  }
  __device__ int64_t Out(int pixel) const {
    return int64_t{tile_.first + pixel} * PaddedChannels(tile_.channels) + tile_.channel;
  }

  const SiteFaultsView& faults_;
  CodeTile tile_;
  int8_t* codes_;
  uint8_t* mask_;
  int lane_;
  uint32_t* scratch_;
  bool listed_, staged_;
};

}  // namespace ftt::cuda
