#include "data/shapes.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "core/philox.h"

namespace ftt {
namespace {

using Colour = std::array<int, 3>;

enum Figure {
  kDisc,
  kRing,
  kSquare,
  kFrame,
  kTriangle,
  kCross,
  kStar,
  kStripes,
  kChecker,
  kCrescent
};

// sin(i * 90/16 degrees) * 2^14, rounded. A table, because libraries differ in the last bit of
// sin().
constexpr int kSine[17] = {0,     1606,  3196,  4756,  6270,  7723,  9102,  10394, 11585,
                           12665, 13623, 14449, 15137, 15679, 16069, 16305, 16384};

// i in 64ths of a turn.
int Sine(uint32_t i) {
  i &= 63;
  const int sign = i < 32 ? 1 : -1;
  i &= 31;
  return sign * kSine[i <= 16 ? i : 32 - i];
}
int Cosine(uint32_t i) { return Sine(i + 16); }

class Painter {
 public:
  Painter(uint64_t seed, uint32_t index, uint8_t* out)
      : plan_(seed, Stream::kShapes, index, 0),
        noise_(seed, Stream::kShapes, index, 1),
        out_(out) {}

  void Paint(int figure);

 private:
  // Uniform on low..high.
  int Draw(int low, int high) {
    return low + static_cast<int>(plan_.Below(static_cast<uint32_t>(high - low + 1)));
  }
  Colour DrawColour() { return {Draw(0, 255), Draw(0, 255), Draw(0, 255)}; }
  Colour DrawColourAwayFrom(const Colour& other, int distance);
  Colour DrawBrighter(const Colour& other, int distance);
  void PaintBackground(const Colour& base);
  void PaintBlob(const Colour& colour, int max_half);
  void PaintFigure(int figure, const Colour& colour, const Colour& second);
  void AddNoise(int amplitude);
  void Blend(int x, int y, const Colour& colour, int quarters);

