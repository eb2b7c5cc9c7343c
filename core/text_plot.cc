#include "core/text_plot.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace ftt {
namespace {

constexpr const char* kMarkers[] = {"●", "○", "▲", "△", "■", "□", "◆", "◇"};
constexpr int kLabel = 7;  // columns of the labels on the left

struct Canvas {
  int width, height;
  std::vector<std::string> cells;

  Canvas(int w, int h) : width(w), height(h), cells(static_cast<size_t>(w * h), " ") {}
  std::string& At(int column, int row) { return cells[static_cast<size_t>(row * width + column)]; }
};

struct Range {
  double low = INFINITY, high = -INFINITY;
  void Add(double v) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
  int Place(double v, int cells) const {
    const double share = high > low ? (v - low) / (high - low) : 0.5;
    return static_cast<int>(std::lround(std::clamp(share, 0.0, 1.0) * (cells - 1)));
  }
};

// Bounds of the percent axis: tens that hold everything.
Range PercentRange(const std::vector<TextCurve>& curves) {
  Range all;
  for (const TextCurve& c : curves) {
    for (const std::vector<double>* values : {&c.y, &c.low, &c.high}) {
      for (const double v : *values) all.Add(std::clamp(100 * v, 0.0, 100.0));
    }
  }
  all.low = std::floor(all.low / 10) * 10;
  all.high = std::ceil(all.high / 10) * 10;
  if (all.high <= all.low) all.high = all.low + 10;
  return all;
}

void Draw(const TextCurve& c, const char* marker, const Range& x, const Range& y, Canvas& canvas) {
  const auto row = [&](double share) {
    return canvas.height - 1 - y.Place(100 * share, canvas.height);
  };
  for (size_t i = 0; i < c.x.size(); ++i) {
    const int column = x.Place(std::log10(c.x[i]), canvas.width);
    if (i < c.low.size() && i < c.high.size()) {
      for (int r = row(c.high[i]); r <= row(c.low[i]); ++r) {
        std::string& cell = canvas.At(column, r);
        if (cell == " ") cell = "│";
      }
    }
    canvas.At(column, row(c.y[i])) = marker;
  }
}

std::string Axis(const std::vector<TextCurve>& curves, const Range& x, int width) {
  std::vector<double> ticks;
  for (const TextCurve& c : curves) ticks.insert(ticks.end(), c.x.begin(), c.x.end());
  std::sort(ticks.begin(), ticks.end());
  std::string line(static_cast<size_t>(width), ' ');
  int free = 0;
  for (const double tick : ticks) {
    const std::string text = fmt::format("{:.3g}", tick);
    const int size = static_cast<int>(text.size());
    const int at = std::clamp(x.Place(std::log10(tick), width) - size / 2, 0, width - size);
    if (at < free) continue;
    line.replace(static_cast<size_t>(at), text.size(), text);
    free = at + size + 1;
  }
  return line;
}

}  // namespace

std::string PlotCurves(const std::vector<TextCurve>& curves, int width, int height) {
  Range x;
  for (const TextCurve& c : curves) {
    for (const double v : c.x) x.Add(std::log10(v));
  }
  if (x.low > x.high) return "";
  const Range y = PercentRange(curves);
  Canvas canvas(std::max(width, 40) - kLabel - 1, std::max(height, 4));
  constexpr size_t kMarkerCount = std::size(kMarkers);
  for (size_t i = 0; i < curves.size(); ++i)
    Draw(curves[i], kMarkers[i % kMarkerCount], x, y, canvas);
  std::string out;
  for (int row = 0; row < canvas.height; ++row) {
    const double value = y.high - (y.high - y.low) * row / (canvas.height - 1);
    const bool labelled = row == 0 || row == canvas.height - 1 || row % 3 == 0;
    out += labelled ? fmt::format("{:>{}.0f} % ┤", value, kLabel - 2)
                    : fmt::format("{:>{}}│", "", kLabel);
    for (int column = 0; column < canvas.width; ++column) out += canvas.At(column, row);
    while (out.back() == ' ') out.pop_back();
    out += '\n';
  }
  out += std::string(kLabel + 1, ' ') + Axis(curves, x, canvas.width) + "\n";
  out += std::string(kLabel + 1, ' ');
  for (size_t i = 0; i < curves.size(); ++i)
    out += fmt::format("{}{} {}", i == 0 ? "" : "   ", kMarkers[i % kMarkerCount], curves[i].name);
  return out + "\n";
}

void PrintCurves(const std::vector<TextCurve>& curves) {
  winsize size{};
  if (isatty(STDOUT_FILENO) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return;
  const std::string plot = PlotCurves(curves, std::clamp<int>(size.ws_col, 40, 100), 13);
  if (!plot.empty()) fmt::print("\naccuracy against rate\n{}", plot);
}

}  // namespace ftt
