// The data of a chart for the page's script.
#pragma once

#include <string>

#include "campaign/chart.h"

namespace ftt {

// JSON that may stand inside a <script> element: no '<', '>' or '&' in it, and null for what is not
// a finite number. report.js says what it makes of it.
std::string ChartJson(const Chart& chart);

}  // namespace ftt
