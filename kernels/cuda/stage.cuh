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

// Values rounded to nearest, ties to even, as codes in the lowest bytes of words. An addition
// rounds: it leaves no bits below the unit; conversions would have a sixteenth of its rate. Values
// that saturate are rare, for exponents follow from the largest one: whether any of several does is
// found out first, by one bit test for all.
struct CodeRounding {
  static constexpr float kRounds = 12582912.0f;  // 1.5 * 2^23
  static constexpr uint32_t kRoundsBits = 0x4B400000;
  int bits;

  // The word of a value that does not saturate.
  __device__ __forceinline__ uint32_t Sum(float y) const { return FloatToBits(y + kRounds); }
  // How far it lies above the smallest code. Codes saturate, or are NaN, if this or the bits of
  // several of these together are Beyond.
  __device__ __forceinline__ uint32_t Above(uint32_t sum) const {
    return sum - Word(CodeMin(bits));
  }
  __device__ __forceinline__ bool Beyond(uint32_t above) const { return above >> bits != 0; }
  // The word of any value; NaN becomes the smallest code.
  __device__ __forceinline__ uint32_t Saturated(uint32_t sum) const {
    const float low = BitsToFloat(Word(CodeMin(bits))), high = BitsToFloat(Word(CodeMax(bits)));
    return FloatToBits(fminf(fmaxf(BitsToFloat(sum), low), high));
  }

 private:
  __device__ __forceinline__ static uint32_t Word(int code) {
    return kRoundsBits + static_cast<uint32_t>(code);
  }
};

// The lowest bytes of four words, the first one lowest.
__device__ __forceinline__ uint32_t LowestBytes(const uint32_t* words) {
  return BytePermute(BytePermute(words[0], words[1], 0x0040),
                     BytePermute(words[2], words[3], 0x0040), 0x5410);
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
    const CodeRounding rounding{bits};
    uint32_t words[8], any = 0;
    FTT_UNROLL
    for (int i = 0; i < 8; ++i) {
      words[i] = rounding.Sum(y[i]);
      any |= rounding.Above(words[i]);
    }
    mask = 0xFF;
    if (rounding.Beyond(any)) {
      FTT_UNROLL
      for (int i = 0; i < 8; ++i) {
        mask &= rounding.Beyond(rounding.Above(words[i])) ? ~(1u << i) : ~0u;
        words[i] = rounding.Saturated(words[i]);
      }
    }
    low = LowestBytes(words);
    high = LowestBytes(words + 4);
  }
};

