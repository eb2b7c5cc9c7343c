// What kernels share whose block computes a band of output rows of one image, all channels, four
// channels a thread: its place, and where its accumulators go.
#pragma once

#include "kernels/cuda/divider.h"
#include "kernels/cuda/moments.cuh"
#include "kernels/cuda/stage.cuh"

namespace ftt::cuda {

inline constexpr int kBandRows = 8;

inline constexpr int kBandThreads = 128;

// How maps are shared out. A thread keeps its word of four channels; a pass covers as many words of
// a pixel as there are threads.
struct BandPlan {
  int rows = kBandRows;      // of a band
  int words = 1, slots = 1;  // of a pass; threads of a word
  Divider by_words;
  Divider by_columns;  // items along a row, whatever the kernel takes as one

  BandPlan(const MapShape& s, int rows, int columns) : rows(rows), by_columns(columns) {
    words = s.Stride() / 4 < kBandThreads ? s.Stride() / 4 : kBandThreads;
    slots = kBandThreads / words;
    by_words = Divider(words);
  }
};

// Grid: (bands, images, lanes). `slot` numbers the threads of one word, threads beyond the last
// whole slot have nothing to compute. A pass covers the words from first_word on.
struct Band {
  int lane, image, first_row, rows;  // output rows
  int first_word, words;             // of this pass, the last one may have fewer
  int slots, word, slot;
  bool works;

  __device__ Band(const MapShape& s, const BandPlan& plan, int first_word)
      : lane(static_cast<int>(blockIdx.z)),
        image(static_cast<int>(blockIdx.y)),
        first_row(static_cast<int>(blockIdx.x) * plan.rows),
        first_word(first_word),
        words(plan.words),
        slots(plan.slots) {
    const int left = s.h - first_row, thread = static_cast<int>(threadIdx.x);
    rows = left < plan.rows ? left : plan.rows;
    slot = plan.by_words(thread);
    word = first_word + thread - slot * words;
    works = slot < slots && word < s.Stride() / 4;
  }
  __device__ bool Works() const { return works; }
  __device__ int FirstPixel(const MapShape& s) const {
    return image * s.MapPixels() + first_row * s.w;
  }
  __device__ CodeTile Tile(const MapShape& s) const {
    return {nullptr, nullptr,    s.Stride(), FirstPixel(s), rows * s.w, s.MapPixels(),
            image,   s.channels, 0,          s.Stride()};
  }
};

FTT_HD inline StageLayout LayoutOfBand(const MapShape& s, int rows, bool collects, int threads) {
  return LayoutOfStage(rows * s.w, s.Stride(), false, collects, threads);
}

// The affine map of a thread's four channels and the codes that it gives. Of pads both are 0.
struct WordNorm {
  float scale[4], shift[4];

  __device__ __forceinline__ void Load(const WindowOutput& out, const MapShape& s, int lane,
                                       int word) {
    const int64_t norm = (out.one_norm ? 0 : int64_t{lane} * s.Stride()) + 4 * word;
    const float4 scales = *reinterpret_cast<const float4*>(out.scale + norm);
    const float4 shifts = *reinterpret_cast<const float4*>(out.shift + norm);
    memcpy(scale, &scales, sizeof scale);
    memcpy(shift, &shifts, sizeof shift);
  }
  // Those of several pixels' accumulators, a word each.
  template <int kPixels>
  __device__ __forceinline__ void Codes(const int32_t (&acc)[kPixels][4], int bits,
                                        uint32_t (&codes)[kPixels]) const {
    const CodeRounding rounding{bits};
    uint32_t words[kPixels][4], any = 0;
    FTT_UNROLL
    for (int i = 0; i < kPixels; ++i) {
      FTT_UNROLL
      for (int c = 0; c < 4; ++c) {
        words[i][c] = rounding.Sum(fmaf(static_cast<float>(acc[i][c]), scale[c], shift[c]));
        any |= rounding.Above(words[i][c]);
      }
    }
    if (rounding.Beyond(any)) {
      FTT_UNROLL
      for (int i = 0; i < kPixels; ++i) {
        FTT_UNROLL
        for (int c = 0; c < 4; ++c) words[i][c] = rounding.Saturated(words[i][c]);
      }
    }
    FTT_UNROLL
    for (int i = 0; i < kPixels; ++i) codes[i] = LowestBytes(words[i]);
  }
  __device__ __forceinline__ uint32_t Codes(const int32_t (&acc)[4], int bits) const {
    const int32_t pixel[1][4] = {{acc[0], acc[1], acc[2], acc[3]}};
    uint32_t code[1];
    Codes(pixel, bits, code);
    return code[0];
  }
};

// Moments of a block: [channel of a word][thread, and pads that keep the four on different banks].
inline constexpr int kMomentPitch = kBandThreads + 4;

// Takes a thread's accumulators in training: raw values and statistics. For each pass Start, Put,
// End. Squares: holds a thread's sum of squares.
template <typename Squares>
class BandRawOf {
 public:
  __device__ BandRawOf(const WindowOutput& out, const MapShape& s, const Band&, int)
      : out_(out), shape_(s), words_(s.Stride() / 4), factor_(PowerOfTwo(-out.raw_shift)) {}

