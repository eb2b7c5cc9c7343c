#include "campaign/report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "campaign/report/format.h"

namespace ftt {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

// Length of the UTF-8 sequence at the start of `text`, 0 where it is none.
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const bool overlong = (first == 0xE0 && byte(1) < 0xA0) || (first == 0xF0 && byte(1) < 0x90);
  const bool outside = (first == 0xED && byte(1) > 0x9F) || (first == 0xF4 && byte(1) > 0x8F);
  return overlong || outside ? 0 : length;
}

std::string Cell(const char* element, const std::string& attributes, const std::string& text) {
  return fmt::format("<{0}{1}>{2}</{0}>", element, attributes, UnbrokenHtml(text));
}

std::string Range(const ChartPoint& p, int digits) {
  std::string text = NumberText(p.y, digits);
  if (std::isfinite(p.low) && std::isfinite(p.high)) {
    text += fmt::format(" ({}..{})", NumberText(p.low, digits), NumberText(p.high, digits));
  }
  return text;
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    const char c = text.front();
    const auto u = static_cast<unsigned char>(c);
    if (length == 0 || (u < 0x20 && c != '\n' && c != '\t') || u == 0x7F) {
      out += kReplacement;
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&#39;";
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

std::string UnbrokenHtml(std::string_view text) {
  constexpr size_t kLongWord = 24;
  std::string html;
  while (!text.empty()) {
    const size_t length = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, length);
    const bool hyphen = word.size() <= kLongWord && word.find('-', 1) != std::string_view::npos;
    html += hyphen ? "<span class=\"nb\">" + EscapeHtml(word) + "</span>" : EscapeHtml(word);
    text.remove_prefix(length);
    if (text.empty()) break;
    html += text.substr(1, 1) == "%" ? "&nbsp;" : " ";
    text.remove_prefix(1);
  }
  return html;
}

Table TableOf(const Chart& chart) {
  Table table;
  table.title = chart.title;
  table.header.push_back(chart.x.title);
  std::map<double, std::vector<std::string>> rows;
  for (size_t s = 0; s < chart.series.size(); ++s) {
    const ChartSeries& series = chart.series[s];
    table.header.push_back(chart.series.size() == 1
                               ? chart.y.title
                               : fmt::format("{}: {}", series.name, chart.y.title));
    for (const ChartPoint& p : series.points) {
      std::vector<std::string>& row = rows[p.x];
      row.resize(chart.series.size(), "–");
      row[s] = Range(p, chart.y.digits);
    }
  }
  for (auto& [x, values] : rows) {
    const auto index = static_cast<size_t>(std::max(0.0, x));
    values.insert(values.begin(), index < chart.categories.size() ? chart.categories[index]
                                                                  : NumberText(x, chart.x.digits));
    table.rows.push_back(std::move(values));
  }
  table.text_columns = chart.categories.empty() ? 0 : 1;
  return table;
}

std::string TableHtml(const Table& table) {
  const auto columns = [&](const std::vector<std::string>& cells, bool header) {
    std::string html = "<tr>";
    for (size_t i = 0; i < cells.size(); ++i) {
      const bool figure = static_cast<int>(i) >= table.text_columns;
      const std::string attributes =
          std::string(figure ? " class=\"figure\"" : "") + (header   ? " scope=\"col\""
                                                            : i == 0 ? " scope=\"row\""
                                                                     : "");
      html += Cell(header || i == 0 ? "th" : "td", attributes, cells[i]);
    }
    return html + "</tr>\n";
  };
  std::string html = "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"" +
                     EscapeHtml(table.title) + "\"><table>\n<thead>" + columns(table.header, true) +
                     "</thead>\n<tbody>\n";
  for (const auto& row : table.rows) html += columns(row, false);
  return html + "</tbody></table></div>\n";
}

std::string HeatMapHtml(const HeatMap& map) {
  double high = 0;
  for (const auto& row : map.values) {
    for (const double v : row) {
      if (std::isfinite(v)) high = std::max(high, v);
    }
  }
  std::string html = fmt::format(
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table "
      "class=\"heat\">\n"
      "<thead><tr>{}",
      EscapeHtml(map.title),
      Cell("th", " scope=\"col\"", map.row_title + " \\ " + map.column_title));
  for (const std::string& column : map.columns) html += Cell("th", " scope=\"col\"", column);
  html += "</tr></thead>\n<tbody>\n";
  for (size_t r = 0; r < map.rows.size(); ++r) {
    html += "<tr>" + Cell("th", " scope=\"row\"", map.rows[r]);
    for (const double v : map.values[r]) {
      // Ten steps: the style sheet knows their colours in light and in dark.
      const double share = high > 0 ? std::clamp(v / high, 0.0, 1.0) : 0;
      const std::string attributes =
          std::isfinite(v)
              ? fmt::format(" class=\"h{}\"", std::min(9, static_cast<int>(10 * share)))
              : "";
      html += Cell("td", attributes, NumberText(v, map.digits));
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

}  // namespace ftt
