// Curves drawn with characters, for terminals.
#pragma once

#include <string>
#include <vector>

namespace ftt {

struct TextCurve {
  std::string name;
  std::vector<double> x;          // positive, ascending; drawn on a logarithmic axis
  std::vector<double> y;          // shares in [0, 1]; drawn in percent
  std::vector<double> low, high;  // interval around y, or empty
};

// A plot of `width` columns (at least 40) and `height` rows of values (at least 4), a line with the
// axis and one with the names of the curves, each line ended. Curves are told apart by their
// markers; intervals are vertical bars. Empty where there are no points.
std::string PlotCurves(const std::vector<TextCurve>& curves, int width, int height);

// Prints "accuracy against rate" and the plot where standard output is a terminal, as wide as that.
void PrintCurves(const std::vector<TextCurve>& curves);

}  // namespace ftt