  PhiloxSequence plan_, noise_;
  uint8_t* out_;
};

int Distance(const Colour& a, const Colour& b) {
  return std::abs(a[0] - b[0]) + std::abs(a[1] - b[1]) + std::abs(a[2] - b[2]);
}

uint8_t Clip(int value) { return static_cast<uint8_t>(std::clamp(value, 0, 255)); }

// Ends for every `other` as long as distance <= 382: one corner of the colour cube is that far
// away.
Colour Painter::DrawColourAwayFrom(const Colour& other, int distance) {
  Colour colour = DrawColour();
  while (Distance(colour, other) < distance) colour = DrawColour();
  return colour;
}

// Ends for every `other` whose channels sum to at most 765 - distance.
Colour Painter::DrawBrighter(const Colour& other, int distance) {
  const int least = other[0] + other[1] + other[2] + distance;
  Colour colour = DrawColour();
  while (colour[0] + colour[1] + colour[2] < least) colour = DrawColour();
  return colour;
}

void Painter::Blend(int x, int y, const Colour& colour, int quarters) {
  uint8_t* pixel = out_ + 3 * (y * kShapeSide + x);
  for (size_t c = 0; c < 3; ++c) {
    pixel[c] = static_cast<uint8_t>((pixel[c] * (4 - quarters) + colour[c] * quarters + 2) / 4);
  }
}

// A colour gradient with smooth value noise: random offsets on a 5x5 grid, linear in between.
void Painter::PaintBackground(const Colour& base) {
  constexpr int kCell = 8;
  constexpr int kNodes = kShapeSide / kCell + 1;
  std::array<std::array<Colour, kNodes>, kNodes> nodes;
  const Colour slope_x{Draw(-8, 8), Draw(-8, 8), Draw(-8, 8)};
  const Colour slope_y{Draw(-8, 8), Draw(-8, 8), Draw(-8, 8)};
  for (int j = 0; j < kNodes; ++j) {
    for (int i = 0; i < kNodes; ++i) {
      const int shade = Draw(-24, 24);
      for (size_t c = 0; c < 3; ++c) {
        nodes[static_cast<size_t>(j)][static_cast<size_t>(i)][c] =
            base[c] + shade + Draw(-8, 8) + slope_x[c] * (i - 2) + slope_y[c] * (j - 2);
      }
    }
  }
  uint8_t* pixel = out_;
  for (int y = 0; y < kShapeSide; ++y) {
    const auto row = static_cast<size_t>(y / kCell);
    const auto& above = nodes[row];
    const auto& below = nodes[row + 1];
    const int fy = y % kCell;
    for (int x = 0; x < kShapeSide; ++x, pixel += 3) {
      const size_t i = static_cast<size_t>(x / kCell);
      const int fx = x % kCell;
      for (size_t c = 0; c < 3; ++c) {
        const int top = above[i][c] * (kCell - fx) + above[i + 1][c] * fx;
        const int bottom = below[i][c] * (kCell - fx) + below[i + 1][c] * fx;
        pixel[c] = Clip((top * (kCell - fy) + bottom * fy) >> 6);
      }
    }
  }
}

// A small bar that belongs to no figure.
void Painter::PaintBlob(const Colour& colour, int max_half) {
  const int half_x = Draw(0, max_half), half_y = Draw(0, max_half);
  const int cx = Draw(0, kShapeSide - 1), cy = Draw(0, kShapeSide - 1);
  for (int y = std::max(0, cy - half_y); y <= std::min(kShapeSide - 1, cy + half_y); ++y) {
    for (int x = std::max(0, cx - half_x); x <= std::min(kShapeSide - 1, cx + half_x); ++x) {
      Blend(x, y, colour, 3);
    }
  }
}

// Where the point lies in a figure of radius 1024 around the origin: 0 outside, 1 figure, 2 second
// colour.
int Locate(int figure, int u, int v) {
  const int au = std::abs(u), av = std::abs(v), square = u * u + v * v;
  switch (figure) {
    case kDisc:
      return square <= 900 * 900;
    case kRing:
      return square <= 940 * 940 && square >= 560 * 560;
    case kSquare:
      return std::max(au, av) <= 760;
    case kFrame:
      return std::max(au, av) <= 800 && std::max(au, av) >= 450;
    case kTriangle:  // equilateral, tip at (0, 1024); 1774/1024 = sqrt(3)
      return v >= -512 && 1774 * au + 1024 * v <= 1024 * 1024;
    case kCross:
      return std::max(au, av) <= 960 && std::min(au, av) <= 280;
    case kStar: {
      // Five-pointed: the lines through every second tip; a point of the star is beyond one of them
      // at most.
      constexpr int kNormals[5][2] = {
          {0, 1024}, {974, 316}, {602, -828}, {-602, -828}, {-974, 316}};
      int beyond = 0;
      for (const auto& n : kNormals) beyond += n[0] * u + n[1] * v > 352 * 1024;
      return beyond <= 1;
    }
    case kStripes:
      return square > 960 * 960 ? 0 : 1 + ((v + 2048) / 330) % 2;
    case kChecker:
      return square > 960 * 960 ? 0 : 1 + ((v + 2048) / 420 + (u + 2048) / 420) % 2;
    case kCrescent: {
      const int shifted = u - 430;
      return square <= 960 * 960 && shifted * shifted + v * v >= 740 * 740;
    }
  }
  return 0;
}

// Positions are in quarter pixels; each pixel is the mean of 2x2 samples.
void Painter::PaintFigure(int figure, const Colour& colour, const Colour& second) {
  const int radius = Draw(36, 56);
  const int margin = radius * 7 / 8;
  const int cx = Draw(margin, 4 * kShapeSide - margin), cy = Draw(margin, 4 * kShapeSide - margin);
  // At most 28 degrees off upright, so that stripes remain horizontal rather than vertical.
  const uint32_t turn = static_cast<uint32_t>(Draw(-5, 5));
  const int cosine = Cosine(turn) * 64 / radius, sine = Sine(turn) * 64 / radius;
  const int x0 = std::max(0, (cx - radius) / 4 - 1),
            x1 = std::min(kShapeSide - 1, (cx + radius) / 4 + 1);
  const int y0 = std::max(0, (cy - radius) / 4 - 1),
            y1 = std::min(kShapeSide - 1, (cy + radius) / 4 + 1);
  for (int y = y0; y <= y1; ++y) {
    for (int x = x0; x <= x1; ++x) {
      int hits[3] = {0, 0, 0};
      for (int sample = 0; sample < 4; ++sample) {
        const int dx = 4 * x + 1 + 2 * (sample & 1) - cx, dy = cy - (4 * y + 1 + (sample & 2));
        // Within about 1.5 radii of the centre, so the squares in Locate fit 32 bits.
        const int u = (dx * cosine + dy * sine) >> 10, v = (dy * cosine - dx * sine) >> 10;
        ++hits[Locate(figure, u, v)];
      }
      if (hits[1] + hits[2] == 0) continue;
      Colour mixed;
      for (size_t c = 0; c < 3; ++c) {
        mixed[c] = (colour[c] * hits[1] + second[c] * hits[2]) / (hits[1] + hits[2]);
      }
      Blend(x, y, mixed, hits[1] + hits[2]);
    }
  }
}

void Painter::AddNoise(int amplitude) {
  const int range = 2 * amplitude + 1;
  for (int i = 0; i < 3 * kShapeSide * kShapeSide; i += 4) {
    uint32_t bits = noise_.Next();
    for (int k = 0; k < 4; ++k, bits >>= 8) {
      const int offset = ((static_cast<int>(bits & 255) * range) >> 8) - amplitude;
      out_[i + k] = Clip(out_[i + k] + offset);
    }
  }
}

void Painter::Paint(int figure) {
  // Figures are brighter than what is behind them. With either sign of contrast a network spends
  // its first epochs on learning that both mean the same.
  const Colour background{Draw(0, 150), Draw(0, 150), Draw(0, 150)};
  const Colour colour = DrawBrighter(background, 180);
  const Colour second = DrawColourAwayFrom(colour, 200);
  PaintBackground(background);
  const int blobs = Draw(1, 4);
  for (int i = 0; i < blobs; ++i) PaintBlob(DrawColour(), 2);
  PaintFigure(figure, colour, second);
  const int specks = Draw(0, 3);
  for (int i = 0; i < specks; ++i) PaintBlob(DrawColour(), 1);
  AddNoise(Draw(4, 20));
}

}  // namespace

std::vector<std::string> ShapeNames() {
  return {"disc",  "ring", "square",  "frame",        "triangle",
          "cross", "star", "stripes", "checkerboard", "crescent"};
}

int PaintShape(uint64_t seed, uint32_t index, uint8_t* out) {
  const int label = static_cast<int>(index % kShapeClasses);
  Painter(seed, index, out).Paint(label);
  return label;
}

ImageSet MakeShapes(uint64_t seed, uint32_t first, int count) {
  ImageSet set;
  set.height = set.width = kShapeSide;
  set.channels = 3;
  set.labels.resize(static_cast<size_t>(count));
  set.pixels.resize(set.labels.size() * static_cast<size_t>(set.ImageBytes()));
  for (size_t i = 0; i < set.labels.size(); ++i) {
    set.labels[i] =
        static_cast<uint8_t>(PaintShape(seed, first + static_cast<uint32_t>(i),
                                        &set.pixels[i * static_cast<size_t>(set.ImageBytes())]));
  }
  return set;
}

}  // namespace ftt
