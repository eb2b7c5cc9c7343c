// Charts as plain data: every writer (the HTML page, gnuplot, the table below a chart) takes the
// same.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace ftt {

inline constexpr double kNoValue = std::numeric_limits<double>::quiet_NaN();

struct ChartAxis {
  std::string title;               // with its unit, e.g. "Accuracy (%)"
  bool log = false;                // values at or below 0 are left out
  std::optional<double> min, max;  // of the axis; otherwise what the data needs
  int digits = -1;                 // decimals in tables; -1: four significant digits
};

struct ChartPoint {
  double x = 0;  // with categories: their index
  double y = kNoValue;
  double low = kNoValue, high = kNoValue;  // an interval around y, or none
};

struct ChartSeries {
  enum class Style { kLine, kDots };
  std::string name;
  std::vector<ChartPoint> points;  // in the order of x
  Style style = Style::kLine;
  bool dashed = false;
  bool in_legend = true;
  int color = 0;  // of the palette; series that belong together share one
};

struct Chart {
  std::string title;
  std::string note;  // a sentence below the title, or none
  ChartAxis x, y;
  std::vector<ChartSeries> series;
  // Not empty: horizontal bars with one group for each category; x counts them from 0.
  std::vector<std::string> categories;
};

// Values by row and column, kNoValue where there is none; colours start at 0.
struct HeatMap {
  std::string title, note;
  std::string row_title, column_title, value_title;  // the last one with its unit
  std::vector<std::string> rows, columns;
  std::vector<std::vector<double>> values;  // [row][column]
  int digits = 1;
};

}  // namespace ftt