  __device__ __forceinline__ void Start(const Band& band) {
    FTT_UNROLL
    for (int c = 0; c < 4; ++c) moments_[c] = Moments{};
    if (out_.raw == nullptr) return;
    const int64_t first = band.lane * shape_.LaneElements() +
                          int64_t{band.FirstPixel(shape_)} * shape_.Stride() + 4 * band.word;
    raw_ = static_cast<uint8_t*>(out_.raw) + first * (out_.raw_type == RawType::kInt32 ? 4 : 2);
  }

  // The four channels of pixel `pixel` of the band.
  __device__ __forceinline__ void Put(const Band&, int pixel, const int32_t (&acc)[4]) {
    if (raw_ != nullptr) {
      out_.raw_type == RawType::kInt32 ? PutInt32(pixel, acc) : PutHalf(pixel, acc);
    }
    AddMoments(acc);
  }
  // Of pixels that lie one behind the other.
  template <int kPixels>
  __device__ __forceinline__ void Put(const Band&, int pixel, const int32_t (&acc)[kPixels][4]) {
    if (raw_ != nullptr && out_.raw_type == RawType::kInt32) {
      FTT_UNROLL
      for (int i = 0; i < kPixels; ++i) PutInt32(pixel + i, acc[i]);
    } else if (raw_ != nullptr) {
      FTT_UNROLL
      for (int i = 0; i < kPixels; ++i) PutHalf(pixel + i, acc[i]);
    }
    FTT_UNROLL
    for (int i = 0; i < kPixels; ++i) AddMoments(acc[i]);
  }

  // All threads, after the pass's last Put.
  __device__ __forceinline__ void End(const Band& band) const {
    if (out_.moments == nullptr) return;
    auto* shared = reinterpret_cast<ChannelMoments*>(SharedMemory());
    const int thread = static_cast<int>(threadIdx.x), slot_width = 4 * band.words;
    const int left = shape_.Stride() - 4 * band.first_word;
    const int width = left < slot_width ? left : slot_width;
    if (band.Works()) {
      FTT_UNROLL
      for (int c = 0; c < 4; ++c) {
        const Moments& m = moments_[c];
        shared[c * kMomentPitch + thread] = {m.sum, m.sum_squares, m.min, m.max};
      }
    }
    SyncThreads();
    const unsigned block = blockIdx.y * gridDim.x + blockIdx.x;
    for (int c = thread; c < width; c += static_cast<int>(blockDim.x)) {
      const ChannelMoments* from = shared + c % 4 * kMomentPitch + c / 4;
      ChannelMoments m = *from;
      for (int slot = 1; slot < band.slots; ++slot) MergeMoments(m, from[slot * band.words]);
      AddToLane(out_.moments, band.lane, block, shape_.Stride(), 4 * band.first_word + c, m);
    }
    SyncThreads();
  }
  __device__ __forceinline__ void Finish() const {}

 private:
  // Of a thread; an accumulator of at most 25 products has 20 bits, so a band's sum has 31.
  struct Moments {
    int32_t sum = 0;
    Squares sum_squares = 0;
    int32_t min = INT32_MAX, max = INT32_MIN;
  };

  __device__ __forceinline__ void PutInt32(int pixel, const int32_t (&acc)[4]) const {
    reinterpret_cast<int4*>(raw_)[pixel * words_] = make_int4(acc[0], acc[1], acc[2], acc[3]);
  }
  __device__ __forceinline__ void PutHalf(int pixel, const int32_t (&acc)[4]) const {
    float v[4];
    FTT_UNROLL
    for (int c = 0; c < 4; ++c) v[c] = static_cast<float>(acc[c]) * factor_;
    reinterpret_cast<uint2*>(raw_)[pixel * words_] =
        make_uint2(PackHalf(v[0], v[1]), PackHalf(v[2], v[3]));
  }
  __device__ __forceinline__ void AddMoments(const int32_t (&acc)[4]) {
    if (out_.moments == nullptr) return;
    FTT_UNROLL
    for (int c = 0; c < 4; ++c) {
      Moments& m = moments_[c];
      m.sum += acc[c];
      m.sum_squares += Squares{acc[c]} * acc[c];
      m.min = acc[c] < m.min ? acc[c] : m.min;
      m.max = acc[c] > m.max ? acc[c] : m.max;
    }
  }

