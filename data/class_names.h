// Names of the classes, by data set.
#pragma once

#include <string>
#include <vector>

namespace ftt {

// In label order. Throws for an unknown data set.
std::vector<std::string> ClassNames(const std::string& dataset);

}  // namespace ftt
