#include "data/augment.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "core/error.h"
#include "core/philox.h"

namespace ftt {
namespace {

constexpr int kMaxPixels = 255;

void Mirror(uint8_t* row, int width, int channels) {
  for (int left = 0, right = width - 1; left < right; ++left, --right) {
    std::swap_ranges(row + left * channels, row + (left + 1) * channels, row + right * channels);
  }
}

void Cutout(const ImageSet& images, const AugmentOptions& o, const ImageMoves& moves,
            uint8_t* out) {
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

// Row y of the padded image, columns [dx, dx + width).
void CropRow(const ImageSet& images, const uint8_t* in, bool reflect, int y, int dx, uint8_t* out) {
  const int width = images.width, channels = images.channels;
  const bool outside = y < 0 || y >= images.height;
  const int first = std::clamp(-dx, 0, width);  // columns [first, last) exist in the image
  const int last = std::clamp(width - dx, first, width);
  if (!reflect && (outside || first == last)) {
    std::fill_n(out, width * channels, uint8_t{0});
    return;
  }
  const uint8_t* row = in + int64_t{ReflectedPlace(y, images.height)} * width * channels;
  std::copy_n(row + (first + dx) * channels, (last - first) * channels, out + first * channels);
  for (int x = 0; x < width; ++x) {
    if (x >= first && x < last) continue;
    uint8_t* pixel = out + x * channels;
    if (reflect) {
      std::copy_n(row + ReflectedPlace(x + dx, width) * channels, channels, pixel);
    } else {
      std::fill_n(pixel, channels, uint8_t{0});
    }
  }
}

void Augment(const ImageSet& images, const uint8_t* in, const AugmentOptions& o,
             const ImageMoves& moves, uint8_t* out) {
  const int64_t row_bytes = int64_t{images.width} * images.channels;
  const bool reflect = o.crop_border == "reflect";
  for (int y = 0; y < images.height; ++y) {
    uint8_t* row = out + y * row_bytes;
    CropRow(images, in, reflect, y + moves.dy, moves.dx, row);
    if (moves.mirror != 0) Mirror(row, images.width, images.channels);
  }
  if (o.cutout > 0) Cutout(images, o, moves, out);
}

}  // namespace

void Validate(const AugmentOptions& options, int channels) {
  FTT_CHECK(options.crop_padding >= 0 && options.crop_padding <= kMaxPixels,
            "crop padding: {} is outside 0..{} pixels", options.crop_padding, kMaxPixels);
  FTT_CHECK(options.crop_border == "reflect" || options.crop_border == "black",
            "crop border '{}' is unknown; use reflect or black", options.crop_border);
  FTT_CHECK(options.cutout >= 0 && options.cutout <= kMaxPixels,
            "cutout: {} is outside 0..{} pixels", options.cutout, kMaxPixels);
  FTT_CHECK(options.cutout_fill.empty() || static_cast<int>(options.cutout_fill.size()) == channels,
            "cutout: {} fill values for {} channels", options.cutout_fill.size(), channels);
}

ImageMoves DrawMoves(const ImageSet& images, const AugmentOptions& o, uint64_t seed, uint32_t epoch,
                     uint32_t index) {
  PhiloxSequence random(seed, Stream::kAugment, epoch, index);
  // Everything is drawn always and in the same order, so that one option does not change what
  // another one does.
  const uint32_t flip = random.Next();
  const auto cut_x = random.Below(static_cast<uint32_t>(images.width));
  const auto cut_y = random.Below(static_cast<uint32_t>(images.height));
  const uint32_t places = 2 * static_cast<uint32_t>(o.crop_padding) + 1;
  const int dx = static_cast<int>(random.Below(places)) - o.crop_padding;
  const int dy = static_cast<int>(random.Below(places)) - o.crop_padding;
  return {static_cast<int16_t>(dx), static_cast<int16_t>(dy), static_cast<int16_t>(cut_x),
          static_cast<int16_t>(cut_y), static_cast<uint8_t>(o.flip && (flip >> 31) != 0 ? 1 : 0)};
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
      Augment(images, in, *options, DrawMoves(images, *options, seed, epoch, indices[i]), out);
    }
  }
}

}  // namespace ftt
