// From run folders and campaigns to files.
#pragma once

#include <string>
#include <vector>

#include "campaign/report/report.h"

namespace ftt {

struct ReportOptions {
  std::vector<std::string> inputs;  // run folders, campaign.sqlite files, folders that hold one
  std::string out = "report.html";
  std::string svg, png;  // folders for charts as images; empty: none
  std::string title;     // empty: from the inputs
};

struct WrittenReport {
  size_t sections = 0, charts = 0;
  std::vector<std::string> images;
};

// Reads everything; throws ftt::Error where an input is no run and no campaign, is given twice, or
// is damaged.
Report ReadReport(const ReportOptions& options);

// Writes the page, and the images where they are asked for. Nothing is written where anything is
// wrong with an input; an existing file is replaced only by a complete one.
WrittenReport WriteReport(const ReportOptions& options);

// Names for paths: their last component, with as many folders in front as tell them apart.
std::vector<std::string> ShortNames(const std::vector<std::string>& paths);

}  // namespace ftt
