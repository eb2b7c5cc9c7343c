#include "data/augment.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "core/error.h"
#include "core/philox.h"

namespace ftt {
namespace {

constexpr int kMaxPixels = 255;

struct Moves {
  int dx, dy;  // where the crop starts in the image, may be negative
  bool mirror;
  int cut_x, cut_y;  // centre of the cutout
};

// Always draws everything in the same order, so that one option does not change what another one
// does.
Moves Draw(const ImageSet& images, const AugmentOptions& o, uint64_t seed, uint32_t epoch,
           uint32_t index) {
  PhiloxSequence random(seed, Stream::kAugment, epoch, index);
  const uint32_t flip = random.Next();
  const int cut_x = static_cast<int>(random.Below(static_cast<uint32_t>(images.width)));
  const int cut_y = static_cast<int>(random.Below(static_cast<uint32_t>(images.height)));
  const uint32_t places = 2 * static_cast<uint32_t>(o.crop_padding) + 1;
  const int dx = static_cast<int>(random.Below(places)) - o.crop_padding;
  const int dy = static_cast<int>(random.Below(places)) - o.crop_padding;
  return {dx, dy, o.flip && (flip >> 31) != 0, cut_x, cut_y};
}

void Mirror(uint8_t* row, int width, int channels) {
  for (int left = 0, right = width - 1; left < right; ++left, --right) {
    std::swap_ranges(row + left * channels, row + (left + 1) * channels, row + right * channels);
  }
}

void Cutout(const ImageSet& images, const AugmentOptions& o, const Moves& moves, uint8_t* out) {
  const int x0 = std::max(0, moves.cut_x - o.cutout / 2);
  const int y0 = std::max(0, moves.cut_y - o.cutout / 2);
  const int x1 = std::min(images.width, moves.cut_x - o.cutout / 2 + o.cutout);
  const int y1 = std::min(images.height, moves.cut_y - o.cutout / 2 + o.cutout);
  for (int y = y0; y < y1; ++y) {
    uint8_t* pixel = out + (int64_t{y} * images.width + x0) * images.channels;
    for (int x = x0; x < x1; ++x, pixel += images.channels) {
      for (int c = 0; c < images.channels; ++c) {
        pixel[c] = o.cutout_fill.empty() ? 0 : o.cutout_fill[static_cast<size_t>(c)];
      }
    }
  }
}

void Augment(const ImageSet& images, const uint8_t* in, const AugmentOptions& o, const Moves& moves,
             uint8_t* out) {
  const int64_t row_bytes = int64_t{images.width} * images.channels;
  const int first =
      std::clamp(-moves.dx, 0, images.width);  // columns [first, last) exist in the image
  const int last = std::clamp(images.width - moves.dx, 0, images.width);
  const size_t copied = static_cast<size_t>(std::max(0, last - first) * images.channels);
  for (int y = 0; y < images.height; ++y) {
    uint8_t* row = out + y * row_bytes;
    const int source = y + moves.dy;
    if (source < 0 || source >= images.height || copied == 0) {
      std::memset(row, 0, static_cast<size_t>(row_bytes));
      continue;
    }
    if (moves.dx != 0) std::memset(row, 0, static_cast<size_t>(row_bytes));
    std::memcpy(row + first * images.channels,
                in + source * row_bytes + (first + moves.dx) * images.channels, copied);
    if (moves.mirror) Mirror(row, images.width, images.channels);
  }
  if (o.cutout > 0) Cutout(images, o, moves, out);
}

}  // namespace

void Validate(const AugmentOptions& options, int channels) {
  FTT_CHECK(options.crop_padding >= 0 && options.crop_padding <= kMaxPixels,
            "crop padding: {} is outside 0..{} pixels", options.crop_padding, kMaxPixels);
  FTT_CHECK(options.cutout >= 0 && options.cutout <= kMaxPixels,
            "cutout: {} is outside 0..{} pixels", options.cutout, kMaxPixels);
  FTT_CHECK(options.cutout_fill.empty() || static_cast<int>(options.cutout_fill.size()) == channels,
            "cutout: {} fill values for {} channels", options.cutout_fill.size(), channels);
}

void MakeBatch(const ImageSet& images, const uint32_t* indices, int count,
               const AugmentOptions* options, uint64_t seed, uint32_t epoch, uint8_t* out) {
  if (options != nullptr) Validate(*options, images.channels);
  const int64_t bytes = images.ImageBytes();
  for (int i = 0; i < count; ++i, out += bytes) {
    assert(indices[i] < images.Size());
    const uint8_t* in = images.Image(indices[i]);
    if (options == nullptr) {
      std::memcpy(out, in, static_cast<size_t>(bytes));
    } else {
      Augment(images, in, *options, Draw(images, *options, seed, epoch, indices[i]), out);
    }
  }
}

}  // namespace ftt