  const WindowOutput& out_;
  const MapShape& shape_;
  uint8_t* raw_ = nullptr;  // where the thread's word of the band's first pixel lies
  int words_;               // of a pixel
  float factor_;
  Moments moments_[4];
};
using BandRaw = BandRawOf<int64_t>;
using BandRawCodes = BandRawOf<int32_t>;  // accumulators are codes

// Takes a thread's accumulators in deployment: codes.
class BandCodes {
 public:
  __device__ BandCodes(const WindowOutput& out, const MapShape& s, const Band& band, int band_rows)
      : out_(out),
        shape_(s),
        stage_(SharedMemory(),
               LayoutOfBand(s, band_rows, out.faults.collects, static_cast<int>(blockDim.x)),
               out.faults, band.lane, band.Tile(s), out.codes + band.lane * s.LaneElements(),
               nullptr) {}

  __device__ __forceinline__ void Start(const Band& band) {
    if (band.Works()) norm_.Load(out_, shape_, band.lane, band.word);
  }
  __device__ __forceinline__ void Put(const Band& band, int pixel, const int32_t (&acc)[4]) {
    const uint32_t codes[1] = {norm_.Codes(acc, out_.bits)};
    stage_.PutWords(pixel, band.word, codes);
  }
  template <int kPixels>
  __device__ __forceinline__ void Put(const Band& band, int pixel,
                                      const int32_t (&acc)[kPixels][4]) {
    uint32_t codes[kPixels];
    norm_.Codes(acc, out_.bits, codes);
    stage_.PutWords(pixel, band.word, codes);
  }
  __device__ __forceinline__ void End(const Band&) const {}
  // All threads, after the last pass.
  __device__ __forceinline__ void Finish() { stage_.Finish(); }

 private:
  const WindowOutput& out_;
  const MapShape& shape_;
  Stage stage_;
  WordNorm norm_;
};

// Passes over all words of a band. All threads; body(band, put) is called by those that work, put
// is Output::Put.
template <typename Output, typename Body>
__device__ __forceinline__ void ForBand(const WindowOutput& out, const MapShape& s,
                                        const BandPlan& plan, const Body& body) {
  const Band first(s, plan, 0);
  StartKernel(first.word + first.slot);
  Output output(out, s, first, plan.rows);
  for (int first_word = 0; first_word < s.Stride() / 4; first_word += plan.words) {
    const Band band(s, plan, first_word);
    output.Start(band);
    if (band.Works()) body(band, [&](int pixel, const auto& acc) { output.Put(band, pixel, acc); });
    output.End(band);
  }
  output.Finish();
}

// Launch parameters of such a kernel.
struct BandGrid {
  GridSize grid;
  BandPlan plan;
  size_t shared_bytes;
};

// How long a map takes in bands of so many rows, in tenths of what a thread needs for a strip of
// outputs: blocks that find no place wait, and threads of a block take strips in rounds.
// resident: blocks that a device holds, of an H100.
struct StripSize {
  int rows, columns;
};
inline int64_t BandCost(const MapShape& s, int rows, StripSize strip, int resident) {
  constexpr int kBlockCost = 3;  // to begin and to end
  const int words = s.Stride() / 4, passes = DivideUp(words, kBandThreads);
  const int slots = kBandThreads / (words < kBandThreads ? words : kBandThreads);
  const int items = DivideUp(rows, strip.rows) * DivideUp(s.w, strip.columns);
  const int64_t blocks = int64_t{DivideUp(s.h, rows)} * s.images * s.lanes;
  return (blocks > resident ? blocks : resident) *
         (kBlockCost + 10 * passes * DivideUp(items, slots));
}

// columns: see BandPlan.
inline BandGrid PlanBand(const MapShape& s, const WindowOutput& out, StripSize strip, int columns,
                         int resident) {
  int rows = kBandRows;
  const bool deploy = out.codes != nullptr, staged = deploy && out.faults.Staged();
  // Samplers want long runs of codes.
  for (int fewer = rows / 2; !staged && fewer >= 2; fewer /= 2) {
    if (BandCost(s, fewer, strip, resident) < BandCost(s, rows, strip, resident)) rows = fewer;
  }
  size_t shared = 0;
  if (staged) {
    shared = static_cast<size_t>(LayoutOfBand(s, rows, out.faults.collects, kBandThreads).Bytes());
  } else if (!deploy && out.moments != nullptr) {
    shared = 4 * kMomentPitch * sizeof(ChannelMoments);
  }
  return {{static_cast<unsigned>(DivideUp(s.h, rows)), static_cast<unsigned>(s.images),
           static_cast<unsigned>(s.lanes)},
          BandPlan(s, rows, columns),
          shared};
}

}  // namespace ftt::cuda
