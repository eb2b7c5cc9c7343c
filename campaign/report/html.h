// Pieces of HTML from plain data. Nothing that comes from a file reaches a page unescaped.
#pragma once

#include <string>
#include <string_view>

#include "campaign/report/report.h"

namespace ftt {

// Text for element content and for attributes in double quotes. Control characters that HTML does
// not know, and bytes that are not UTF-8, become U+FFFD.
std::string EscapeHtml(std::string_view text);

// The same for headings and cells of tables: numbers stay with their percent sign, and words of
// usual length, such as "mibb:1e-4", are not broken at their hyphens.
std::string UnbrokenHtml(std::string_view text);

// The numbers of a chart: one row for each x, one column for each series, intervals in brackets.
Table TableOf(const Chart& chart);

// A table in a box that scrolls by itself where it is wider than the page.
std::string TableHtml(const Table& table);
// A table whose cells are coloured by value; chart and table in one.
std::string HeatMapHtml(const HeatMap& map);

}  // namespace ftt
