#include "campaign/report/charts_js.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace ftt {
namespace {

using Json = nlohmann::ordered_json;

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json AxisJson(const ChartAxis& axis) {
  Json json = {{"title", axis.title}, {"log", axis.log}, {"digits", axis.digits}};
  if (axis.min) json["min"] = *axis.min;
  if (axis.max) json["max"] = *axis.max;
  return json;
}

Json SeriesJson(const ChartSeries& series, bool log_x) {
  Json points = Json::array();
  for (const ChartPoint& p : series.points) {
    if (log_x && !(p.x > 0)) continue;
    points.push_back({Number(p.x), Number(p.y), Number(p.low), Number(p.high)});
  }
  return {{"name", series.name},
          {"color", series.color},
          {"dots", series.style == ChartSeries::Style::kDots},
          {"dashed", series.dashed},
          {"legend", series.in_legend},
          {"points", std::move(points)}};
}

}  // namespace

std::string ChartJson(const Chart& chart) {
  Json json = {{"x", AxisJson(chart.x)},
               {"y", AxisJson(chart.y)},
               {"categories", chart.categories},
               {"series", Json::array()}};
  for (const ChartSeries& s : chart.series) json["series"].push_back(SeriesJson(s, chart.x.log));
  std::string text;
  for (const char c : json.dump(-1, ' ', false, Json::error_handler_t::replace)) {
    // Outside of strings JSON has none of these.
    if (c == '<') {
      text += "\\u003c";
    } else if (c == '>') {
      text += "\\u003e";
    } else if (c == '&') {
      text += "\\u0026";
    } else {
      text += c;
    }
  }
  return text;
}

}  // namespace ftt