// Eight channels of an affine map. Of pads it is 0.
struct PackNorm {
  float scale[8], shift[8];
  // From `norm` on, a multiple of 8.
  __device__ __forceinline__ void Load(const float* scales, const float* shifts, int64_t norm) {
    const auto* scale_quads = reinterpret_cast<const float4*>(scales + norm);
    const auto* shift_quads = reinterpret_cast<const float4*>(shifts + norm);
    const float4 s[2] = {scale_quads[0], scale_quads[1]};
    const float4 t[2] = {shift_quads[0], shift_quads[1]};
    memcpy(scale, s, sizeof scale);
    memcpy(shift, t, sizeof shift);
  }
  // For values in units of `unit`, a power of two.
  __device__ __forceinline__ void TakeUnits(float unit) {
    FTT_UNROLL
    for (float& s : scale) s *= unit;
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
      : faults_(faults), tile_(tile), lane_(lane) {
    const int padded = PaddedChannels(tile.channels);
    const int64_t first = int64_t{tile.first} * padded + tile.channel;
    codes_ = codes + first;
    mask_ = mask == nullptr ? nullptr : mask + first / 8;
    listed_ = faults.list.Strikes(lane);
    staged_ = faults.Staged() && faults.lanes[lane].count > 0;
    tile_.codes = reinterpret_cast<int8_t*>(shared);
    tile_.pass = mask == nullptr ? nullptr : reinterpret_cast<uint32_t*>(shared + layout.codes);
    scratch_ = reinterpret_cast<uint32_t*>(shared + layout.codes + layout.mask);
    if (staged_) ClearFaultScratch(scratch_, faults.collects);
    row_ = staged_ ? tile.stride : padded;
    to_ = staged_ ? tile_.codes : codes_;
    bits_ = staged_ ? reinterpret_cast<uint8_t*>(tile_.pass) : mask_;
  }

  // Lists of faults on their way while the codes are computed; Finish takes them.
  __device__ __forceinline__ StrikeWords Strikes() const {
    StrikeWords none;
    FTT_UNROLL
    for (uint32_t& word : none.word) word = kNoStrike;
    return listed_ ? FirstStrikes(faults_.list, lane_, Struck()) : none;
  }

  // Eight codes of channels [8 * group, 8 * group + 8) at pixel `pixel` of the tile.
  __device__ __forceinline__ void Put(int pixel, int group, const CodePack& pack) {
    PutAt(pixel * row_ + 8 * group, pack);
  }
  // The same by the element of the tile, where it has all channels of its pixels.
  __device__ __forceinline__ void PutAt(int at, const CodePack& pack) {
    *reinterpret_cast<uint2*>(to_ + at) = make_uint2(pack.low, pack.high);
    if (mask_ != nullptr) bits_[at >> 3] = static_cast<uint8_t>(pack.mask);
  }

  // Four codes of channels [4 * word, 4 * word + 4) of pixels that lie one behind the other; for
  // outputs without a mask.
  template <int kPixels>
  __device__ __forceinline__ void PutWords(int pixel, int word, const uint32_t (&codes)[kPixels]) {
    int8_t* at = to_ + (pixel * row_ + 4 * word);
    FTT_UNROLL
    for (int i = 0; i < kPixels; ++i, at += row_) *reinterpret_cast<uint32_t*>(at) = codes[i];
  }

  // Faults, then everything out. All threads.
  __device__ __forceinline__ void Finish() { Finish(Strikes()); }
  __device__ void Finish(const StrikeWords& strikes) {
    if (listed_) {
      SyncThreads();
      return ApplyStrikes(faults_.list, lane_, Struck(), strikes);
    }
    if (!staged_) return;
    SyncThreads();
    // A copy: an object whose address a call is given lies in memory as a whole, and everything
    // that it is part of.
    const CodeTile tile = tile_;
    InjectTile<FaultUse::kFeatures>(faults_.lanes[lane_], faults_.image_ids, tile, scratch_,
                                    faults_.collects);
    const int vectors = tile_.stride / 16, n = tile_.count * vectors;
    const int padded = PaddedChannels(tile_.channels);
    for (int i = static_cast<int>(threadIdx.x); i < n; i += static_cast<int>(blockDim.x)) {
      const int pixel = i / vectors, at = pixel * padded + 16 * (i - pixel * vectors);
      *reinterpret_cast<uint4*>(codes_ + at) =
          *reinterpret_cast<const uint4*>(tile_.codes + 16 * i);
      if (mask_ != nullptr) {
        *reinterpret_cast<uint16_t*>(mask_ + at / 8) =
            *(reinterpret_cast<const uint16_t*>(tile_.pass) + i);
      }
    }
  }

 private:
  __device__ __forceinline__ StruckTile Struck() const {
    return {codes_,
            reinterpret_cast<uint16_t*>(mask_),
            PaddedChannels(tile_.channels),
            tile_.first,
            tile_.count,
            tile_.map_pixels,
            tile_.image,
            tile_.channels,
            tile_.channel,
            tile_.width};
  }

  const SiteFaultsView& faults_;
  CodeTile tile_;
  int8_t* codes_;  // the tile's first one
  uint8_t* mask_;  // its bit
  int8_t* to_;     // where codes are put
  uint8_t* bits_;  // and their bits
  int row_;        // from pixel to pixel there
  int lane_;
  uint32_t* scratch_;
  bool listed_, staged_;
};

}  // namespace ftt::cuda
