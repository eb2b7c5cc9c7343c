#include "campaign/report/charts_gnuplot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "campaign/report/child_process.h"
#include "core/error.h"

namespace ftt {
namespace {

// Okabe and Ito's, darkened where a line on white would be too faint; report.css has the same.
constexpr std::array kPalette = {"#0072b2", "#d55e00", "#009e73", "#aa4499",
                                 "#e69f00", "#56b4e9", "#59636e"};
constexpr std::array kShapes = {7, 5, 9, 13, 3, 2, 1};  // point types

// A string in gnuplot's single quotes, where only the quote itself is special.
std::string Quote(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') quoted += '\'';
    quoted += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return quoted + "'";
}

std::string Value(double v) { return std::isfinite(v) ? fmt::format("{:.9g}", v) : "NaN"; }

const char* Color(const ChartSeries& s) {
  return kPalette[static_cast<size_t>(s.color) % kPalette.size()];
}

std::string Header(const std::string& title, ImageFormat format, int height) {
  const std::string terminal =
      format == ImageFormat::kSvg
          ? fmt::format(
                "svg size 720,{} dynamic noenhanced background rgb 'white' font "
                "'Helvetica,15'",
                height)
          : fmt::format(
                "pngcairo size 1440,{} noenhanced background rgb 'white' font 'Sans,22' "
                "linewidth 2 pointscale 1.6",
                2 * height);
  return fmt::format(
      "set encoding utf8\nset terminal {}\nset title {}\n"
      "set border 3 lc rgb '#59636e'\nset tics nomirror out textcolor rgb '#1b1f24'\n",
      terminal, Quote(title));
}

std::string RangeOf(const ChartAxis& axis) {
  return fmt::format("[{}:{}]", axis.min ? Value(*axis.min) : "*",
                     axis.max ? Value(*axis.max) : "*");
}

std::string AxisText(const char* name, const ChartAxis& axis) {
  std::string text =
      fmt::format("set {0}label {1}\nset {0}range {2}\n", name, Quote(axis.title), RangeOf(axis));
  if (axis.log)
    text += "set autoscale xfix\n" + fmt::format("set logscale {0}\nset format {0} '1e%T'\n", name);
  return text;
}

// "('first' 0, 'second' 1)".
std::string Labels(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i)
    text += fmt::format("{}{} {}", i == 0 ? "" : ", ", Quote(names[i]), i);
  return "(" + text + ")";
}

std::string Block(size_t index, const std::string& rows) {
  return fmt::format("$d{} << END_OF_DATA\n{}END_OF_DATA\n", index, rows);
}

bool HasBand(const ChartSeries& s) {
  return std::any_of(s.points.begin(), s.points.end(), [](const ChartPoint& p) {
    return std::isfinite(p.low) && std::isfinite(p.high);
  });
}

std::string Rows(const ChartSeries& s, bool log_x) {
  std::string rows;
  for (const ChartPoint& p : s.points) {
    if (log_x && !(p.x > 0)) continue;
    rows += fmt::format("{} {} {} {}\n", Value(p.x), Value(p.y), Value(p.low), Value(p.high));
  }
  return rows;
}

std::string LinesPlot(const Chart& chart) {
  std::string bands, lines;
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const ChartSeries& s = chart.series[i];
    if (Rows(s, chart.x.log).empty()) continue;
    if (HasBand(s)) {
      bands += fmt::format(
          "{}$d{} using 1:3:4 with filledcurves fs transparent solid 0.18 noborder "
          "lc rgb '{}' notitle",
          bands.empty() ? "" : ", ", i, Color(s));
    }
    const bool bare = s.dashed || s.points.size() > 60;
    const bool dots = s.style == ChartSeries::Style::kDots;
    lines += fmt::format(
        ", $d{} using 1:2 with {} lc rgb '{}'{}{} {}", i,
        dots   ? "points"
        : bare ? "lines"
               : "linespoints",
        Color(s), dots ? "" : fmt::format(" lw 2 dt {}", s.dashed ? 2 : 1),
        bare && !dots
            ? ""
            : fmt::format(" pt {} ps {}", kShapes[static_cast<size_t>(s.color) % kShapes.size()],
                          dots ? "0.3" : "0.8"),
        s.in_legend ? "title " + Quote(s.name) : "notitle");
  }
  FTT_CHECK(!lines.empty(), "chart '{}' has no data", chart.title);
  return "plot " + (bands.empty() ? lines.substr(2) : bands + lines) + "\n";
}

