// What kernels share whose block computes a band of output rows of one image, all channels, four
// channels a thread: its place, and where its accumulators go.
#pragma once

#include "kernels/cuda/moments.cuh"
#include "kernels/cuda/stage.cuh"

namespace ftt::cuda {

inline constexpr int kBandRows = 8;

// Grid: (bands, images, lanes). A thread keeps its word of four channels; `slot` numbers the
// threads of one word, threads beyond the last whole slot have nothing to compute. A pass covers
// the words from first_word on, as many as there are threads.
struct Band {
  int lane, image, first_row, rows;  // output rows
  int words, slots, word, slot;      // words: of this pass

  __device__ Band(const MapShape& s, int threads, int band_rows = kBandRows, int first_word = 0)
      : lane(static_cast<int>(blockIdx.z)),
        image(static_cast<int>(blockIdx.y)),
        first_row(static_cast<int>(blockIdx.x) * band_rows),
        words(s.Stride() / 4 - first_word) {
    const int left = s.h - first_row;
    rows = left < band_rows ? left : band_rows;
    words = words < threads ? words : threads;
    slots = threads / words;
    word = first_word + static_cast<int>(threadIdx.x) % words;
    slot = static_cast<int>(threadIdx.x) / words;
  }
  __device__ bool Works() const { return slot < slots; }
  __device__ int FirstPixel(const MapShape& s) const {
    return image * s.MapPixels() + first_row * s.w;
  }
  __device__ CodeTile Tile(const MapShape& s) const {
    return {nullptr,       nullptr,    s.Stride(), FirstPixel(s), rows * s.w,
            s.MapPixels(), s.channels, 0,          s.Stride()};
  }
};

FTT_HD inline StageLayout LayoutOfBand(const MapShape& s, bool collects, int threads) {
  return LayoutOfStage(kBandRows * s.w, s.Stride(), false, collects, threads);
}

// The affine map of a thread's four channels and the codes that it gives.
struct WordNorm {
  float scale[4] = {}, shift[4] = {};

  __device__ __forceinline__ void Load(const WindowOutput& out, const MapShape& s, int lane,
                                       int word) {
    const int64_t norm = (out.one_norm ? 0 : int64_t{lane} * s.Stride()) + 4 * word;
    FTT_UNROLL
    for (int c = 0; c < 4; ++c) {
      scale[c] = out.scale[norm + c];
      shift[c] = out.shift[norm + c];
    }
  }
  // Four codes; pad channels are 0. Bit c of `saturated` is set where channel c did.
  __device__ __forceinline__ uint32_t Codes(const float (&v)[4], int word, int channels, int bits,
                                            uint32_t* saturated) const {
    uint32_t codes = 0;
    *saturated = 0;
    FTT_UNROLL
    for (int c = 0; c < 4; ++c) {
      if (4 * word + c >= channels) continue;
      bool inside;
      const int code = ToCode(rintf(fmaf(v[c], scale[c], shift[c])), bits, &inside);
      codes |= (static_cast<uint32_t>(code) & 0xFF) << 8 * c;
      *saturated |= (inside ? 0u : 1u) << c;
    }
    return codes;
  }
};

// Takes a thread's accumulators: raw values and statistics, or codes.
class BandOutput {
 public:
  __device__ BandOutput(const WindowOutput& out, const MapShape& s, const Band& band)
      : out_(out),
        shape_(s),
        band_(band),
        stage_(SharedMemory(), LayoutOfBand(s, out.faults.collects, static_cast<int>(blockDim.x)),
               out.faults, band.lane, band.Tile(s),
               out.codes == nullptr ? nullptr : out.codes + band.lane * s.LaneElements(), nullptr),
        factor_(PowerOfTwo(-out.raw_shift)),
        first_(band.lane * s.LaneElements() + int64_t{band.FirstPixel(s)} * s.Stride() +
               4 * band.word) {
    if (out.codes != nullptr && band.Works()) norm_.Load(out, s, band.lane, band.word);
  }

  // The four channels of pixel `pixel` of the band.
  __device__ __forceinline__ void Put(int pixel, const int32_t (&acc)[4]) {
    if (out_.codes != nullptr) {
      float v[4];
      FTT_UNROLL
      for (int c = 0; c < 4; ++c) v[c] = static_cast<float>(acc[c]);
      uint32_t saturated;
      stage_.PutWord(pixel, band_.word,
                     norm_.Codes(v, band_.word, shape_.channels, out_.bits, &saturated));
      return;
    }
    if (out_.raw != nullptr) PutRaw(first_ + int64_t{pixel} * shape_.Stride(), acc);
    FTT_UNROLL
    for (int c = 0; c < 4; ++c) AddValue(moments_[c], acc[c]);
  }

  // All threads, after the last Put.
  __device__ void Finish() {
    if (out_.codes != nullptr) {
      stage_.Finish();
    } else if (out_.moments != nullptr) {
      AddMoments();
    }
  }

 private:
  __device__ __forceinline__ void PutRaw(int64_t at, const int32_t (&acc)[4]) const {
    if (out_.raw_type == RawType::kInt32) {
      *reinterpret_cast<int4*>(static_cast<int32_t*>(out_.raw) + at) =
          make_int4(acc[0], acc[1], acc[2], acc[3]);
      return;
    }
    Half half[4];
    FTT_UNROLL
    for (int c = 0; c < 4; ++c) half[c] = FloatToHalf(static_cast<float>(acc[c]) * factor_);
    uint2 packed;
    memcpy(&packed, half, sizeof packed);
    *reinterpret_cast<uint2*>(static_cast<Half*>(out_.raw) + at) = packed;
  }
  __device__ void AddMoments() {
    auto* shared = reinterpret_cast<ChannelMoments*>(SharedMemory());
    const int thread = static_cast<int>(threadIdx.x), width = 4 * band_.words;
    if (band_.Works()) {
      FTT_UNROLL
      for (int c = 0; c < 4; ++c) shared[4 * thread + c] = moments_[c];
    }
    SyncThreads();
    const unsigned block = blockIdx.y * gridDim.x + blockIdx.x;
    for (int c = thread; c < width; c += static_cast<int>(blockDim.x)) {
      ChannelMoments m = shared[c];
      for (int slot = 1; slot < band_.slots; ++slot) MergeMoments(m, shared[slot * width + c]);
      AddToLane(out_.moments, band_.lane, block, shape_.Stride(), c, m);
    }
  }

  const WindowOutput& out_;
  const MapShape& shape_;
  const Band& band_;
  Stage stage_;
  float factor_;
  int64_t first_;
  WordNorm norm_;
  ChannelMoments moments_[4];
};

// Launch parameters of such a kernel.
struct BandGrid {
  GridSize grid;
  int threads;
  size_t shared_bytes;
};
inline BandGrid PlanBand(const MapShape& s, const WindowOutput& out) {
  const int threads = s.Stride() <= 512 ? 128 : 256;
  size_t shared = 0;
  if (out.codes != nullptr && out.faults.lanes != nullptr) {
    shared = static_cast<size_t>(LayoutOfBand(s, out.faults.collects, threads).Bytes());
  } else if (out.codes == nullptr && out.moments != nullptr) {
    shared = 4 * static_cast<size_t>(threads) * sizeof(ChannelMoments);
  }
  return {{static_cast<unsigned>(DivideUp(s.h, kBandRows)), static_cast<unsigned>(s.images),
           static_cast<unsigned>(s.lanes)},
          threads,
          shared};
}

}  // namespace ftt::cuda
