// Files that every page carries, compiled in.
#pragma once

#include <string_view>

namespace ftt {

extern const std::string_view kReportCss;
extern const std::string_view kReportJs;
extern const std::string_view kChartJs;  // Chart.js, as the distribution packages it

}  // namespace ftt
