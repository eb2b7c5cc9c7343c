// The HTML page of a report.
#pragma once

#include <string>

#include "campaign/report/report.h"

namespace ftt {

// One file that needs nothing else: style, script and data are inside, nothing is fetched. A
// content security policy lets only the page's own two scripts run.
std::string PageHtml(const Report& report);

}  // namespace ftt
