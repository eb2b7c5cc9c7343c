// Charts for papers, drawn by gnuplot from the same data as the page's.
#pragma once

#include <string>

#include "campaign/chart.h"

namespace ftt {

enum class ImageFormat { kSvg, kPng };

// A script with its data that prints one image to standard output.
std::string GnuplotScript(const Chart& chart, ImageFormat format);
std::string GnuplotScript(const HeatMap& map, ImageFormat format);

// The image. Throws ftt::Error where gnuplot is missing, naming its package, or fails. `program` is
// gnuplot's name or path.
std::string RunGnuplot(const std::string& script, const std::string& program = "gnuplot");

}  // namespace ftt