// Bars lie along y; those of one category side by side.
std::string BarsPlot(const Chart& chart) {
  const double width = 0.8 / static_cast<double>(chart.series.size());
  std::string text;
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const ChartSeries& s = chart.series[i];
    const double shift = (static_cast<double>(i) + 0.5) * width - 0.4;
    const std::string y = fmt::format("($1+{:.4f})", shift);
    text += fmt::format(
        "{0}$d{1} using 2:{2}:(0):2:($1+{3:.4f}):($1+{4:.4f}) with boxxyerror fs solid noborder lc "
        "rgb '{5}' title {6}",
        i == 0 ? "plot " : ", ", i, y, shift - 0.45 * width, shift + 0.45 * width, Color(s),
        Quote(s.name));
    if (HasBand(s)) {
      text +=
          fmt::format(", $d{} using 2:{}:3:4 with xerrorbars lc rgb '#1b1f24' pt 0 notitle", i, y);
    }
  }
  return text + "\n";
}

}  // namespace

std::string GnuplotScript(const Chart& chart, ImageFormat format) {
  const bool bars = !chart.categories.empty();
  const auto rows = static_cast<int>(chart.categories.size() * chart.series.size());
  std::string text = Header(chart.title, format, bars ? 150 + 22 * rows : 440);
  text +=
      "set grid lc rgb '#d8dde3' lt 1\nset xzeroaxis lc rgb '#59636e' lt 1\nset key above center "
      "horizontal\n";
  if (std::count_if(chart.series.begin(), chart.series.end(),
                    [](const ChartSeries& s) { return s.in_legend; }) < 2) {
    text += "unset key\n";
  }
  if (bars) {
    ChartAxis values = chart.y;
    if (!values.min) values.min = 0;
    text += AxisText("x", values);
    text += fmt::format(
        "set ylabel {}\nset yrange [{}:-0.6]\nset ytics {}\nunset grid\nset grid xtics "
        "lc rgb '#d8dde3' lt 1\n",
        Quote(chart.x.title), static_cast<double>(chart.categories.size()) - 0.4,
        Labels(chart.categories));
  } else {
    text += AxisText("x", chart.x) + AxisText("y", chart.y);
  }
  for (size_t i = 0; i < chart.series.size(); ++i)
    text += Block(i, Rows(chart.series[i], !bars && chart.x.log));
  return text + (bars ? BarsPlot(chart) : LinesPlot(chart));
}

std::string GnuplotScript(const HeatMap& map, ImageFormat format) {
  std::string rows;
  for (size_t r = 0; r < map.rows.size(); ++r) {
    for (size_t c = 0; c < map.columns.size(); ++c) {
      if (std::isfinite(map.values[r][c]))
        rows += fmt::format("{} {} {}\n", c, r, Value(map.values[r][c]));
    }
  }
  FTT_CHECK(!rows.empty(), "heat map '{}' has no data", map.title);
  return Header(map.title, format, 170 + 24 * static_cast<int>(map.rows.size())) +
         fmt::format("set xlabel {}\nset ylabel {}\nset cblabel {}\n", Quote(map.column_title),
                     Quote(map.row_title), Quote(map.value_title)) +
         fmt::format("set xtics {}\nset ytics {}\nset xrange [-0.5:{}]\nset yrange [{}:-0.5]\n",
                     Labels(map.columns), Labels(map.rows),
                     static_cast<double>(map.columns.size()) - 0.5,
                     static_cast<double>(map.rows.size()) - 0.5) +
         "set cbrange [0:*]\nset palette defined (0 '#ffffff', 1 '#b34700')\nunset key\nunset "
         "border\n" +
         Block(0, rows) +
         "plot $d0 using 1:2:($1-0.48):($1+0.48):($2-0.48):($2+0.48):3 with boxxyerror fs solid "
         "noborder lc palette\n";
}

std::string RunGnuplot(const std::string& script, const std::string& program) {
  const ChildResult result = RunChild({program, "-"}, script);
  FTT_CHECK(
      result.started,
      "--svg and --png need the program '{}'; install the package gnuplot-nox (Debian, Ubuntu)",
      program);
  FTT_CHECK(result.status == 0 && !result.output.empty(), "{} failed with status {}: {}", program,
            result.status, result.errors);
  return result.output;
}

}  // namespace ftt
